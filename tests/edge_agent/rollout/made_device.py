"""A device that is a directory, with a stand-in for systemd: what is installed, upgraded and removed there is real."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.policy.layout import Layout
from tests.harness.made_tree import ROOT, make_tree

SYSTEMCTL = ROOT / "tests/harness/stand_in_systemd.py"
_DEADLINE = 90.0


class MadeDevice:
    """One of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(str(root))
        for name in ("etc/systemd/system", "run/systemd/system", "usr/local/bin", "var/lib", "var/log", "opt"):
            (root / name).mkdir(parents=True)
        self.sessions = root.with_name(f"{root.name}.sessions")
        program = root.with_name(f"{root.name}.systemctl")
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {SYSTEMCTL} "$@"\n')
        program.chmod(0o755)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SKERRY_"))
        }
        self.environment |= {
            "STAND_IN": str(root),
            "SKERRY_SYSTEMCTL": str(program),
            "SESSIONS": str(self.sessions),
            "PYTHONPATH": str(ROOT),
        }
        self._systemctl = program

    def systemctl(self, *words: str) -> None:
        subprocess.run([str(self._systemctl), *words], env=self.environment, check=True, timeout=60)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edge_agent", *arguments, "--root", str(self.root)]

    def run(self, *arguments: str, more: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the checkout's `edge-agent` on it, to the end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | (more or {}),
            capture_output=True,
            text=True,
            timeout=_DEADLINE,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def interpose(self, script: str) -> None:
        """Have systemctl(1) preceded by a script, which has its arguments and may end in its stead."""
        program = self.root.with_name(f"{self.root.name}.interposed")
        program.write_text(f'#!/bin/sh\n{script}\nexec {self._systemctl} "$@"\n')
        program.chmod(0o755)
        self.environment["SKERRY_SYSTEMCTL"] = str(program)

    @property
    def pid(self) -> int:
        """The process of the service, as it says itself."""
        return int(json.loads(Path(self.layout.status).read_text())["pid"])

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Whether a process goes on; one that nobody has asked for its end yet does not."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def have(self, version: str, behaviour: str = "good", *, is_running: bool = True) -> None:
        """Have a version installed, as the installer leaves it, and running."""
        tree = make_tree(Path(self.layout.tree(version)), version, behaviour)
        Path(self.layout.current).symlink_to(version)
        Path(self.layout.command).symlink_to(f"{self.layout.current}/bin/edge-agent")
        Path(self.layout.unit).write_bytes((tree / "systemd/skerry-agent.service").read_bytes())
        Path(self.layout.data).mkdir(mode=0o700, exist_ok=True)
        self.systemctl("enable", "skerry-agent.service")
        if is_running:
            self.systemctl("start", "skerry-agent.service")
            if behaviour not in {"dies", "silent", "unable"}:
                self.wait_for(lambda: self.runs(version), f"version {version} to run")

    @property
    def current(self) -> str:
        return str(Path(self.layout.current).readlink())

    @property
    def unit_version(self) -> str:
        found = re.search(r"# of version (\S+)", Path(self.layout.unit).read_text())
        return found[1] if found else ""

    def runs(self, version: str) -> bool:
        """Whether the service that runs is of this version."""
        try:
            status = json.loads(Path(self.layout.status).read_text())
        except (OSError, ValueError):
            return False
        return bool(status["version"] == version and Path(f"/proc/{status['pid']}").exists())

    def record(self) -> dict[str, Any]:
        done = self.run("upgrade", "--status", "--format", "json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def kept(self) -> dict[str, Any]:
        """What stands in the record on the disk; nothing where there is none."""
        try:
            found: dict[str, Any] = json.loads(Path(self.layout.result).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def was_taken_up(self, times: int) -> bool:
        """Whether the upgrade was taken up so often."""
        return bool(self.kept().get("plan", {}).get("starts") == times)

    def versions(self) -> list[str]:
        return sorted(path.name for path in Path(self.layout.trees).iterdir() if path.name != "current")

    def footprint(self) -> dict[str, str]:
        """Every file, directory and link, with what it is; but for what the stand-in of systemd keeps."""
        found: dict[str, str] = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if not name.startswith(("run/stand-in", "run/skerry-agent")):
                found[name] = _what(path)
        return found

    def wait_for(self, is_so: Callable[[], object], what: str) -> None:
        until = time.monotonic() + _DEADLINE
        while not is_so():
            assert time.monotonic() < until, f"waited in vain for {what}: {self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        logs = (self.root / "run/stand-in").glob("*.log")
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in logs)

    def close(self) -> None:
        self.systemctl("power-cut")


def _what(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return "directory" if path.is_dir() else f"{path.stat().st_mode:o} {path.read_bytes()!r:.200}"
