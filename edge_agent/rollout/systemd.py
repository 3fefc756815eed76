"""systemd's own command, as far as it is needed here.

Under another root than the device's own nothing is started or stopped: that would act on this machine. There the
program that `SKERRY_SYSTEMCTL` names does it, and nothing where none is named.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.policy.layout import UNIT, Layout
from edge_agent.rollout.fault import RolloutError, reason

_TIME_MAX = 120.0
_SHOWN = ("ActiveState", "MainPID", "NRestarts", "StatusText")


@dataclass(frozen=True, slots=True)
class UnitState:
    """How a unit is.

    Attributes:
        active: as systemctl(1) has it: active, activating, inactive, failed….
        pid: its main process; 0 for none.
        restarts: how often systemd has begun it anew by itself since somebody did.
        text: what it says of itself.
    """

    active: str = "inactive"
    pid: int = 0
    restarts: int = 0
    text: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it runs, or is about to."""
        return self.active in {"active", "activating", "reloading"}


class Service:
    """A unit of systemd's."""

    def __init__(self, layout: Layout, unit: str = UNIT) -> None:
        self._unit = unit
        self._program: str | None = os.environ.get("SKERRY_SYSTEMCTL") if layout.root else "systemctl"

    @property
    def is_there(self) -> bool:
        """Whether there is somebody to ask."""
        return self._program is not None

    def reload(self) -> None:
        """Have systemd read its units anew. Raises `RolloutError`."""
        self._call("daemon-reload")

    def enable(self) -> None:
        """Have the unit run from the device's next start on. Raises `RolloutError`."""
        self._call("enable", self._unit)

    def disable(self) -> None:
        """Have it run no more from the device's next start on. Raises `RolloutError`."""
        self._call("disable", self._unit)

    def start(self) -> None:
        """Have it started, without waiting for that. Raises `RolloutError`."""
        self._call("start", "--no-block", self._unit)

    def restart(self) -> None:
        """Have it started anew, without waiting for that. Raises `RolloutError`."""
        self._try("reset-failed", self._unit)  # one that systemd has given up is to count from nought
        self._call("restart", "--no-block", self._unit)

    def stop(self) -> None:
        """Stop it, and wait until it has. Raises `RolloutError`."""
        self._call("stop", self._unit)

    def forget(self) -> None:
        """Have systemd forget how it ended."""
        self._try("reset-failed", self._unit)

    def look(self) -> UnitState:
        """Return how it is. Raises `RolloutError` where systemd does not say: that it does not run would be a guess."""
        shown = self.show(_SHOWN)
        return UnitState(
            shown.get("ActiveState", "inactive"),
            read_number(shown.get("MainPID", "")),
            read_number(shown.get("NRestarts", "")),
            shown.get("StatusText", ""),
        )

    def show(self, properties: Iterable[str], patience: float = _TIME_MAX) -> dict[str, str]:
        """Return what systemd says of the unit's properties, systemctl(1); nothing where there is nobody to ask.

        Args:
            properties: which.
            patience: for how many seconds it is waited for.

        Raises:
            RolloutError: systemd does not say.
        """
        done = self._call("show", *(f"--property={name}" for name in properties), self._unit, patience=patience)
        return dict(line.partition("=")[::2] for line in done.stdout.splitlines()) if done else {}

    def _call(self, *words: str, patience: float = _TIME_MAX) -> subprocess.CompletedProcess[str] | None:
        try:
            done = self._run(*words, patience=patience)
        except (OSError, subprocess.SubprocessError) as err:
            raise RolloutError(f"systemctl {' '.join(words)}: {reason(err)}") from None
        if done and done.returncode:
            said = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
            raise RolloutError(f"systemctl {' '.join(words)}: {said}")
        return done

    def _try(self, *words: str) -> None:
        try:
            self._run(*words)
        except (OSError, subprocess.SubprocessError):
            return

    def _run(self, *words: str, patience: float = _TIME_MAX) -> subprocess.CompletedProcess[str] | None:
        if self._program is None:
            return None
        command = [self._program, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=patience, check=False, stdin=subprocess.DEVNULL
        )


def read_number(text: str) -> int:
    """Return a number that systemd shows; 0 where it shows none."""
    return int(text) if text.isascii() and text.isdecimal() else 0
