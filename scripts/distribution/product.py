"""What there is to build, and building it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controller.config import EXAMPLE
from edge_agent.config import template
from scripts.distribution.archive import pack
from scripts.distribution.deb import build_deb, link_commands
from scripts.distribution.source import ROOT, build_wheel
from scripts.distribution.tree import AGENT, CONTROLLER, Program, build_tree
from scripts.distribution.wheels import ARCHITECTURES, PYTHONS, Architecture, fetch

PROGRAMS = {"agent": AGENT, "controller": CONTROLLER}
FORMS = ("archive", "deb")
ARCHIVES = "/usr/share/skerry/agent-archives"


@dataclass(frozen=True)
class Product:
    """A file that people install from."""

    program: Program
    architecture: Architecture
    form: str

    @property
    def sources(self) -> tuple[str, ...]:
        """Every place in the checkout that it is built from."""
        if self.form == "archive":
            return self.program.sources
        brought = AGENT.sources if self.program is CONTROLLER else ()
        documents = (f"docs/{page}" for page in self.program.documents)
        return (*self.program.sources, *brought, *documents, "CHANGELOG.md", "deploy/debian")

    def file_name(self, version: str) -> str:
        """Return the name under which it is handed out."""
        if self.form == "deb":
            return f"{self.program.name}_{version}_{self.architecture.name}.deb"
        return f"{self.program.name}-{version}-linux-{self.architecture.name}.tar.gz"


PRODUCTS = {
    f"{name}-{form}-{architecture.name}": Product(program, architecture, form)
    for name, program in PROGRAMS.items()
    for form in FORMS
    for architecture in ARCHITECTURES.values()
}


def cache_folder() -> Path:
    """Return where wheels of others are kept between builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skerry-dist"


def settings_of(program: Program) -> dict[str, str]:
    """Return the settings that a package brings: what each program prints for a person to begin with.

    The agent's are all commented: nobody has said yet which controller is its own.
    """
    if program is AGENT:
        lines = template().splitlines()
        text = "".join(f"#{line}\n" if line and not line.lstrip().startswith("#") else f"{line}\n" for line in lines)
        return {"/etc/skerry/edge_agent.yaml": text}
    return {"/etc/skerry/controller.yaml": EXAMPLE}


def all_for(chosen: Sequence[Product]) -> list[Product]:
    """Return what is built where these are wanted: themselves, and the archives that packages among them bring."""
    debs = [product for product in chosen if product.form == "deb"]
    brought = [Product(AGENT, each, "archive") for deb in debs for each in _brought(deb.program)]
    return [product for product in PRODUCTS.values() if product in chosen or product in brought]


def _brought(program: Program) -> list[Architecture]:
    """Return the machines for which a program's package brings the agent's archives."""
    return list(ARCHITECTURES.values()) if program is CONTROLLER else []


@dataclass
class Builder:
    """Builds products of one version into one folder, each part once."""

    version: str
    output: Path
    say: Callable[[str], None]
    """Told the name of each file before it is built."""
    step: Callable[[str], None] = lambda _: None
    """Told what is being done for it."""
    keep: Path = field(default_factory=cache_folder)
    made: list[Path] = field(init=False, default_factory=list)
    """What was built so far, and lies in `output`."""
    _work: Path = field(init=False)
    _wheel: Path | None = field(init=False, default=None)

    @contextmanager
    def at_work(self) -> Iterator[Builder]:
        """Have a folder to work in, which is gone afterwards."""
        self.output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="skerry-dist-") as folder:
            self._work = Path(folder)
            yield self

    def wheel(self) -> Path:
        """Build the project's wheel, unless that is done, and return where it is."""
        if self._wheel is None:
            self.say(f"wheel of skerry {self.version}")
            self.step("building")
            work = self._work / "wheel"
            work.mkdir()
            built = build_wheel(self.version, work)
            self._wheel = self.output / built.name
            shutil.move(built, self._wheel)
            self.made.append(self._wheel)
        return self._wheel

    def build(self, product: Product) -> Path:
        """Build `product`, unless that is done, and return where it is. Raises `BuildError`."""
        target = self.output / product.file_name(self.version)
        if target in self.made:
            return target
        if not target.exists():
            self.say(target.name)
            if product.form == "deb":
                self._deb(product, target)
            else:
                tree = self._tree(product.program, product.architecture)
                self.step("packing")
                pack(tree, target, f"{product.program.name}-{self.version}")
        self.made.append(target)
        return target

    def _deb(self, product: Product, target: Path) -> None:
        program, architecture = product.program, product.architecture
        archives = [self.build(Product(AGENT, each, "archive")) for each in _brought(program)]
        stage = self._work / f"{program.name}-{architecture.name}-deb"
        home = stage / program.home.lstrip("/")
        shutil.copytree(self._tree(program, architecture), home, symlinks=True)
        link_commands(stage, program)
        for archive in archives:
            place = stage / ARCHIVES.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(archive, place / archive.name)
        self.step("packing")
        build_deb(target, stage, program, self.version, architecture, settings_of(program))
        shutil.rmtree(stage)

    def _tree(self, program: Program, architecture: Architecture) -> Path:
        tree = self._work / f"{program.name}-{architecture.name}"
        if not tree.exists():
            own = self.wheel()
            self.step("fetching wheels")
            for python in PYTHONS:
                fetch(ROOT / program.lock, architecture, python, self.keep)
            self.step("building")
            build_tree(tree, program, self.version, architecture, own, self.keep)
        return tree
