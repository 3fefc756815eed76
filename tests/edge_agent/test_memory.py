"""What the process gives back, in processes of their own: the measure is theirs alone."""

from __future__ import annotations

import subprocess
import sys

from tests.harness.road import ROOT

PROGRAM = """
import sys, threading
from edge_agent import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if "share" in sys.argv:
    memory.share_arena()
pieces = []
def fill():
    pieces.extend(bytearray(100_000) for _ in range(400))
    del pieces[:-1]  # the last one keeps the end of the arena in place
thread = threading.Thread(target=fill)
thread.start()
thread.join()
before = resident()
memory.give_back()
print(before - resident())
"""


def given_back(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, timeout=20, check=True
    )
    return int(done.stdout)


def test_what_is_free_goes_back_to_the_kernel() -> None:
    assert given_back() > 10_000_000


def test_so_it_does_with_one_arena_for_all_threads() -> None:
    assert given_back("share") > 10_000_000
