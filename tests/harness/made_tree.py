"""Versions of the agent that are made by hand: trees as archives hold them, whose program does what a test wants.

Asked to upgrade, install or remove, a tree's program is the real one, from the checkout. As the service it is one that
says how it is doing, as its behaviour has it.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
import tarfile
from pathlib import Path

from edge_agent.policy.preflight import ARCHITECTURES

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = next(iter(ARCHITECTURES.values()))
PYTHON = "{}.{}".format(*sys.version_info[:2])
_LAUNCHER = """\
#!/bin/sh
case "$1" in
  version) [ {behaviour} != unable ] || {{ echo 'ERROR: edge-agent: broken' >&2; exit 1; }}
    echo "Skerry v{said} edge-agent python{python}" ;;
  start) exec {interpreter} {agent} {version} {behaviour} ;;
  *) PYTHONPATH={checkout} exec {interpreter} -P -m edge_agent "$@" ;;
esac
"""
_UNIT = """\
# of version {version}
[Unit]
Description=Skerry agent
[Service]
Type=notify
ExecStart=edge-agent start
Restart=always
[Install]
WantedBy=multi-user.target
"""


def make_tree(
    tree: Path,
    version: str,
    behaviour: str = "good",
    *,
    architecture: str = ARCHITECTURE,
    python: str = PYTHON,
    said: str | None = None,
) -> Path:
    """Make one.

    Args:
        tree: where.
        version: which.
        behaviour: good (comes online), offline (never does), unheard (has the tunnel, and never the broker),
            reconnecting (had the tunnel a moment ago), dies (at once), silent (runs, and says nothing), unable (does
            not even say its version).
        architecture, python: what it is made for.
        said: the version that its program says it is, where that is another.
    """
    for name in ("bin", "lib/shared", f"lib/python{python}", "systemd"):
        (tree / name).mkdir(parents=True)
    (tree / "VERSION").write_text(f"{version}\n")
    (tree / "ARCH").write_text(f"{architecture}\n")
    (tree / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (tree / "lib/shared/module.py").write_text(f"VERSION = {version!r}\n")
    (tree / "systemd/skerry-agent.service").write_text(_UNIT.format(version=version))
    launcher = tree / "bin/edge-agent"
    launcher.write_text(
        _LAUNCHER.format(
            said=said or version,
            version=version,
            behaviour=behaviour,
            python=PYTHON,
            interpreter=shlex.quote(sys.executable),
            agent=shlex.quote(str(ROOT / "tests/harness/made_agent.py")),
            checkout=shlex.quote(str(ROOT)),
        )
    )
    launcher.chmod(0o755)
    (tree / "bin/python3").symlink_to("/usr/bin/python3")
    write_manifest(tree)
    return tree


def write_manifest(tree: Path) -> None:
    """Write a tree's MANIFEST for the files that are there."""
    files = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]
    (tree / "MANIFEST").write_text("".join(line for line in lines if not line.endswith("  MANIFEST\n")))


def pack(tree: Path, archive: Path, top: str = "skerry-agent") -> Path:
    """Pack a tree, as one directory, and return the archive."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, top)
    return archive
