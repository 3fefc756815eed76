"""One booted device: its own Debian with systemd, on a disk of its own, where its network is."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from tests.harness.device_bed.disk import Disk
from tests.harness.device_bed.groups import Groups
from tests.harness.device_bed.notices import Notices
from tests.harness.namespaces import Namespace
from tests.harness.running_program import RunningProgram, await_pid_end

BOOT = 120.0  # under emulation on a busy machine
_ENVIRONMENT = (
    *("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"),
    *("LC_ALL=C.UTF-8", "TERM=dumb", "USER=root", "LOGNAME=root"),
)
# systemd-nspawn ends with 133 when what runs in it reboots.
_POWER = """
while :; do
  setpriv --pdeathsig TERM systemd-nspawn "$@" </dev/null && exit 0
  [ $? = 133 ] || exit 1
done
"""


# That line is printed, and from then on whatever comes after it.
_FOLLOW = """
cursor=$(journalctl --quiet --lines=1 -o cat --show-cursor | sed -n 's/^-- cursor: //p')
echo "$2"
exec journalctl --follow --quiet -o cat --after-cursor="$cursor" --unit="$1"
"""


@dataclass(frozen=True)
class Place:
    """What a device is to be: its name, its network, its image and how much its disk holds."""

    name: str
    space: Namespace
    image: Path
    size: str = "2g"
    hosts: Mapping[str, str] = field(default_factory=dict)
    key: str = ""  # who may log in over SSH
    boot: float = BOOT


class Device:
    """Made switched off. Use `switched_on` or `boot`; `close` ends it and all it has."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.name = place.name
        self.address = place.space.address
        self._folder = folder
        self._disk = Disk(place.image, place.size, place.space.name)
        self._groups = Groups(f"{place.space.name}")
        self._notices = Notices(folder / "notify")
        self._power: RunningProgram | None = None
        self._furnish()

    # --- power ----------------------------------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        return self._power is not None and self._power.is_running

    @property
    def boots(self) -> int:
        """How often it has come up."""
        return self._notices.count

    def boot(self) -> Device:
        """Switch it on, and wait until systemd has started what it starts at boot."""
        self.await_boot(self.switch_on())
        return self

    def switch_on(self) -> int:
        """Switch it on without waiting; return what `await_boot` is to await.

        It goes off where the thread ends that did this.
        """
        count = self.boots + 1
        assert not self.is_on, f"{self.name} is on"
        nspawn = ["--quiet", "--boot", f"--directory={self._disk.root}", f"--machine={self.name}", "--notify-ready=yes"]
        nspawn += ["--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        nspawn += [f"--network-namespace-path=/run/netns/{self.place.space.name}"]
        command = [*self._disk.prefix, *self._groups.prefix, "sh", "-c", _POWER, "power", *nspawn]
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self._notices.path)}
        self._power = RunningProgram(f"console of {self.name}", command, environment)
        return count

    def await_boot(self, count: int) -> None:
        """Wait until it has come up so often in all."""
        self._notices.await_count(count, self.place.boot, lambda: self.is_on, self.console)

    def reboot(self) -> None:
        """Have it reboot in order, and wait until it is up again."""
        count = self.boots
        self.run("systemctl", "reboot", check=False)
        self.await_boot(count + 1)

    def cut_power(self) -> None:
        """End all of it at once, as when the plug is pulled."""
        power, leader = self._power, self._notices.leader
        assert power is not None
        os.killpg(power.pid, signal.SIGKILL)
        power.await_end()
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
        self._gone(leader)

    def power_off(self) -> None:
        """Have it shut down in order."""
        power, leader = self._power, self._notices.leader
        assert power is not None
        self.run("systemctl", "poweroff", check=False)
        assert power.await_end(self.place.boot) == 0, self.console()
        self._gone(leader)

    def close(self) -> None:
        """End it, however it is, and take away what it was made of."""
        if self.is_on:
            self.cut_power()
        self._notices.close()
        self._disk.close()
        self._groups.close()

    def _gone(self, leader: int) -> None:
        await_pid_end(leader)
        assert self._power is not None
        self._power.await_silence()
        self._power = None

    # --- inside ---------------------------------------------------------------------------------------------------

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands in front of a command that is to run inside, as root; it ends with who runs it."""
        enter = (
            "nsenter",
            f"--target={self._notices.leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
        )
        return (*enter, "--", *_ENVIRONMENT, "setpriv", "--pdeathsig", "KILL")

    def run(
        self, *command: str, typed: str = "", timeout: float = 60.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root; where `check`, it must succeed."""
        done = subprocess.run(
            [*self.prefix, *command],
            input=typed, capture_output=True, text=True, errors="backslashreplace", timeout=timeout, check=False,
        )  # fmt: skip
        if check:
            said = f"{done.stdout}{done.stderr}"
            assert done.returncode == 0, f"{self.name}: {shlex.join(command)} ended with {done.returncode}:\n{said}"
        return done

    def shell(self, script: str, *, timeout: float = 60.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell's script inside as root."""
        return self.run("sh", "-euc", script, timeout=timeout, check=check)

    def start(self, *command: str) -> RunningProgram:
        """Start a command inside that is listened to line by line."""
        return RunningProgram(f"{shlex.join(command)} on {self.name}", [*self.prefix, *command])

    # --- what it says ---------------------------------------------------------------------------------------------

    def console(self) -> str:
        return self._power.log() if self._power else ""

    def journal(self, unit: str = "", *, lines: int = 200) -> str:
        """Return the last lines of its journal, of this boot and those before."""
        of_unit = [f"--unit={unit}"] if unit else []
        return self.run("journalctl", "--no-pager", "--quiet", "-o", "short", f"--lines={lines}", *of_unit).stdout

    @contextmanager
    def following(self, unit: str) -> Iterator[RunningProgram]:
        """Listen to a unit's journal from now on, what systemd says of it included."""
        mark = f"listening {uuid4()}"
        program = self.start("sh", "-c", _FOLLOW, "follow", unit, mark)
        try:
            program.await_line(f"^{mark}$")
            yield program
        finally:
            program.stop()

    def unit(self, name: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, by `systemctl show`."""
        told = self.run("systemctl", "show", name, *(f"--property={name}" for name in properties)).stdout
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    # --- its disk -------------------------------------------------------------------------------------------------

    def path(self, inside: str) -> Path:
        """Return where a file of the device is seen from here, while it is on."""
        return Path(f"/proc/{self._notices.leader}/root") / inside.lstrip("/")

    def put(self, source: Path, inside: str) -> None:
        """Copy a file or a directory into it."""
        subprocess.run(["cp", "-a", "--no-preserve=ownership", str(source), str(self.path(inside))], check=True)

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file into it, on or off."""
        place = self.path(inside) if self.is_on else self._disk.seen / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)

    def footprint(self, *but: str) -> dict[str, str]:
        """Return all in which its disk differs from the image: path to what is there; not below the paths `but`."""
        return {name: what for name, what in self._disk.changes() if not name.startswith(tuple(but))}

    def _furnish(self) -> None:
        """Give it what each device has for itself."""
        names = [
            f"127.0.0.1 localhost {self.name}",
            *(f"{address} {name}" for name, address in self.place.hosts.items()),
        ]
        self.write("/etc/hosts", "\n".join([*names, ""]))
        self.write("/etc/hostname", f"{self.name}\n")
        self.write("/etc/machine-id", f"{uuid4().hex}\n", 0o444)
        if self.place.key:
            self.write("/root/.ssh/authorized_keys", self.place.key, 0o600)
