"""`make bench`: our programs and OpenSSH's at the same work, in turn, on this machine.

Each benchmark prints a table and writes build/bench/NAME.json. What the figures mean stands in docs/performance.md.

Bash reads ~/.bashrc for every command that comes over SSH, whoever serves it; what stands there is this machine's
and would be measured on both roads. Run by root, the benchmarks see an empty one, in a mount namespace of their own.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from benchmarks import (
    dashboard,
    fleet,
    insight,
    joining,
    latency,
    memory,
    open_terminals,
    recording,
    report,
    startup,
    terminals,
    throughput,
)
from benchmarks.pair import Row
from benchmarks.program import ROOT, BenchError

TURNS = 5
_APART = "SKERRY_BENCH_APART"


class Benchmark(Protocol):
    """One benchmark's module."""

    def measure(self, directory: Path, *, turns: int, quick: bool) -> list[Row]:
        """Measure, with `directory` for whatever is needed on the way."""
        ...


BENCHMARKS: dict[str, Benchmark] = {
    "throughput": throughput,
    "latency": latency,
    "memory": memory,
    "startup": startup,
    "recording": recording,
    "fleet": fleet,
    "joining": joining,
    "terminals": terminals,
    "open-terminals": open_terminals,
    "insight": insight,
    "dashboard": dashboard,
}


def main() -> int:
    """Run all benchmarks or the one that was named; the exit status tells whether they could be run."""
    parser = argparse.ArgumentParser(description="Compare Skerry with OpenSSH on this machine.")
    parser.add_argument("--only", choices=BENCHMARKS, metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="one short turn of each, to see that it works")
    options = parser.parse_args()
    _go_apart()
    for package in ("protocol", "controller", "edge_agent", "tsh"):  # as an installer does
        compileall.compile_dir(ROOT / package, quiet=1)
    try:
        for name in [options.only] if options.only else list(BENCHMARKS):
            _run(name, quick=options.quick)
    except BenchError as err:
        print(f"ERROR: {err}", file=sys.stderr)
        return 1
    return 0


def _run(name: str, *, quick: bool) -> None:
    turns = 1 if quick else TURNS
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as directory:
        rows = BENCHMARKS[name].measure(Path(directory), turns=turns, quick=quick)
    path = ROOT / "build" / "bench" / f"{name}.json"
    report.write_json(path, name, rows, turns)
    print(f"\n{name}\n{report.render(rows)}\n-> {path.relative_to(ROOT)}", flush=True)


def _go_apart() -> None:
    """Begin anew in a mount namespace in which this account's ~/.bashrc is empty, where that can be done."""
    bashrc = Path("~/.bashrc").expanduser()
    if os.environ.get(_APART):
        subprocess.run(["mount", "--bind", os.devnull, str(bashrc)], check=True)
    elif os.geteuid() == 0 and bashrc.exists() and (unshare := shutil.which("unshare")):
        os.environ[_APART] = "1"
        os.execv(unshare, ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])  # noqa: S606 - ourselves
    elif bashrc.exists():
        print("Note: both roads run this account's ~/.bashrc for each command; as root, it would be left out.")


if __name__ == "__main__":
    sys.exit(main())
