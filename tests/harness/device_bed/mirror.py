"""Which mirror this machine installs Debian from: its own apt sources say, in either of their two forms."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_APT = Path("/etc/apt")


@dataclass(frozen=True)
class Mirror:
    """Where packages come from; `keyring` is empty where the system's own keys are meant."""

    address: str
    suites: tuple[str, ...]
    keyring: str = ""


def own_architecture() -> str:
    """Return Debian's name of what this machine is."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def find(suite: str) -> Mirror:
    """Return the mirror that has `suite`."""
    for mirror in _all():
        if suite in mirror.suites:
            return mirror
    raise AssertionError(f"none of this machine's apt sources has {suite}: see {_APT}/sources.list*")


def _all() -> Iterator[Mirror]:
    for file in sorted(_APT.glob("sources.list.d/*.sources")):
        for stanza in file.read_text(encoding="utf-8").split("\n\n"):
            yield from _of_stanza(stanza)
    for file in [_APT / "sources.list", *sorted(_APT.glob("sources.list.d/*.list"))]:
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                yield from _of_line(line)


def _of_stanza(stanza: str) -> Iterator[Mirror]:
    """deb822, sources.list(5); a value that goes on over lines does so by indentation."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] += f" {line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
        keyring = fields.get("signed-by", "")
        for address in fields.get("uris", "").split():
            yield Mirror(address, tuple(fields.get("suites", "").split()), keyring if keyring.startswith("/") else "")


def _of_line(line: str) -> Iterator[Mirror]:
    kind, _, rest = line.strip().partition(" ")
    if kind != "deb":
        return
    options = ""
    if rest.lstrip().startswith("["):
        options, _, rest = rest.lstrip()[1:].partition("]")
    words = rest.split()
    if len(words) >= 2:
        keyring = next((word[10:] for word in options.split() if word.startswith("signed-by=/")), "")
        yield Mirror(words[0], (words[1],), keyring)
