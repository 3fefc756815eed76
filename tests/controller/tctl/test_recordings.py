from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from controller.policy.upload import Piece
from protocol.decision import Refused
from protocol.names import NodeId, NodeName
from protocol.recording.cast import CastHeader, Event, parse_lines
from protocol.recording.signer import fingerprint, signer_line
from tests.controller.tctl.archive import Archive, hours_ago
from tests.controller.tctl.conftest import on_terminal
from tests.harness.tape import Tape, short_tape

ROOT = Path(__file__).parents[3]
SCREEN = "$ echo grüß\r\ngrüß\r\n"
ELSEWHERE = NodeId("11111111-1111-4111-8111-111111111111")
Tctl = Callable[..., subprocess.CompletedProcess[str]]


def run_anywhere(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program on a host that has no cluster."""
    command = [sys.executable, "-m", "controller.tctl", "-c", "/nonexistent/controller.yaml", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def asciinema_shows(cast: Path) -> str:
    """Return what the real player writes to the screen. It wants a terminal, which `script` gives it."""
    shown = cast.with_suffix(".shown")
    environment = {"HOME": str(cast.parent), "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    command = f"asciinema cat {shlex.quote(str(cast))} > {shlex.quote(str(shown))}"
    subprocess.run(["script", "-qec", command, "/dev/null"], env=environment, timeout=60, check=True)
    return shown.read_bytes().decode()


# --- verify -----------------------------------------------------------------------------------------------------------


def test_a_kept_recording_is_verified_with_the_nodes_key(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    done = tctl("recordings", "verify", tape.session)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith(f"intact: 7 records, session {tape.session}, node gw-1 ({tape.node}), from ")
    assert done.stdout.endswith(f"sealed by {fingerprint(tape.signer)} (the node's key, as this cluster knows it)\n")


def test_on_a_terminal_the_verdict_is_folded_and_no_word_of_it_cut(config: Path, tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    whole = tctl("recordings", "verify", tape.session).stdout.rstrip("\n")
    lines = on_terminal(config, 80, "recordings", "verify", tape.session)
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80
    assert " ".join(lines) == whole


def test_what_was_cut_off_or_still_goes_on_has_its_own_word_and_status(tctl: Tctl, archive: Archive) -> None:
    cut_off = archive.keep(archive.tape("interrupted"))
    live = archive.tape()
    archive.keep(live, upto=sum(map(len, live.records[:5])))
    done = tctl("recordings", "verify", cut_off.session)
    assert (done.returncode, done.stdout.partition(":")[0]) == (3, "interrupted")
    done = tctl("recordings", "verify", live.session)
    assert (done.returncode, done.stdout.partition(":")[0]) == (4, "unfinished")
    assert done.stdout.endswith("; the session goes on, or its end has not arrived yet\n")


def test_a_file_needs_nothing_but_the_nodes_public_key(archive: Archive) -> None:
    file, line = archive.file(archive.tape()), signer_line(archive.first.signer)
    key = archive.folder / "ssh_host_key.pub"
    key.write_text(f"# of gw-1\n{line} root@gw-1\n\n")
    for given in (line, str(key)):
        done = run_anywhere("recordings", "verify", str(file), "--public-key", given)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f"sealed by {fingerprint(archive.first.signer)} (the key that was given)\n")
    other = signer_line(short_tape().signer)
    done = run_anywhere("recordings", "verify", str(file), "--public-key", other)
    assert (done.returncode, done.stdout) == (
        1,
        "broken: record 0: the recording was signed with another key (F10)\n",
    )


@pytest.mark.parametrize("key", ["ssh-ed25519 AAAA", "ssh-rsa AAAA", "/nonexistent.pub", "/dev/null"])
def test_what_is_no_public_key_is_a_wrong_command_line(archive: Archive, key: str) -> None:
    done = run_anywhere("recordings", "verify", str(archive.file(archive.tape())), "--public-key", key)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ERROR: Invalid value for '--public-key': " in done.stderr


def test_without_a_key_and_without_a_cluster_a_file_is_not_judged(archive: Archive) -> None:
    done = run_anywhere("recordings", "verify", str(archive.file(archive.tape())))
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be read: No such file" in done.stderr
    assert "--public-key" in done.stderr


def test_a_file_is_judged_by_the_node_that_the_cluster_knows(tctl: Tctl, archive: Archive) -> None:
    done = tctl("recordings", "verify", str(archive.file(archive.tape())))
    assert (done.returncode, done.stdout.rpartition("(")[2]) == (0, "the node's key, as this cluster knows it)\n")
    forged = archive.file(short_tape())
    done = tctl("recordings", "verify", str(forged))
    assert (done.returncode, done.stdout.partition(" (F10)")[0]) == (
        1,
        "broken: record 0: the recording was signed with another key",
    )


def test_the_key_of_an_upload_is_known_after_its_node_is_gone(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    assert tctl("nodes", "rm", tape.node).returncode == 0
    for which in (str(archive.file(tape)), tape.session):
        done = tctl("recordings", "verify", which)
        assert (done.returncode, done.stdout.rpartition("(")[2]) == (
            0,
            "the key it was uploaded with, by the audit log)\n",
        )
    assert tctl("recordings", "verify", str(archive.file(archive.tape()))).returncode == 5


def without_its_log(archive: Archive) -> None:
    """Take the log's files away, as their age does in the end."""
    for file in (archive.cluster.config.data_dir / "log").iterdir():
        file.unlink()


def test_without_node_and_audit_log_what_lies_beside_a_recording_proves_nothing(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    assert tctl("nodes", "rm", tape.node).returncode == 0
    without_its_log(archive)
    done = tctl("recordings", "verify", tape.session)
    assert (done.returncode, done.stdout.rpartition("(")[2]) == (5, "the key it was uploaded with)\n")


def replaced(archive: Archive, tape: Tape, other: Tape) -> None:
    """Put another recording, and what lies beside it, in the place of one that is kept."""
    (kept,) = (archive.cluster.config.data_dir / "recordings").rglob(f"{tape.session}.skr")
    kept.write_bytes(other.content)
    beside = kept.with_suffix(".json")
    facts = json.loads(beside.read_text())
    header = base64.b64encode(other.header.encode()).decode()
    facts |= {"header": header, "position": [len(other.records), len(other.content), other.chain.hex()]}
    beside.write_text(json.dumps(facts))


def test_a_forged_recording_with_a_forged_note_is_found_by_the_nodes_key(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    replaced(archive, tape, short_tape(session=tape.session, started=tape.started))
    done = tctl("recordings", "verify", tape.session)
    assert (done.returncode, done.stdout.partition(" (F10)")[0]) == (
        1,
        "broken: record 0: the recording was signed with another key",
    )


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_recording_that_its_node_sealed_otherwise_is_found_by_the_audit_log(
    tctl: Tctl, archive: Archive, is_gone: bool
) -> None:
    tape = archive.keep(archive.tape())
    other = Tape(session=tape.session, signing=archive.first.signing, started=tape.started).head()
    replaced(archive, tape, other.output(100, "nothing happened").seal("final", 2000))
    if is_gone:
        assert tctl("nodes", "rm", tape.node).returncode == 0
    for which in (tape.session, str(archive.file(other))):
        done = tctl("recordings", "verify", which)
        assert done.returncode == 1
        said = f"broken: the audit log says that another recording was uploaded (hash {tape.chain.hex()}); by itself"
        assert done.stdout.startswith(said)


def test_a_kept_recording_that_lost_its_end_is_found_by_the_audit_log(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    shorter = b"".join(tape.records[:-2])
    (kept,) = (archive.cluster.config.data_dir / "recordings").rglob(f"{tape.session}.skr")
    kept.write_bytes(shorter)
    done = tctl("recordings", "verify", tape.session)
    assert (done.returncode, done.stdout.partition(";")[2].split()[:4]) == (1, ["by", "itself", "it", "is"])
    assert tctl("recordings", "verify", str(kept)).returncode == 4


def refused_tape(archive: Archive) -> Tape:
    """Return a recording that the cluster stopped to take: after its fifth record comes what is none."""
    tape = archive.tape()
    archive.keep(tape, upto=sum(map(len, tape.records[:5])))
    at = sum(map(len, tape.records[:5]))
    piece = Piece(at, b"\xff" * 100)
    assert isinstance(archive.cluster.recordings.append(archive.node, tape.session, piece, "192.0.2.9:1"), Refused)
    return tape


def test_what_was_refused_is_told_with_its_reason(tctl: Tctl, archive: Archive) -> None:
    tape = refused_tape(archive)
    done = tctl("recordings", "verify", tape.session)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.match(r"refused \(U\d+\): .*record 5.*; what came before is unfinished: 5 records, session ", done.stdout)
    (told,) = json.loads(tctl("recordings", "ls", "--format=json").stdout)
    assert re.fullmatch(r"U\d+", told["refused"]["check"])
    assert "record 5" in told["refused"]["reason"]
    done = tctl("recordings", "export", tape.session, "--format=text")
    assert (done.returncode, done.stdout) == (1, "$ echo grüß\ngrüß\n")
    assert done.stderr.startswith("refused (U")


def test_a_device_cannot_name_itself_otherwise_in_the_audit_log(tctl: Tctl, archive: Archive) -> None:
    tape = archive.tape(node_name=NodeName("another"))
    done = tctl("recordings", "export", str(archive.file(tape)), "-f", "text")
    assert done.returncode == 0
    assert [entry["server_hostname"] for entry in archive.audited("session.recording.access")] == ["gw-1"]
    tape = archive.keep(archive.tape())
    assert tctl("nodes", "rm", tape.node).returncode == 0
    assert tctl("recordings", "export", tape.session).returncode == 0
    assert [entry["server_hostname"] for entry in archive.audited("session.recording.access")] == ["gw-1"] * 2


@pytest.mark.parametrize("form", ["cast", "text"])
def test_what_a_device_printed_is_not_written_to_a_terminal(config: Path, archive: Archive, form: str) -> None:
    tape = archive.keep(archive.tape())
    command = [sys.executable, "-m", "controller.tctl", "-c", str(config), "recordings", "export", tape.session]
    terminal = pexpect.spawn(command[0], [*command[1:], "-f", form], cwd=str(ROOT), timeout=60)
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 1
    assert b"ERROR: what a device printed is not written to a terminal" in terminal.before
    assert b"echo" not in terminal.before
    assert archive.audited("session.recording.access") == []


def test_of_a_node_that_nobody_knows_the_verdict_rests_on_the_files_own_word(tctl: Tctl, archive: Archive) -> None:
    done = tctl("recordings", "verify", str(archive.file(archive.tape(node=ELSEWHERE))))
    assert done.returncode == 5
    assert done.stdout.startswith("intact: 7 records")
    assert done.stdout.endswith(" on the recording's own word alone\n")


def test_damage_is_told_at_its_record_and_cannot_steer_the_terminal(tctl: Tctl, archive: Archive) -> None:
    tape = archive.tape()
    file = archive.file(tape)
    data = bytearray(tape.content)
    data[sum(map(len, tape.records[:5])) - 1] ^= 1
    file.write_bytes(data)
    done = tctl("recordings", "verify", str(file))
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith("broken: record 4: it was changed")
    file.write_bytes(b"SKERRYR1H\x1b[2J")
    assert tctl("recordings", "verify", str(file)).stdout.isprintable() is False  # its newline
    assert "\x1b" not in tctl("recordings", "verify", str(file)).stdout


@pytest.mark.parametrize("which", ["00000000-0000-4000-8000-000000000000", "none.skr", "."])
@pytest.mark.usefixtures("archive")
def test_what_is_not_there_is_one_line_that_says_so(tctl: Tctl, which: str) -> None:
    for verb in ("verify", "export"):
        done = tctl("recordings", verb, which)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith("ERROR: ")
        assert which in done.stderr


@pytest.mark.usefixtures("archive")
def test_what_is_neither_a_file_nor_an_id_is_told_so(tctl: Tctl) -> None:
    done = tctl("recordings", "verify", "ef4b697b")
    assert done.stderr == (
        "ERROR: there is no such file: ef4b697b, and a recording's ID looks otherwise; "
        "`tctl recordings ls` lists them\n"
    )
    missing = "00000000-0000-4000-8000-000000000000"
    assert tctl("recordings", "verify", missing).stderr.endswith(
        "; of a session of late, it may still wait on its device\n"
    )


# --- export -----------------------------------------------------------------------------------------------------------


def test_an_export_plays_in_asciinema_as_it_was_on_the_screen(tctl: Tctl, archive: Archive) -> None:
    tape, cast = archive.keep(archive.tape()), archive.folder / "one.cast"
    done = tctl("recordings", "export", tape.session, "-o", str(cast))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Written to {cast}; the recording is intact: 7 records, ")
    assert asciinema_shows(cast) == SCREEN
    header = json.loads(cast.read_text().splitlines()[0])
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert header["timestamp"] == tape.started // 1000
    assert header["skerry"]["session"] == tape.session
    assert cast.stat().st_mode & 0o777 == 0o600
    assert list(archive.folder.glob("*.part")) == []


def test_an_export_is_written_to_the_audit_log(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    for form in ("cast", "text"):
        assert tctl("recordings", "export", tape.session, "--format", form, SUDO_USER="root").returncode == 0
    told = archive.audited("session.recording.access")
    assert [(entry["sid"], entry["format"], entry["via"]) for entry in told] == [
        (tape.session, "cast", "tctl"),
        (tape.session, "text", "tctl"),
    ]
    assert {(entry["server_hostname"], entry["user"].partition("@")[0]) for entry in told} == {("gw-1", "root")}


def test_nothing_is_exported_that_the_audit_log_cannot_be_told_of(tctl: Tctl, archive: Archive) -> None:
    tape, cast = archive.keep(archive.tape()), archive.folder / "one.cast"
    log = archive.cluster.config.data_dir / "log"
    log.rename(log.with_name("aside"))
    log.write_text("in the way")
    done = tctl("recordings", "export", tape.session, "-o", str(cast))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot write session.recording.access to the audit log" in done.stderr
    assert not cast.exists()


def test_as_text_it_is_the_output_alone(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    done = subprocess.run(
        [*tctl("version").args[:-1], "recordings", "export", tape.session, "--format=text", "-o", "-"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, SCREEN, b"")


def test_what_other_players_do_not_know_is_put_into_their_words(tctl: Tctl, archive: Archive) -> None:
    tape = Tape(signing=archive.first.signing, started=hours_ago(1)).head().output(100, "out")
    tape.events(Event(200, "e", "err\n"), Event(300, "r", "100x30"), Event(400, "j", "bob"), Event(450, "l", "bob"))
    tape.events(Event(500, "i", "x"), Event(600, "x", "1")).seal("final", 600)
    archive.keep(tape)
    lines = parse_lines(tctl("recordings", "export", tape.session).stdout.encode())
    assert isinstance(lines[0], CastHeader)
    assert [(event.code, event.data) for event in lines[1:] if isinstance(event, Event)] == [
        ("o", "out"),
        ("o", "err\n"),
        ("r", "100x30"),
        ("m", "bob joined"),
        ("m", "bob left"),
        ("i", "x"),
    ]
    assert tctl("recordings", "export", tape.session, "-f", "text").stdout == "outerr\n"


def test_output_that_was_no_text_is_a_marker_or_a_line_that_says_so(tctl: Tctl, archive: Archive) -> None:
    said = [Event(time, "b", f"{size} o sha256:{'0f' * 32}") for time, size in ((200, 65536), (300, 2000), (500, 4000))]
    tape = Tape(signing=archive.first.signing, started=hours_ago(1)).head().output(100, "out")
    archive.keep(tape.events(*said[:2], Event(400, "e", "err\n"), said[2], Event(600, "x", "1")).seal("final", 600))
    lines = parse_lines(tctl("recordings", "export", tape.session).stdout.encode())
    assert [(event.code, event.data) for event in lines[1:] if isinstance(event, Event)] == [
        ("o", "out"),
        ("m", "65536 bytes that are no text"),
        ("m", "2000 bytes that are no text"),
        ("o", "err\n"),
        ("m", "4000 bytes that are no text"),
    ]
    assert tctl("recordings", "export", tape.session, "-f", "text").stdout == (
        "out\n[67536 bytes that are no text]\nerr\n[4000 bytes that are no text]\n"
    )


def test_a_devices_own_file_is_exported_with_the_clusters_key(tctl: Tctl, archive: Archive) -> None:
    tape = archive.tape()
    file = archive.file(tape)
    done = tctl("recordings", "export", str(file), "-f", "text", "--public-key", signer_line(tape.signer))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == SCREEN.replace("\r\n", "\n")  # as Python reads text
    assert [entry["sid"] for entry in archive.audited("session.recording.access")] == [tape.session]
    foreign = archive.file(
        archive.tape(recipient=("22222222-2222-4222-8222-222222222222", archive.cluster.authority.recording_key()[1]))
    )
    done = tctl("recordings", "export", str(foreign))
    assert (done.returncode, done.stdout) == (1, "")
    assert "which this cluster does not have" in done.stderr


def test_an_open_file_and_a_key_need_no_cluster(archive: Archive) -> None:
    file = archive.file(archive.tape(recipient=None))
    done = run_anywhere(
        "recordings", "export", str(file), "-f", "text", "--public-key", signer_line(archive.first.signer)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == SCREEN.replace("\r\n", "\n")


@pytest.mark.parametrize("cut", [0, 5, 100])
def test_where_not_even_the_header_is_good_nothing_is_written(tctl: Tctl, archive: Archive, cut: int) -> None:
    file, cast = archive.folder / "one.skr", archive.folder / "one.cast"
    file.write_bytes(archive.tape().content[:cut])
    done = tctl("recordings", "export", str(file), "-o", str(cast))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "cannot be exported: broken: record 0: cut off after " in done.stderr
    assert not cast.exists()


def test_of_a_damaged_recording_all_before_the_damage_is_exported(tctl: Tctl, archive: Archive) -> None:
    tape, cast = archive.tape(), archive.folder / "one.cast"
    file = archive.file(tape)
    data = bytearray(tape.content)
    data[sum(map(len, tape.records[:5])) - 1] ^= 1
    file.write_bytes(data)
    done = tctl("recordings", "export", str(file), "-o", str(cast))
    assert done.returncode == 1
    assert done.stdout.startswith(f"Written to {cast}; the recording is broken: record 4: it was changed")
    events = [event.data for event in parse_lines(cast.read_bytes()) if isinstance(event, Event)]
    assert events == ["$ echo grüß\r\n"]
    to_a_pipe = tctl("recordings", "export", str(file), "--format=text")
    assert (to_a_pipe.returncode, to_a_pipe.stdout) == (1, "$ echo grüß\n")
    assert to_a_pipe.stderr.startswith("broken: record 4: it was changed")


def test_a_file_that_is_there_stays_unless_it_is_to_be_overwritten(tctl: Tctl, archive: Archive) -> None:
    tape, cast = archive.keep(archive.tape()), archive.folder / "one.cast"
    cast.write_text("dear")
    done = tctl("recordings", "export", tape.session, "-o", str(cast))
    assert (done.returncode, cast.read_text()) == (1, "dear")
    assert "is there already: name another file, or overwrite it with --force" in done.stderr
    assert archive.audited("session.recording.access") == []
    assert tctl("recordings", "export", tape.session, "-o", str(cast), "--force").returncode == 0
    assert cast.read_text().startswith('{"version":2,')


def test_what_is_no_plain_file_is_never_replaced(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    link = archive.folder / "link"
    link.symlink_to("/dev/null")
    for output in (link, archive.folder):
        done = tctl("recordings", "export", tape.session, "-o", str(output), "--force")
        assert done.returncode == 1
        assert "is no plain file" in done.stderr
    assert link.is_symlink()
    done = tctl("recordings", "export", tape.session, "-o", str(archive.folder / "none" / "one.cast"))
    assert (done.returncode, done.stderr) == (
        1,
        f"ERROR: cannot write {archive.folder / 'none' / 'one.cast'}: No such file or directory\n",
    )


def test_a_reader_of_an_export_that_has_enough_ends_it_as_it_ends_others(config: Path, archive: Archive) -> None:
    tape = Tape(signing=archive.first.signing, started=hours_ago(1)).head()
    for second in range(100):
        tape.output(second * 1000, f"{second} {'x' * 10_000}\r\n")
    archive.keep(tape.seal("final", 100_000))
    command = [sys.executable, "-m", "controller.tctl", "-c", str(config), "recordings", "export", tape.session]
    with subprocess.Popen(
        [*command, "-f", "text"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout
        assert running.stderr
        assert running.stdout.read(10)
        running.stdout.close()
        assert (running.wait(60), running.stderr.read()) == (141, b"")


def test_what_a_command_printed_without_a_terminal_is_no_staircase_in_asciinema(tctl: Tctl, archive: Archive) -> None:
    tape = Tape(signing=archive.first.signing, started=hours_ago(1), command="ls").head()
    archive.keep(tape.events(Event(10, "o", "one\ntwo\r\n"), Event(20, "e", "three\n")).seal("final", 20))
    cast = archive.folder / "one.cast"
    assert tctl("recordings", "export", tape.session, "-o", str(cast)).returncode == 0
    assert asciinema_shows(cast) == "one\r\ntwo\r\nthree\r\n"
    assert [event.data for event in parse_lines(cast.read_bytes()) if isinstance(event, Event)] == [
        "one\r\ntwo\r\n",
        "three\r\n",
    ]


# --- rm ---------------------------------------------------------------------------------------------------------------


def test_recordings_are_removed_and_that_is_audited(tctl: Tctl, archive: Archive) -> None:
    first, second, kept = (archive.keep(archive.tape()) for _ in range(3))
    missing = "00000000-0000-4000-8000-000000000000"
    done = tctl("recordings", "rm", first.session, missing, second.session.upper())
    assert done.stdout == f"Recording {first.session} has been removed\nRecording {second.session} has been removed\n"
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"ERROR: there is no recording of session {missing}")
    assert [stored.entry.session for stored in archive.cluster.recordings.entries()] == [kept.session]
    told = archive.audited("session.recording.delete")
    assert [(entry["sid"], entry["size"]) for entry in told] == [
        (tape.session, len(tape.content)) for tape in (first, second)
    ]
    assert {(entry["server_hostname"], entry["server_id"]) for entry in told} == {("gw-1", first.node)}
    assert tctl("recordings", "rm", "../../x").returncode == 2


def test_a_recording_whose_removal_cannot_be_audited_stays(tctl: Tctl, archive: Archive) -> None:
    tape = archive.keep(archive.tape())
    log = archive.cluster.config.data_dir / "log"
    log.rename(log.with_name("aside"))
    log.write_text("in the way")
    assert tctl("recordings", "rm", tape.session).returncode == 1
    assert archive.cluster.recordings.find(tape.session) is not None


def test_what_still_arrives_is_removed_only_by_force(tctl: Tctl, archive: Archive) -> None:
    live = archive.tape()
    archive.keep(live, upto=sum(map(len, live.records[:5])))
    done = tctl("recordings", "rm", live.session)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"ERROR: the recording of session {live.session} still arrives from gw-1, which would upload it again: "
        "remove it once it is whole, or with --force\n"
    )
    assert archive.audited("session.recording.delete") == []
    assert tctl("recordings", "rm", live.session, "--force").returncode == 0
    assert archive.cluster.recordings.entries() == []
