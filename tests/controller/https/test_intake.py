from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.https.intake import HEAD_MAX, LINE_MAX, Intake, Progress, Rejected
from protocol import limits

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
BODIES = [
    HEAD + b"\r\n",
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"content-length:\t5 \r\n\r\nhello",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\nA\r\n0\r\n\r\n01234\r\n0\r\nTrailer: x\r\n\r\n",
    b"\r\n" + HEAD + b"\r\n",
]


def feed(intake: Intake, pieces: list[bytes]) -> list[Progress | Rejected]:
    return [intake.feed(piece) for piece in pieces]


@pytest.mark.parametrize("request_bytes", BODIES)
def test_byte_by_byte_a_request_is_ready_at_its_last_byte_and_not_before(request_bytes: bytes) -> None:
    intake = Intake()
    answers = feed(intake, [bytes([byte]) for byte in request_bytes])
    assert answers[:-1] == [Progress.WAIT] * (len(answers) - 1)
    assert answers[-1] is Progress.READY
    assert intake.whole
    assert bytes(intake.buffer) == request_bytes


@pytest.mark.parametrize("request_bytes", BODIES)
@given(cut=st.integers(min_value=1, max_value=200))
def test_in_two_pieces_it_is_the_same(request_bytes: bytes, cut: int) -> None:
    intake = Intake()
    pieces = [piece for piece in (request_bytes[:cut], request_bytes[cut:]) if piece]
    assert feed(intake, pieces)[-1] is Progress.READY
    assert intake.whole


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=30))
def test_whatever_comes_the_answer_is_one_of_four_and_nothing_is_raised(pieces: list[bytes]) -> None:
    intake = Intake()
    for piece in pieces:
        answer = intake.feed(piece)
        assert isinstance(answer, (Progress, Rejected))
        if answer not in {Progress.WAIT, Progress.CONTINUE}:
            break


@pytest.mark.parametrize(
    ("piece", "status"),
    [
        (b"\x00", 400),
        (b"get / HTTP/1.1\r\n", 400),
        (b"hello there\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET /" + b"a" * LINE_MAX, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_MAX, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_MAX + b"\r\n\r\n", 431),
    ],
)
def test_what_is_none_is_rejected_at_once(piece: bytes, status: int) -> None:
    answer = Intake().feed(piece)
    assert isinstance(answer, Rejected)
    assert answer.status == status


def test_a_body_over_the_bound_is_not_waited_for() -> None:
    intake = Intake()
    assert intake.feed(HEAD + b"Content-Length: %d\r\n\r\n" % (limits.HTTP_BODY_MAX + 1)) is Progress.READY
    assert not intake.whole
    chunked = Intake(body_max=100)
    assert chunked.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n" + b"x" * 101) is Progress.READY
    assert not chunked.whole


def test_an_ambiguous_length_goes_to_the_parser_at_once() -> None:
    both = HEAD + b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert Intake().feed(both) is Progress.READY


def test_chunks_that_are_none_go_to_the_parser_at_once() -> None:
    intake = Intake()
    assert intake.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n") is Progress.READY
    assert not intake.whole
    assert Intake().feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + b"1" * 400) is Progress.READY


def test_a_peer_that_waits_to_be_told_is_told_once_and_only_where_more_is_wanted() -> None:
    expecting = HEAD + b"Expect: 100-continue\r\nContent-Length: "
    intake = Intake()
    assert intake.feed(expecting + b"4\r\n\r\n") is Progress.CONTINUE
    assert feed(intake, [b"ab", b"cd"]) == [Progress.WAIT, Progress.READY]
    assert Intake().feed(expecting + b"999999\r\n\r\n") is Progress.READY
