"""What a service and its manager say to each other, as systemd has it: sd_notify(3), sd_watchdog_enabled(3).

A message is one datagram of lines; a program's own small door sends it to the socket that `parse_address` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ADDRESS, PULSE_TIME, PULSE_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
RUNTIME = "RUNTIME_DIRECTORY"
# What a manager puts in a service's environment for that service alone: none of it is for the programs that the service
# runs for others (systemd.exec(5), "Environment Variables in Spawned Processes"; sd_listen_fds(3)).
FOR_THE_SERVICE = frozenset(
    {
        ADDRESS,
        PULSE_TIME,
        PULSE_PID,
        CREDENTIALS,
        RUNTIME,
        "CACHE_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "FDSTORE",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LOGS_DIRECTORY",
        "MAINPID",
        "MANAGERPID",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
        "STATE_DIRECTORY",
        "SYSTEMD_EXEC_PID",
    }
)
PULSE = b"WATCHDOG=1"
_STATUS_MAX = 200
# Of the time that the manager waits for a pulse, one passes in so many parts: one may be late, and another lost.
_PULSES_IN_TIME = 3
_MICROSECONDS = 1_000_000
# Longer than a year is no time to wait for, but a slip.
_PULSE_TIME_MAX = 366 * 24 * 3600 * _MICROSECONDS


def ready(status: str) -> bytes:
    """Return the message that the service is up, or has read its settings again."""
    return _message(("READY=1", _status(status)))


def status(text: str) -> bytes:
    """Return the message of how things stand: one line for `systemctl status`."""
    return _message((_status(text),))


def reloading(monotonic_us: int) -> bytes:
    """Return the message that settings are being read again; `ready` is to follow.

    Args:
        monotonic_us: what CLOCK_MONOTONIC says now, in microseconds. Managers before systemd 253 overlook it.
    """
    return _message(("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}"))


def stopping(text: str) -> bytes:
    """Return the message that the service ends."""
    return _message(("STOPPING=1", _status(text)))


def extending(seconds: float) -> bytes:
    """Return the message that what is under way, a start, a reload or an end, may take so much longer from now on."""
    return _message((f"EXTEND_TIMEOUT_USEC={int(seconds * _MICROSECONDS)}",))


def parse_address(environment: Mapping[str, str]) -> str | bytes | None:
    """Return where messages go, as `socket.connect` takes it; None where nobody wants any.

    A path, or a name in the abstract name space, which is written with an ``@``. What is neither is not understood
    here (vsock, for machines within machines) and counts as nobody.
    """
    told = environment.get(ADDRESS, "")
    if told.startswith("/"):
        return told
    if told.startswith("@") and len(told) > 1:
        return b"\0" + told[1:].encode("utf-8", "surrogateescape")
    return None


def parse_pulse(environment: Mapping[str, str], pid: int) -> float | None:
    """Return how many seconds may pass between two pulses of process `pid`; None where nobody counts them.

    A third of the time after which the manager takes the service for hung.
    """
    told = environment.get(PULSE_TIME, "")
    if environment.get(PULSE_PID, str(pid)) != str(pid) or not (told.isascii() and told.isdecimal()):
        return None
    if len(told) > len(str(_PULSE_TIME_MAX)) or not 0 < int(told) <= _PULSE_TIME_MAX:
        return None
    return int(told) / _MICROSECONDS / _PULSES_IN_TIME


def without_service_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what may reach another program of an environment."""
    return {name: value for name, value in environment.items() if name not in FOR_THE_SERVICE}


def _status(text: str) -> str:
    """Return the field of how things stand: one line, whatever is in `text`."""
    return "STATUS=" + "".join(letter if letter.isprintable() else " " for letter in text[:_STATUS_MAX])


def _message(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "replace")
