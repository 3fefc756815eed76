"""Debian packages: a tree in its place, with what deploy/debian says of it, put together by dpkg-deb."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from email.parser import HeaderParser
from pathlib import Path

from edge_agent.policy.layout import packaged_unit
from scripts.distribution.pages import settle_links
from scripts.distribution.source import ROOT, BuildError, run
from scripts.distribution.tree import Program
from scripts.distribution.wheels import PYTHONS, Architecture

DEBIAN = ROOT / "deploy/debian"
# The day that hatchling dates wheels by. A package is the same, whenever it was built.
EPOCH = 1580601600
_DATE = "Sun, 02 Feb 2020 00:00:00 +0000"
_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def debian_version(version: str) -> str:
    """Return `version` as dpkg orders it: a release candidate comes before its release (deb-version(7))."""
    return version.replace("rc", "~rc")


def build_deb(
    package: Path, stage: Path, program: Program, version: str, architecture: Architecture, extra: Mapping[str, str]
) -> None:
    """Build `package` of what is in `stage`, laid out as it is on the device, tree included.

    `extra` are the texts of files that are made here, by their paths on the device. Raises `BuildError`.
    """
    own = DEBIAN / program.name
    home = stage / program.home.lstrip("/")
    for script in own.glob("act-on-*"):
        _put(stage / "usr/lib/skerry" / script.name, script.read_bytes(), 0o755)
    for path, text in extra.items():
        _put(stage / path.lstrip("/"), text.encode())
    _put_documents(stage, program, version, home)
    facts = {"PACKAGE": program.name, "VERSION": debian_version(version), "ARCH": architecture.name}
    facts |= {"PYTHON_AFTER": _after(PYTHONS[-1]), "SIZE": str(_size(stage))}
    control = stage / "DEBIAN"
    _put(control / "md5sums", _sums(stage).encode())
    _put(control / "control", _filled(own / "control.in", facts))
    for name in ("conffiles", "triggers"):
        _put(control / name, (own / name).read_bytes())
    for name in _SCRIPTS:
        if (own / name).exists():
            _put(control / name, (own / name).read_bytes(), 0o755)
    _pack(stage, package)


def link_commands(stage: Path, program: Program) -> None:
    """Let the program's commands, its unit and its tree's Python be where Debian has such things."""
    home = Path(program.home)
    (stage / "usr/bin").mkdir(parents=True)
    for command in program.commands:
        (stage / "usr/bin" / command).symlink_to(f"../{home.relative_to('/usr')}/bin/{command}")
    units = stage / "lib/systemd/system"
    units.mkdir(parents=True)
    unit = (stage / str(home).lstrip("/") / "systemd" / program.unit).read_text(encoding="utf-8")
    _put(units / program.unit, packaged_unit(unit).encode())


def _put_documents(stage: Path, program: Program, version: str, home: Path) -> None:
    facts = {"PACKAGE": program.name, "VERSION": debian_version(version), "DATE": _DATE}
    documents = stage / "usr/share/doc" / program.name
    _put(documents / "copyright", _filled(DEBIAN / "copyright.in", facts) + _licences(home).encode())
    _put(documents / "changelog.gz", _packed(_filled(DEBIAN / "changelog.in", facts)))
    _put(documents / "CHANGELOG.md.gz", _packed((ROOT / "CHANGELOG.md").read_bytes()))
    for page in program.documents:  # the doctors' hints name them
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        _put(documents / page, settle_links(text, page, program.documents).encode())
    overrides = (DEBIAN / program.name / "lintian-overrides").read_bytes()
    _put(stage / "usr/share/lintian/overrides" / program.name, overrides)


def _licences(home: Path) -> str:
    """Return what every library in the tree says of its authors and its licence, each once."""
    found: dict[str, str] = {}
    for metadata in sorted(home.glob("lib/**/*.dist-info/METADATA")):
        fields = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
        licence = fields["License-Expression"] or fields["License"] or "see below"
        authors = fields["Author"] or fields["Author-email"] or fields["Maintainer"] or "see below"
        texts = [_shortened(path.read_text(encoding="utf-8").strip()) for path in _licence_files(metadata.parent)]
        head = f"{fields['Name']} {fields['Version']}\nAuthors: {authors}\nLicence: {licence}"
        if fields["Name"] != "skerry":
            found[fields["Name"]] = "\n\n".join([f"\n{'=' * 80}\n{head}", *texts])
    return "\n".join(found.values()) + "\n"


def _licence_files(information: Path) -> list[Path]:
    """Return the licences that lie with a distribution's metadata."""
    named = [path for pattern in ("LICEN[CS]E*", "COPYING*", "NOTICE*") for path in information.glob(pattern)]
    inside = [path for path in information.glob("licenses/**/*") if path.is_file()]
    return sorted({*named, *inside})


def _shortened(licence: str) -> str:
    """Return a licence's text, or where it is, if every Debian system has it (Debian's policy, 12.5)."""
    is_apache = re.search(r"Apache License\s+Version 2.0, January 2004", licence)
    return "The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0." if is_apache else licence


def _pack(stage: Path, package: Path) -> None:
    part = package.with_name(f"{package.name}.part")
    for path in (stage, *stage.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    # zstd: dpkg reads it from 1.21.18 on, which every Debian with Python 3.11 has. One thread: the same bytes anywhere.
    command = ["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zzstd", "-z9", "--build", str(stage), str(part)]
    try:
        run(command, stage.parent, {"SOURCE_DATE_EPOCH": str(EPOCH)})
    except FileNotFoundError:
        raise BuildError("dpkg-deb is not here: Debian packages are built on Debian (apt-get install dpkg)") from None
    part.rename(package)


def _put(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _filled(template: Path, facts: Mapping[str, str]) -> bytes:
    text = template.read_text(encoding="utf-8")
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    return text.encode()


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _after(python: str) -> str:
    major, minor = python.split(".")
    return f"{major}.{int(minor) + 1}"


def _size(stage: Path) -> int:
    """Return how much it takes on a disk, in KiB, as dpkg-gencontrol(1) counts it."""
    sizes = [0 if path.is_symlink() else path.stat().st_size for path in stage.rglob("*") if not path.is_dir()]
    return sum(-(-size // 1024) for size in sizes)


def _sums(stage: Path) -> str:
    files = sorted(path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    kept = [path for path in files if path.relative_to(stage).parts[0] not in {"etc", "DEBIAN"}]
    return "".join(f"{_md5(path)}  {path.relative_to(stage)}\n" for path in kept)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
