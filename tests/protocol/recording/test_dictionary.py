from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import zstandard

from protocol.recording import frame
from tests.architecture.source import ROOT


def test_the_same_seed_trains_the_same_dictionary_and_another_seed_another(tmp_path: Path) -> None:
    def trained(seed: int) -> bytes:
        file = tmp_path / "trained"
        command = [sys.executable, "scripts/train_dictionary.py", "--sessions", "20", "--size", "8192"]
        subprocess.run([*command, "--seed", str(seed), file], cwd=ROOT, timeout=60, check=True, capture_output=True)
        return file.read_bytes()

    once = trained(1)
    assert once == trained(1) != trained(2)
    assert zstandard.ZstdCompressionDict(once).dict_id() != 0


def test_every_dictionary_up_to_the_newest_is_shipped_and_is_one() -> None:
    for number in range(1, frame.NEWEST + 1):
        data = (ROOT / "protocol" / "recording" / f"dictionary-{number}.zdict").read_bytes()
        assert zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_FULLDICT).dict_id() != 0
