from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from protocol.recordings import RecordingEntry
from protocol.sizes import format_size
from tests.controller.tctl.archive import Archive, hours_ago

Tctl = Callable[..., subprocess.CompletedProcess[str]]


def test_recordings_are_listed_the_newest_first_with_when_and_how_whole(tctl: Tctl, archive: Archive) -> None:
    old = archive.keep(archive.tape(started=hours_ago(3)))
    new = archive.keep(archive.tape("interrupted", user="bob"))
    header, dashes, *rows = tctl("recordings", "ls").stdout.splitlines()
    assert header.split() == ["ID", "Type", "Participants", "Hostname", "Timestamp", "State", "Size"]
    assert set(dashes) == {"-", " "}
    began = time.strftime("%b %d %H:%M:%S UTC", time.gmtime(new.started // 1000))
    size = format_size(len(new.content))
    assert " ".join(rows[0].split()) == f"{new.session} ssh bob gw-1 {began} interrupted {size}"
    assert [row.split()[0] for row in rows] == [new.session, old.session]


def test_recordings_are_listed_for_programs(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape(command="uptime"))
    (told,) = json.loads(tctl("recordings", "ls", "--format=json").stdout)
    entry = RecordingEntry.from_dict(told)
    assert (entry.session, entry.participants, entry.command) == (tape.session, ("alice",), "uptime")
    assert (entry.size, entry.state) == (len(tape.content), "complete")


def test_a_listing_is_of_the_days_and_as_long_as_it_is_told(tctl: Tctl, archive: Archive) -> None:
    old, new = (archive.keep(archive.tape(started=hours_ago(hours))) for hours in (48, 1))
    began, ended = (time.strftime("%Y-%m-%d", time.gmtime(one.started // 1000)) for one in (old, new))

    def listed(*flags: str) -> list[str]:
        done = tctl("recordings", "ls", "--format=json", *flags)
        assert (done.returncode, done.stderr) == (0, "")
        return [entry["session"] for entry in json.loads(done.stdout)]

    assert listed(f"--to-utc={began}") == [old.session]
    assert listed(f"--from-utc={began}", f"--to-utc={ended}") == [new.session, old.session]
    assert listed(f"--from-utc={began}", "--limit=1") == [new.session]
    assert tctl("recordings", "ls", "--to-utc=2020-01-01").stdout == "No recordings found of that time\n"
    assert tctl("recordings", "ls", "--to-utc=9999-12-31").returncode == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--from-utc=22.11.2026"], "not a date: '22.11.2026' (write 2006-01-02)"),
        (["--last=1h", "--to-utc=2026-11-22"], "--last goes with neither"),
        (["--from-utc=2026-11-22", "--to-utc=2026-11-21"], "names a day before"),
        (["--limit=0"], "limit"),
    ],
)
@pytest.mark.usefixtures("archive")
def test_a_period_that_is_none_is_refused(tctl: Tctl, line: list[str], said: str) -> None:
    done = tctl("recordings", "ls", *line)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.usefixtures("archive")
def test_where_there_are_none_that_is_said_and_how_to_look_further(tctl: Tctl) -> None:
    said = tctl("recordings", "ls").stdout
    assert said == "No recordings found of the last 24h0m0s: --last looks further back\n"
    assert tctl("recordings", "ls", "--format=json").stdout == "[]\n"
    assert tctl("recordings", "ls", "--last=soon").returncode == 2


def test_a_listing_goes_back_as_far_as_it_is_told(tctl: Tctl, archive: Archive) -> None:
    archive.keep(archive.tape(started=hours_ago(30)))
    assert tctl("recordings", "ls").stdout.startswith("No recordings found")
    for last in ("48h", "999999d"):
        assert len(tctl("recordings", "ls", "--last", last).stdout.splitlines()) == 3
