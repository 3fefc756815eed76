from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.architecture.source import ROOT

# `make fuzz` runs the same for longer, and shows how far it is.
SECONDS = int(os.environ.get("SKERRY_FUZZ_SECONDS", "20"))


@pytest.mark.timeout(SECONDS + 100)
def test_damaged_recordings_raise_nothing_but_recording_errors_and_vouch_for_nothing_new() -> None:
    command = [sys.executable, "-m", "tests.protocol.recording.fuzz_recording", "--seconds", str(SECONDS)]
    seed = os.environ.get("SKERRY_FUZZ_SEED")
    command += ["--seed", seed] if seed else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    sys.stdout.write(done.stdout)
