from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
# In a process of its own: a hall's thread ends with its process and not before.
STAND = """
import sys, threading, time
from datetime import timedelta
from pathlib import Path
from tests.controller.web.lab import HandClock, Lab

SILENCE = timedelta(seconds=3)
hall = Lab.open(Path(sys.argv[1]), HandClock()).hall()
assert hall.is_turning(timedelta(0)), "it has not begun, and does not stand"
hall.begin()
assert hall.is_turning(SILENCE)
release = threading.Event()
hall._begun().call_soon_threadsafe(release.wait)
while hall.is_turning(SILENCE):
    time.sleep(0.05)
print("stands", flush=True)
release.set()
while not hall.is_turning(SILENCE):
    time.sleep(0.05)
print("turns", flush=True)
"""


def test_a_hall_whose_loop_is_blocked_stands_and_turns_again_when_it_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STAND, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "stands\nturns\n"), done.stderr
