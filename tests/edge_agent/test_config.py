from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from edge_agent.config import ConfigError, Options, Settings, load_settings, template
from edge_agent.policy.upload import RecordingSettings, Window


def load(path: Path, text: str) -> Settings:
    path.write_text(f"controller: c.example.com\nnodename: kiosk-17\n{text}")
    return load_settings(Options(config=str(path), data_dir=str(path.parent)), euid=1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edge_agent.yaml"


@pytest.mark.parametrize("text", ["", "recording:\n", "recording: {}\n"])
def test_what_is_not_said_about_recordings_is_as_usual(path: Path, text: str) -> None:
    assert load(path, text).recording == RecordingSettings()


def test_all_that_can_be_said_about_recordings(path: Path) -> None:
    text = """
recording:
  spool_max: 1GB
  min_free: 1048576
  upload_rate: 32kbit/s
  upload_window: 22:00-06:00
  upload_order: oldest
"""
    assert load(path, text).recording == RecordingSettings(10**9, 2**20, 4000, Window(1320, 360), "oldest")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("spool_max: much", "recording.spool_max: not a number of bytes (write 512MiB, 1GB or 1048576)"),
        ("spool_max: -1", "recording.spool_max: not a number of bytes that can be: below nothing, or beyond all disks"),
        ("spool_max: 100KiB", "recording.spool_max: too little for sessions to be recorded: at least 8 MiB"),
        ("spool_max: 0", "recording.spool_max: too little for sessions to be recorded: at least 8 MiB"),
        ("min_free: 900TiB", "recording.min_free: no disk would have as much left for recordings: at most 1 TiB"),
        (
            "upload_rate: 0",
            (
                "recording.upload_rate: nothing would ever be sent: at least 4kbit/s; leave it out to send as fast as "
                "the link is"
            ),
        ),
        ("min_free:", "recording.min_free: not a number of bytes (write 512MiB, 1GB or 1048576)"),
        (
            "upload_rate: 32",
            "recording.upload_rate: should be a rate with its unit, such as 32kbit/s, 1Mbit/s or 200KB/s",
        ),
        ("upload_rate: 1kbit/s", "recording.upload_rate: too slow to get anything across: at least 4kbit/s"),
        ("upload_window: 22-6", 'recording.upload_window: should be two times of day, as in "22:00-06:00"'),
        ("upload_order: random", "recording.upload_order: should be newest or oldest"),
        ("uplod_rate: 1Mbit/s", "recording.uplod_rate: unknown key (did you mean 'upload_rate'?)"),
    ],
)
def test_a_mistake_about_recordings_is_told_with_file_line_and_key(path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path, f"recording:\n  # a comment\n  {line}\n")
    assert str(caught.value) == f"{path}:5: {complaint}"


def test_the_template_shows_what_is_usual_for_recordings(path: Path) -> None:
    shown = template()
    assert "recording" not in yaml.safe_load(shown)
    begin = shown.index("#recording:")
    lines = shown[begin : shown.index("\nlog:")].splitlines()
    path.write_text("\n".join(line.replace("#", "", 1) for line in lines if not line.startswith("  # ")))
    told = load(path, path.read_text()).recording
    assert (told.spool_max, told.min_free, told.upload_order) == (512 * 2**20, 64 * 2**20, "newest")
    assert told.upload_rate == 125_000
    assert told.upload_window == Window(22 * 60, 6 * 60)


def test_heart_beats_every_thirty_seconds_unless_said_otherwise(path: Path) -> None:
    assert load(path, "").heartbeat == 30
    assert load(path, "heartbeat_interval: 300").heartbeat == 300


@pytest.mark.parametrize("value", ["4", "3601", "30s", "true", ""])
def test_an_interval_that_cannot_be_is_told_with_file_line_and_key(path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(path, f"heartbeat_interval: {value}\n")
    complaint = "should be a number of seconds from 5 to 3600"
    assert re.fullmatch(rf"{re.escape(str(path))}:\d+: heartbeat_interval: {complaint}", str(caught.value))
