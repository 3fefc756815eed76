"""What looking into a piece may cost: so much of it is unpacked and searched, and the rest only checked."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.upload import Rightful
from controller.recordings.allowance import Allowance
from controller.recordings.examiner import Context, examine
from controller.recordings.note import Note
from protocol import limits
from protocol.recording.cast import Event
from protocol.recording.signer import signer_line
from tests.controller.recordings.lab import Gateway, participants
from tests.harness.tape import Tape

FRAME = limits.RECORDING_FRAME_MAX
PIECE = limits.UPLOAD_UNPACKED_PER_PIECE
NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)


def filled(line: bytes) -> bytes:
    """Return a record's content: as many of `line` as there is room for."""
    return line * (FRAME // len(line))


def judge(tape: Tape, most: int = PIECE) -> tuple[Note, Allowance]:
    """Return what is found in one piece, and what that took."""
    right = Rightful(tape.session, tape.node, tape.node_name, tape.cluster, signer_line(tape.signer))
    context, allowance = Context(right, NOW - timedelta(days=1), NOW), Allowance(most)
    note = Note(tape.session, tape.node, tape.node_name, 0)
    return examine(note, b"", tape.content, context, lambda _: None, allowance), allowance


def bomb(line: bytes, records: int = 140) -> Tape:
    tape, content = Tape().head(), filled(line)
    for _ in range(records):
        tape.records.append(tape.writer.data(content, 0))
    assert len(tape.content) < limits.RECORDING_PIECE_MAX
    return tape.seal("final", 1)


@pytest.mark.parametrize(
    "line",
    [
        b'[0,"o","x"]\n',
        b'[0,"j",' + b"]" * 2000 + b"x\n",
        b'[0,"o",{"raw":5}]\n,"j",\n',
        b',"j",' * 100 + b"\n",
        b',{"raw":,"j",\n',
    ],
)
def test_a_piece_that_unpacks_to_very_much_costs_no_more_than_any_other(line: bytes) -> None:
    tape = bomb(line)
    note, allowance = judge(tape)
    assert (note.state, note.offset, note.said.participants) == ("complete", len(tape.content), ("alice",))
    one_record = limits.UPLOAD_RECORD_EFFORT + FRAME * (1 + limits.UPLOAD_SIGN_EFFORT // 5)
    assert allowance.spent <= PIECE + one_record


def test_lines_that_are_like_one_who_joins_and_are_not_end_it_at_the_first() -> None:
    note, allowance = judge(bomb(b'[0,"j",' + b"]" * 990 + b"x\n"))
    assert note.refused
    assert (note.refused.check, note.position.number) == ("U15", 2)
    assert allowance.spent < 4 * FRAME


def test_small_records_cost_more_than_what_is_in_them() -> None:
    tape = Tape().head()
    for number in range(200):
        tape.output(number, "x")
    assert judge(tape)[1].spent > 200 * limits.UPLOAD_RECORD_EFFORT


def test_a_whole_piece_of_honest_output_is_looked_into_to_its_end() -> None:
    tape, number, chance = Tape(user="alice").head(), 0, random.Random(1)  # noqa: S311 - hides nothing
    line = "Nov 22 12:00:00 gw-1 app[4711]: request served in {} ms\r\n"
    while len(tape.content) < limits.RECORDING_PIECE_MAX - 64 * 1024:
        tape.output(number, "".join(line.format(chance.randrange(100)) for _ in range(1000)))
        number += 1
    tape.events(Event(number, "j", "bob"))
    note, allowance = judge(tape)
    assert (note.said.participants, allowance.is_spent) == (("alice", "bob"), False)


def test_who_joins_is_found_wherever_the_line_stands_and_nowhere_else() -> None:
    tape = Tape(user="alice").head()
    tape.events(Event(9_999_999_999, "j", "bob"), Event(9_999_999_999, "o", '\n[0,"j","mallory"]\n'))
    tape.records.append(tape.writer.data(b'[1,"o",{"raw":18}]\n\n[0,"j","mallory"]\n' + b'[2,"j","carol"]\n', 10**10))
    tape.records.append(tape.writer.data(b'[3,"j","dave"]\n[4,"o","x"]\n[5,"j","erin"]\n', 10**10))
    assert judge(tape)[0].said.participants == ("alice", "bob", "carol", "dave", "erin")


def test_who_began_the_session_is_known_even_where_no_more_is_looked_into() -> None:
    tape = Tape(user="alice", command="make").head().events(Event(10, "j", "bob"))
    note, _ = judge(tape, 0)
    assert (note.said.participants, note.said.command) == (("alice",), "make")


def test_a_node_s_minute_is_spent_on_its_own_uploads_and_comes_again(gateway: Gateway) -> None:
    def upload(which: Gateway) -> tuple[str, ...]:
        tape = which.blank(user="alice", recipient=None).head().events(Event(10, "j", "bob")).seal("final", 11)
        which.upload(tape)
        return participants(which.harbour, tape.session)

    other, full = Gateway(gateway.harbour, "gw-2"), filled(b'[0,"o","x"]\n')
    assert upload(gateway) == ("alice", "bob")
    for _ in range(limits.UPLOAD_UNPACKED_PER_MINUTE // PIECE):
        tape = gateway.blank(recipient=None).head()
        for _ in range(PIECE // FRAME + 1):
            tape.records.append(tape.writer.data(full, 0))
        assert gateway.upload(tape.seal("final", 1)).state == "complete"
    assert upload(gateway) == ("alice",)
    assert upload(other) == ("alice", "bob")
    gateway.harbour.clock.move(minutes=1)
    assert upload(gateway) == ("alice", "bob")
