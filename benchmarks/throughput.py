"""Bulk throughput from one end to the other: `head -c` of zeros down, `wc -c` of zeros up, as whole commands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import Contender, openssh, skerry
from benchmarks.pair import Goal, Row, take_turns
from benchmarks.program import BenchError, seconds, surroundings
from protocol.ssh.algorithms import ciphers

# What our clients put first, which is what is used where the server has it (RFC 4253 section 7.1), and ours all do.
CIPHER = ciphers()[0]
_MEGA = 1e6
_QUICK = 16


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows: download without and with a terminal, and upload, each against both settings of OpenSSH."""
    size = (256 if not quick else _QUICK) * 1024 * 1024
    with ExitStack() as stack:
        # OpenSSH records nothing; what recording costs is measured in `recording`.
        ours = stack.enter_context(skerry(directory / "skerry", recording="off"))
        same = stack.enter_context(openssh(directory / "same", cipher=CIPHER))
        default = stack.enter_context(openssh(directory / "default"))
        roads = (ours, same, default)
        rows = []
        for what, job in (
            ("download", lambda road: download(road, size)),
            ("download, PTY", lambda road: download(road, size, road.force_pty)),
            ("upload", lambda road: _upload(road, size)),
        ):
            rows += _compare(what, roads, job, turns)
    return rows


def _compare(what: str, roads: tuple[Contender, ...], job: Callable[[Contender], float], turns: int) -> list[Row]:
    ours, same, default = (road.name for road in roads)
    found = take_turns({road.name: _bound(job, road) for road in roads}, turns)
    goal = Goal("ratio", "at least", 1.5)
    return [
        Row(what, "MB/s", found[ours], found[same], same, goal),
        Row(what, "MB/s", found[ours], found[default], default),
    ]


def _bound(job: Callable[[Contender], float], road: Contender) -> Callable[[], float]:
    return lambda: job(road)


def download(road: Contender, size: int, *options: str, source: str = "/dev/zero") -> float:
    """Return megabytes a second of one download of the device's `source`. What is counted is what arrived.

    A terminal is told to leave line ends as they are.
    """
    with subprocess.Popen(["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counter:
        assert counter.stdin
        assert counter.stdout
        remote = f"{'stty -onlcr; ' if options else ''}head -c {size} {source}"
        took = seconds(road.ssh(remote, *options), road.variables, stdout=counter.stdin.fileno())
        counter.stdin.close()
        _check(int(counter.stdout.read()), size, road)
    return size / _MEGA / took


def _upload(road: Contender, size: int) -> float:
    """Return megabytes a second of one upload. What is counted is what arrived."""
    head = ["head", "-c", str(size), "/dev/zero"]
    with (
        subprocess.Popen(head, stdout=subprocess.PIPE, env=surroundings()) as source,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sink,
    ):
        assert source.stdout
        assert sink.stdin
        assert sink.stdout
        took = seconds(road.ssh("wc -c"), road.variables, stdin=source.stdout.fileno(), stdout=sink.stdin.fileno())
        source.stdout.close()
        sink.stdin.close()
        _check(int(sink.stdout.read()), size, road)
    return size / _MEGA / took


def _check(arrived: int, size: int, road: Contender) -> None:
    if arrived != size:
        raise BenchError(f"{road.name}: {arrived} bytes arrived of {size}")
