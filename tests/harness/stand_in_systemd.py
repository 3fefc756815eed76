"""A stand-in for systemctl(1), for a device that is a directory: it runs units' programs as processes of its own.

Called as systemd's program is, with `STAND_IN` naming the device's directory. It knows what the agent's rollout asks of
it: enable, disable, start, stop, restart, show, reset-failed and daemon-reload; and, for tests, `boot` and `power-cut`.
The real systemd is for the booted devices of tests/system/rollout.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEVICE = Path(os.environ.get("STAND_IN", "/nonexistent"))
STATE = DEVICE / "run/stand-in"
UNITS = DEVICE / "etc/systemd/system"
PACKAGED = DEVICE / "lib/systemd/system"
WANTED = UNITS / "multi-user.target.wants"
_PAUSE = 0.1
_GIVE_UP = 8


def main(words: list[str]) -> int:
    STATE.mkdir(parents=True, exist_ok=True)
    verb, unit = words[0], words[-1]
    if verb not in _VERBS:
        sys.stderr.write(f"Unknown verb {verb}\n")
        return 1
    if verb == "enable" and not place(unit).exists():
        sys.stderr.write(f"Failed to enable unit: Unit file {unit} does not exist.\n")
        return 1
    _VERBS[verb](unit)
    return 0


def place(unit: str) -> Path:
    """Return where a unit is: systemd.unit(5) has the order."""
    return UNITS / unit if (UNITS / unit).exists() else PACKAGED / unit


def enable(unit: str) -> None:
    WANTED.mkdir(parents=True, exist_ok=True)
    disable(unit)
    (WANTED / unit).symlink_to(place(unit))


def disable(unit: str) -> None:
    (WANTED / unit).unlink(missing_ok=True)


def restart(unit: str) -> None:
    end(unit)
    begin(unit)


def show(unit: str) -> None:
    for name, value in shown(unit).items():
        sys.stdout.write(f"{name}={value}\n")


def boot(_: str) -> None:
    for path in sorted(WANTED.iterdir()) if WANTED.exists() else ():
        begin(path.name)


def cut_power(_: str) -> None:
    for path in STATE.glob("*.json"):
        kill(path, signal.SIGKILL)
        path.unlink()
    for path in (DEVICE / "run/skerry-agent", DEVICE / "run/skerry-rollout.lock"):
        subprocess.run(["rm", "-rf", str(path)], check=True)


def read(path: Path) -> dict[str, object]:
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, object] = json.loads(path.read_text())
        return found
    return {}


def is_alive(pid: object) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def shown(unit: str) -> dict[str, object]:
    state = read(STATE / f"{unit}.json")
    active = str(state.get("active", "inactive"))
    if active == "active" and not is_alive(state.get("supervisor")):
        active = "failed"
    pid = state.get("pid", 0) if active == "active" and is_alive(state.get("pid")) else 0
    return {"ActiveState": active, "MainPID": pid, "NRestarts": state.get("restarts", 0), "StatusText": ""}


def begin(unit: str) -> None:
    if shown(unit)["ActiveState"] == "active":
        return
    settings = dict(line.partition("=")[::2] for line in place(unit).read_text().splitlines() if "=" in line)
    command = shlex.split(settings["ExecStart"])
    if not command[0].startswith("/"):
        places = [DEVICE / folder / command[0] for folder in ("usr/local/bin", "usr/bin")]
        command[0] = str(next(path for path in places if path.exists()))
    elif command[0].startswith("/usr/"):
        command[0] = f"{DEVICE}{command[0]}"
    (STATE / f"{unit}.json").write_text(json.dumps({"active": "active", "supervisor": 0, "pid": 0, "restarts": 0}))
    with (STATE / f"{unit}.log").open("ab") as log:
        supervise = [sys.executable, __file__, "supervise", unit, settings.get("Restart", "no"), *command]
        begun = subprocess.Popen(supervise, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (STATE / f"{unit}.json").write_text(
        json.dumps({"active": "active", "supervisor": begun.pid, "pid": 0, "restarts": 0})
    )
    (STATE / f"{unit}.go").touch()


def supervise(unit: str, restart: str, command: list[str]) -> None:
    """Run the program of a unit, and again where it is to be, until told to stop."""
    path, restarts = STATE / f"{unit}.json", 0
    while not (STATE / f"{unit}.go").exists():
        time.sleep(0.01)
    (STATE / f"{unit}.go").unlink()
    while True:
        process = subprocess.Popen(command)
        state = {"active": "active", "supervisor": os.getpid(), "pid": process.pid, "restarts": restarts}
        replace(path, state)
        code = process.wait()
        is_again = restart == "always" or (restart == "on-failure" and code != 0)
        if not is_again or restarts >= _GIVE_UP:
            replace(path, state | {"active": "failed" if code else "inactive", "pid": 0})
            return
        restarts += 1
        time.sleep(_PAUSE)


def replace(path: Path, state: dict[str, object]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.rename(path)


def end(unit: str) -> None:
    kill(STATE / f"{unit}.json", signal.SIGTERM)
    replace(STATE / f"{unit}.json", {"active": "inactive"})
    subprocess.run(["rm", "-rf", str(DEVICE / "run" / unit.removesuffix(".service"))], check=True)


def kill(path: Path, number: int) -> None:
    state = read(path)
    for name, how in (("supervisor", signal.SIGKILL), ("pid", number)):
        pid = state.get(name, 0)
        if isinstance(pid, int) and pid > 1 and is_alive(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
    until = time.monotonic() + 10
    while is_alive(state.get("pid", 0)) and time.monotonic() < until:
        time.sleep(0.01)


_VERBS: dict[str, Callable[[str], None]] = {
    "boot": boot,
    "daemon-reload": lambda _: None,
    "disable": disable,
    "enable": enable,
    "power-cut": cut_power,
    "reset-failed": lambda _: None,
    "restart": restart,
    "show": show,
    "start": begin,
    "stop": end,
}

if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        supervise(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        sys.exit(main(sys.argv[1:]))
