from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from controller.accounts import Origin
from controller.cluster import Cluster
from controller.tctl.audit import describe_detail, describe_event
from protocol.instants import format_instant
from protocol.names import Login, UserName
from protocol.secret import Secret
from tests.controller.tctl.conftest import on_terminal

ROOT = Path(__file__).parents[3]
Tctl = Callable[..., subprocess.CompletedProcess[str]]
ADMIN = Origin(via="tctl", actor="admin@harbour")
PEER = Origin(address="127.0.0.1:1")


@pytest.fixture
def history(cluster: Cluster) -> None:
    cluster.accounts.users.add(UserName("joe"), (Login("root"), Login("pi")), timedelta(hours=1), ADMIN)
    cluster.accounts.users.add(UserName("ann"), (Login("ann"),), timedelta(hours=1), ADMIN)
    cluster.accounts.sign_in("joe", Secret("insecure wrong"), Secret("000000"), PEER)
    cluster.accounts.sign_in("\x1b[31mmallory\r\n", Secret("insecure wrong"), Secret("000000"), PEER)


def _events(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0
    return [json.loads(line)["event"] for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("history")
def test_audit_ls_prints_one_line_an_event(tctl: Tctl) -> None:
    lines = tctl("audit", "ls").stdout.splitlines()
    assert lines[0].split() == ["Time", "(UTC)", "Code", "Event", "User", "Detail"]
    assert set(lines[1]) == {"-", " "}
    assert [line.split()[1:3] for line in lines[2:]] == [
        ["SK020I", "cluster.create"],
        ["T1002I", "user.create"],
        ["T1002I", "user.create"],
        ["T1000W", "user.login"],
        ["T1000W", "user.login"],
    ]
    assert "admin@harbour    name=joe logins=root,pi " in lines[3]
    assert 'joe              error="no password set yet"' in lines[5]


@pytest.mark.usefixtures("history")
def test_what_a_stranger_sent_cannot_steer_the_terminal(tctl: Tctl) -> None:
    text = tctl("audit", "ls").stdout
    assert r"\x1b[31mmallory\r\n" in text
    assert all(line.isprintable() for line in text.splitlines())
    assert "\x1b" not in tctl("audit", "ls", "--format=json").stdout


@pytest.mark.usefixtures("history")
def test_audit_ls_for_programs_gives_the_lines_as_they_are_stored(tctl: Tctl, cluster: Cluster) -> None:
    (file,) = (cluster.config.data_dir / "log").glob("audit-*.log")
    assert tctl("audit", "ls", "--format", "json").stdout == file.read_text()


@pytest.mark.usefixtures("history")
def test_audit_ls_keeps_what_was_asked_for(tctl: Tctl, cluster: Cluster) -> None:
    def ask(*flags: str) -> list[str]:
        return _events(tctl("audit", "ls", "--format=json", *flags))

    later = format_instant(cluster.clock() + timedelta(hours=1))
    assert ask("--type=user.login,cluster.create") == ["cluster.create", "user.login", "user.login"]
    assert ask("--type=T1002I", "--limit=1") == ["user.create"]
    assert ask("--user=joe") == ["user.login"]
    assert ask("--user=admin@harbour", "--since=24h") == ["user.create", "user.create"]
    assert ask("--since", later) == []
    assert ask("--limit=2") == ["user.login", "user.login"]
    assert ask("--last=24h", "--limit=1") == ["user.login"]
    assert len(ask("--last=24h")) == 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--type=user.logn",), "there is no event 'user.logn' (did you mean user.login"),
        (("--since=yesterday",), "say how long ago, such as 24h"),
        (("--since=2026-11-22",), "say how long ago, such as 24h"),
        (("--limit=0",), "say a whole number from 1 to 1000000, not '0'"),
        (("--limit=ten",), "say a whole number from 1 to 1000000, not 'ten'"),
        (("--last=ten",), "ten"),
        (("--last=1h", "--since=1h"), "give one of them"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(tctl: Tctl, flags: tuple[str, ...], words: str) -> None:
    done = tctl("audit", "ls", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.usefixtures("history")
def test_audit_verify_finds_a_changed_line_and_says_where(tctl: Tctl, cluster: Cluster) -> None:
    good = tctl("audit", "verify")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("The audit log is intact: 5 event(s), last hash ")
    (file,) = (cluster.config.data_dir / "log").glob("audit-*.log")
    file.write_text(file.read_text().replace('"root","pi"', '"root"'))
    bad = tctl("audit", "verify")
    assert (bad.returncode, bad.stdout.count("\n")) == (1, 1)
    assert f"{file.name}, line 3" in bad.stdout  # the first line that no longer follows from the one before


@pytest.mark.usefixtures("history")
def test_audit_verify_finds_a_cut_end_by_the_hash_that_was_noted(tctl: Tctl, cluster: Cluster) -> None:
    noted = tctl("audit", "verify").stdout.split("last hash ")[1].strip()
    assert tctl("audit", "verify", "--noted", noted).returncode == 0
    (file,) = (cluster.config.data_dir / "log").glob("audit-*.log")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert tctl("audit", "verify").returncode == 0
    assert tctl("audit", "verify", "--noted", noted).returncode == 1
    assert tctl("audit", "verify", "--noted", "12").returncode == 2


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("fault", ["deleted", "emptied", "begun anew"])
def test_audit_verify_finds_that_the_log_was_emptied_or_deleted(tctl: Tctl, cluster: Cluster, fault: str) -> None:
    (file,) = (cluster.config.data_dir / "log").glob("audit-*.log")
    file.write_bytes(b"")
    if fault != "emptied":
        file.unlink()
    if fault == "begun anew":
        cluster.accounts.users.remove("joe", ADMIN)
    bad = tctl("audit", "verify")
    assert (bad.returncode, bad.stdout.count("\n")) == (1, 1)
    assert bad.stdout.startswith("The audit log was CHANGED: ")
    assert "the log was emptied or removed" in bad.stdout or "it was emptied or removed, and begun anew" in bad.stdout


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize("columns", [40, 80, 119, 120, 250])
def test_on_a_terminal_each_event_is_one_line_as_wide_as_it(config: Path, columns: int) -> None:
    lines = on_terminal(config, columns, "audit", "ls")
    assert len(lines) == 2 + 5
    assert all(len(line) <= columns for line in lines)
    if columns >= 80:
        assert lines[0].split() == ["Time", "(UTC)", "Code", "Event", "User", "Detail"]
        assert " name=joe " in lines[3]
    assert lines[3].endswith("…") == (columns < 150)


@pytest.mark.parametrize("unbuffered", ["", "1"])  # the pipe breaks at the end, or in the middle of the listing
def test_a_reader_that_goes_away_is_no_error(config: Path, cluster: Cluster, unbuffered: str) -> None:
    assert list(cluster.audit.entries())
    command = [sys.executable, "-m", "controller.tctl", "-c", str(config), "audit", "ls"]
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_detail_is_whole_and_its_kinds_own() -> None:
    event = {"code": "T1002I", "event": "user.create", "name": "joe", "logins": ["a", "b"], "uid": "1", "x": "y"}
    assert describe_detail(event) == "name=joe logins=a,b"
    assert describe_detail({"code": "T1004I", "name": "n" * 500}) == "name=" + "n" * 500


def test_an_event_of_no_known_kind_is_shown_all_the_same() -> None:
    line = describe_event({"event": "x\x07", "code": "ZZ", "odd": {"a b": [1, True, None]}, "uid": "1"})
    assert line.isprintable()
    assert 'odd="a b"=1,true,None' in line
