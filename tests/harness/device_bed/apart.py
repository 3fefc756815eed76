"""Mounts that no other process sees: they belong to one process's mount namespace, and end with it, however it ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

# A place that is there on every Linux, and hidden from nobody but those who enter the namespace.
PLACE = Path("/mnt")
_HOLD = "set -eu; {script}; echo ready; exec cat"


class Apart:
    """A namespace in which the shell's `script` has mounted something; `given` are its arguments, from $1 on."""

    def __init__(self, script: str, *given: str) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
        command += ["sh", "-c", _HOLD.format(script=script.strip()), "apart", *given]
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != "ready\n":
            self.close()
            raise AssertionError("a device's mounts cannot be made: root is needed, and overlayfs, tmpfs, binfmt_misc")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands in front of a command that is to see them."""
        return ("nsenter", f"--target={self._holder.pid}", "--mount", "--")

    def seen(self, inside: Path = PLACE) -> Path:
        """Return where a path in there is seen from here."""
        return Path(f"/proc/{self._holder.pid}/root") / inside.relative_to("/")

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()
