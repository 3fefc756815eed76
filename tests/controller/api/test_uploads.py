"""Uploads as tus 1.0 has them, on the machine API as it is run: each rule of the protocol, and what breaks them."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from protocol import endpoints, limits
from protocol.recording.header import Header
from tests.controller.api.running_api import PATIENCE, Door, running_api
from tests.controller.api.test_door import assert_serves
from tests.controller.api.uploader import Answer, Uploader
from tests.harness.tape import Tape


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One machine API for all that does not harm it."""
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def uploader(shared: Door) -> Iterator[Uploader]:
    """A node of its own for each test."""
    with closing(Uploader(shared, f"gw-{uuid.uuid4().hex[:8]}")) as node:
        yield node


@pytest.fixture
def lone(own_door: Door) -> Iterator[Uploader]:
    """The one node of a machine API that this test may harm."""
    with closing(Uploader(own_door)) as node:
        yield node


def stored(door: Door, tape: Tape) -> bytes:
    return door.cluster.recordings.read(tape.session, 0, 10**7)


def files(uploader: Uploader) -> list[Path]:
    return sorted((uploader.door.folder / "data" / "recordings").rglob("*"))


def upload(uploader: Uploader, tape: Tape) -> None:
    assert uploader.create(tape.session).status == 201
    assert uploader.patch(tape.session, 0, tape.content).status == 204


def answered(ask: Callable[[], Answer]) -> Answer:
    """Ask until the node has not too many requests under way."""
    while (answer := ask()).status == 503:
        assert answer.headers["Retry-After"] == "1"
    return answer


# --- the protocol ---------------------------------------------------------------------------------------------------


def test_an_upload_with_deferred_length_goes_from_creation_to_its_hash(uploader: Uploader) -> None:
    tape = uploader.tape()
    made = uploader.create(tape.session)
    assert (made.status, made.headers["Location"]) == (201, f"/v1/uploads/{tape.session}")
    at = uploader.head(tape.session)
    assert (at.status, at.offset, at.state, at.body) == (200, 0, "arriving", b"")
    assert (at.headers["Upload-Defer-Length"], at.headers["Upload-Length"]) == ("1", None)
    assert at.headers["Cache-Control"] == "no-store"
    assert at.headers["Upload-Metadata"] == f"session {b64encode(tape.session.encode()).decode()}"
    first = uploader.patch(tape.session, 0, tape.content[:700])
    assert (first.status, first.offset, first.state, first.body) == (204, 700, "arriving", b"")
    assert first.headers["Skerry-Recording-Hash"] is None
    last = uploader.patch(tape.session, 700, tape.content[700:], Upload_Length=str(len(tape.content)))
    assert (last.status, last.offset, last.state) == (204, len(tape.content), "complete")
    assert last.headers["Skerry-Recording-Hash"] == tape.chain.hex()
    at = uploader.head(tape.session)
    assert (at.offset, at.state, at.headers["Skerry-Recording-Hash"]) == (last.offset, "complete", tape.chain.hex())
    assert (at.headers["Upload-Length"], at.headers["Upload-Defer-Length"]) == (str(len(tape.content)), None)
    assert stored(uploader.door, tape) == tape.content
    (event,) = uploader.audited("T2005I")
    assert (event["sid"], event["user"]) == (tape.session, "alice")


def test_options_tell_what_is_spoken_here(uploader: Uploader) -> None:
    for path in (endpoints.UPLOADS, f"{endpoints.UPLOADS}/{uuid.uuid4()}"):
        told = uploader.ask("OPTIONS", path, Tus_Resumable=None)
        assert told.status == 204
        assert told.headers["Tus-Version"] == "1.0.0"
        assert told.headers["Tus-Extension"] == "creation,creation-defer-length,checksum"
        assert told.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"
        assert told.headers["Tus-Max-Size"] == str(limits.RECORDING_MAX)


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.1"])
def test_another_version_or_none_is_refused_before_anything_is_done(uploader: Uploader, version: str | None) -> None:
    tape = uploader.tape()
    for answer in (
        uploader.create(tape.session, Tus_Resumable=version),
        uploader.head(tape.session, Tus_Resumable=version),
        uploader.patch(tape.session, 0, b"x", Tus_Resumable=version),
    ):
        assert (answer.status, answer.headers["Tus-Version"]) == (412, "1.0.0")
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert uploader.head(tape.session).status == 404


def test_every_answer_bears_the_version(uploader: Uploader) -> None:
    tape = uploader.tape()
    answers = [
        uploader.create(tape.session),
        uploader.create("../../x"),
        uploader.head(tape.session),
        uploader.head(str(uuid.uuid4())),
        uploader.patch(tape.session, 5, b"x"),
        uploader.patch(tape.session, 0, tape.content),
        uploader.ask("DELETE", f"{endpoints.UPLOADS}/{tape.session}"),
    ]
    assert [answer.status for answer in answers] == [201, 400, 200, 404, 409, 204, 405]
    assert {answer.headers["Tus-Resumable"] for answer in answers} == {"1.0.0"}


def test_the_method_that_the_override_names_is_the_one_that_counts(uploader: Uploader) -> None:
    tape = uploader.tape()
    named = f"session {b64encode(tape.session.encode()).decode()}"
    path = f"{endpoints.UPLOADS}/{tape.session}"
    made = uploader.ask(
        "GET", endpoints.UPLOADS, X_HTTP_Method_Override="POST", Upload_Metadata=named, Upload_Defer_Length="1"
    )
    assert made.status == 201
    told = uploader.ask("POST", path, X_HTTP_Method_Override="HEAD")
    assert (told.status, told.offset, told.body) == (200, 0, b"")
    taken = uploader.ask(
        "POST",
        path,
        tape.content,
        X_HTTP_Method_Override="PATCH",
        Content_Type="application/offset+octet-stream",
        Upload_Offset="0",
    )
    assert (taken.status, taken.state) == (204, "complete")
    assert uploader.ask("POST", path, X_HTTP_Method_Override="DELETE").status == 405


@pytest.mark.parametrize("method", ["DELETE", "GET", "PUT", "POST"])
def test_what_was_recorded_is_not_deleted_replaced_or_handed_out_here(uploader: Uploader, method: str) -> None:
    tape = uploader.tape()
    upload(uploader, tape)
    answer = uploader.ask(method, f"{endpoints.UPLOADS}/{tape.session}")
    assert (answer.status, answer.headers["Allow"]) == (405, "HEAD, PATCH, OPTIONS")
    assert stored(uploader.door, tape) == tape.content


def test_creating_it_again_is_the_same_upload(uploader: Uploader) -> None:
    tape = uploader.tape()
    first = uploader.create(tape.session)
    uploader.patch(tape.session, 0, tape.content[:100])
    again = uploader.create(tape.session.upper())
    assert (again.status, again.headers["Location"]) == (201, first.headers["Location"])
    assert uploader.head(tape.session).offset == 100
    uploader.patch(tape.session, 100, tape.content[100:])
    assert uploader.create(tape.session).status == 201
    assert uploader.head(tape.session).headers["Skerry-Recording-Hash"] == tape.chain.hex()


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Upload_Metadata": None}, "Upload-Metadata"),
        ({"Upload_Metadata": ""}, "Upload-Metadata"),
        ({"Upload_Metadata": "filename eA=="}, "names no session"),
        ({"Upload_Metadata": "session"}, "does not fit"),
        ({"Upload_Metadata": "session !!"}, "base64"),
        ({"Upload_Metadata": "session eA==,session eA=="}, "each once"),
        ({"Upload_Metadata": "session " + b64encode(b"../../x").decode()}, "does not fit"),
        ({"Upload_Metadata": "session " + b64encode(b"\xff\xfe").decode()}, "does not fit"),
        ({"Upload_Defer_Length": None}, "either"),
        ({"Upload_Defer_Length": "2"}, "either"),
        ({"Upload_Length": "5", "Upload_Defer_Length": "1"}, "either"),
        ({"Upload_Length": "-5"}, "whole number"),
        ({"Upload_Length": "5.0"}, "whole number"),
        ({"Upload_Length": "\u0665".encode().decode("latin-1")}, "whole number"),
    ],
)
def test_a_creation_that_is_not_well_formed_is_told_what_is_wrong(
    uploader: Uploader, headers: dict[str, str | None], words: str
) -> None:
    before = files(uploader)
    answer = uploader.create(uploader.new_session(), **headers)
    assert answer.status == 400
    assert words in answer.error
    assert files(uploader) == before
    assert "Traceback" not in uploader.door.log()


def test_other_metadata_is_passed_over(uploader: Uploader) -> None:
    session = uploader.new_session()
    named = f"filename eC5za3I=,is_confidential,session {b64encode(session.encode()).decode()}"
    assert uploader.create(session, Upload_Metadata=named).status == 201


def test_a_length_beyond_the_limit_is_too_large(uploader: Uploader) -> None:
    assert uploader.create(uploader.new_session(), Upload_Length=str(limits.RECORDING_MAX + 1)).status == 413
    assert uploader.create(uploader.new_session(), Upload_Length=str(limits.RECORDING_MAX)).status == 201


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "application/octet-stream"}, 415),
        ({"Content_Type": None}, 415),
        ({"Upload_Offset": None}, 400),
        ({"Upload_Offset": "-1"}, 400),
        ({"Upload_Offset": "1e3"}, 400),
        ({"Upload_Offset": "9" * 30}, 400),
        ({"Upload_Offset": "1"}, 409),
        ({"Upload_Length": "x"}, 400),
        ({"Upload_Length": str(limits.RECORDING_MAX + 1)}, 413),
        ({"Upload_Checksum": "md5 eA=="}, 400),
        ({"Upload_Checksum": "sha256"}, 460),
        ({"Upload_Checksum": "sha256 ???"}, 400),
        ({"Upload_Checksum": "sha256 " + b64encode(hashlib.sha256(b"other").digest()).decode()}, 460),
        ({"Upload_Checksum": "sha1 " + b64encode(bytes(20)).decode()}, 460),
    ],
)
def test_a_piece_that_is_not_as_it_must_be_changes_nothing(
    uploader: Uploader, headers: dict[str, str | None], status: int
) -> None:
    tape = uploader.tape()
    uploader.create(tape.session)
    assert uploader.patch(tape.session, 0, tape.content, **headers).status == status
    assert uploader.head(tape.session).offset == 0
    assert uploader.patch(tape.session, 0, tape.content).state == "complete"


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_piece_with_its_checksum_is_taken(uploader: Uploader, algorithm: str) -> None:
    tape = uploader.tape()
    uploader.create(tape.session)
    digest = b64encode(hashlib.new(algorithm, tape.content).digest()).decode()
    assert uploader.patch(tape.session, 0, tape.content, Upload_Checksum=f"{algorithm} {digest}").state == "complete"


def test_a_piece_in_chunks_is_taken_like_any_other(uploader: Uploader) -> None:
    tape = uploader.tape()
    uploader.create(tape.session)
    half = len(tape.content) // 2
    uploader.connection.request(
        "PATCH",
        f"{endpoints.UPLOADS}/{tape.session}",
        iter([tape.content[:half], tape.content[half:]]),
        {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"},
        encode_chunked=True,
    )
    response = uploader.connection.getresponse()
    response.read()
    assert (response.status, response.headers["Skerry-Recording-State"]) == (204, "complete")


def test_a_piece_of_the_largest_size_is_taken_and_a_byte_more_is_not(uploader: Uploader) -> None:
    tape = Tape(**uploader.made()).head()
    while len(tape.content) < limits.RECORDING_PIECE_MAX:
        tape.output(1, os.urandom(50_000).hex())
    uploader.create(tape.session)
    most = limits.RECORDING_PIECE_MAX
    assert uploader.patch(tape.session, 0, tape.content[: most + 1]).status == 413
    assert uploader.patch(tape.session, 0, tape.content[:most]).offset == most


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "..",
        "%2e%2e%2f%2e%2e%2fx",
        "../../x",
        "..%2F..%2Fx",
        "0" * 5000,
        "%00",
        "6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f/x",
    ],
)
def test_what_names_no_session_is_not_there_and_touches_no_file(uploader: Uploader, path: str) -> None:
    before = files(uploader)
    for method in ("HEAD", "PATCH"):
        answer = uploader.ask(
            method,
            f"{endpoints.UPLOADS}/{path}",
            Content_Type="application/offset+octet-stream",
            Upload_Offset="0",
        )
        assert answer.status in {404, 405}
    assert files(uploader) == before
    assert "Traceback" not in uploader.door.log()


def test_another_node_s_upload_is_none_of_a_node_s_business(uploader: Uploader) -> None:
    tape = uploader.tape()
    uploader.create(tape.session)
    uploader.patch(tape.session, 0, tape.content[:300])
    with closing(Uploader(uploader.door, f"gw-{uuid.uuid4().hex[:8]}")) as other:
        answers = [other.create(tape.session), other.head(tape.session), other.patch(tape.session, 300, b"x")]
        nobody = str(uuid.uuid4())
        unknown = [other.head(nobody), other.patch(nobody, 300, b"x")]
    assert [answer.status for answer in answers] == [422, 404, 404]
    assert answers[1].headers["Upload-Offset"] is None
    assert [(answer.status, answer.body) for answer in answers[1:]] == [(one.status, one.body) for one in unknown]
    assert uploader.patch(tape.session, 300, tape.content[300:]).state == "complete"
    told = [(event["check"], event["sid"]) for event in other.audited("SK033W")]
    assert told == [(check, tape.session) for check in ("U17", "U3", "U3")]
    assert uploader.audited("SK033W") == []


def test_what_does_not_fit_is_refused_for_good_with_one_text_and_the_reason_in_the_audit_log(
    own_door: Door, lone: Uploader
) -> None:
    texts, uploader = set(), lone
    tapes = [uploader.tape(node=str(uuid.uuid4())), uploader.tape(cluster="elsewhere"), uploader.tape()]
    spoilt = [tapes[0].content, tapes[1].content, tapes[2].content[:-1] + b"?"]
    for tape, data in zip(tapes, spoilt, strict=True):
        uploader.create(tape.session)
        answer = uploader.patch(tape.session, 0, data)
        assert answer.status == 422
        texts.add(answer.error)
        assert uploader.patch(tape.session, 0, tape.content).status == 422
        assert uploader.create(tape.session).status == 422
        at = uploader.head(tape.session)
        assert (at.status, at.state, at.headers["Skerry-Recording-Hash"]) == (200, "refused", None)
    assert len(texts) == 1
    assert [event["check"] for event in uploader.audited("SK033W")] == ["U12", "U12", "U14"]
    assert len([line for line in own_door.log().splitlines() if " WARN " in line]) == 3
    upload(uploader, uploader.tape())


def test_four_connections_that_upload_one_session_make_one_recording(uploader: Uploader) -> None:
    tape = Tape(**uploader.made()).head()
    for number in range(60):
        tape.output(number * 10, f"line {number} {uuid.uuid4()}\r\n")
    tape.seal("final", 1000)

    def agent(size: int) -> str:
        with closing(uploader.twin()) as mine:
            assert answered(partial(mine.create, tape.session)).status == 201
            while (at := answered(partial(mine.head, tape.session))).state == "arriving":
                piece = tape.content[at.offset : at.offset + size]
                answer = answered(partial(mine.patch, tape.session, at.offset, piece))
                assert answer.status in {204, 409}
            return str(at.headers["Skerry-Recording-Hash"])

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(agent, (500, 700, 900, 1100))) == {tape.chain.hex()}
    assert stored(uploader.door, tape) == tape.content
    assert len(uploader.audited("T2005I")) == 1


def test_a_body_that_is_broken_off_is_not_taken(uploader: Uploader) -> None:
    tape = uploader.tape()
    uploader.create(tape.session)
    with uploader.door.connect(uploader.context) as sock:
        head = f"PATCH {endpoints.UPLOADS}/{tape.session} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\n"
        head += "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
        sock.sendall(f"{head}Content-Length: {len(tape.content)}\r\n\r\n".encode() + tape.content[:-5])
    assert uploader.head(tape.session).offset == 0
    assert uploader.patch(tape.session, 0, tape.content).state == "complete"


def test_a_node_with_too_much_under_way_is_asked_to_wait_and_others_are_not(uploader: Uploader) -> None:
    for _ in range(limits.UPLOADS_PER_NODE):
        assert uploader.create(uploader.new_session()).status == 201
    answer = uploader.create(uploader.new_session())
    assert (answer.status, answer.headers["Retry-After"]) == (507, "60")
    with closing(Uploader(uploader.door, f"gw-{uuid.uuid4().hex[:8]}")) as other:
        upload(other, other.tape())


def test_a_node_keeps_two_threads_at_most_and_others_are_served(uploader: Uploader) -> None:
    tape = uploader.tape()
    uploader.create(tape.session)
    with ThreadPoolExecutor(2) as pool, closing(uploader.twin()) as one, closing(uploader.twin()) as two:
        with uploader.door.cluster.recordings._storage.turn(tape.session):  # whoever sends to it waits
            sent = [pool.submit(answered, partial(each.patch, tape.session, 0, tape.content)) for each in (one, two)]
            deadline = time.monotonic() + PATIENCE
            while (answer := uploader.head(tape.session)).status == 200:
                assert time.monotonic() < deadline, "both pieces never came"
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert uploader.create(uploader.new_session()).status == 503
            with closing(Uploader(uploader.door, f"gw-{uuid.uuid4().hex[:8]}")) as other:
                upload(other, other.tape())
        assert sorted(one.result().status for one in sent) == [204, 409]
    assert uploader.head(tape.session).state == "complete"


def test_without_room_in_the_log_the_end_is_confirmed_later(own_door: Door, lone: Uploader) -> None:
    tape = lone.tape()
    lone.create(tape.session)
    log = own_door.folder / "data" / "log"
    log.rename(own_door.folder / "aside")
    log.write_text("in the way")
    answer = lone.patch(tape.session, 0, tape.content)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
    assert lone.head(tape.session).status == 503
    log.unlink()
    (own_door.folder / "aside").rename(log)
    at = lone.head(tape.session)
    assert (at.state, at.headers["Skerry-Recording-Hash"]) == ("complete", tape.chain.hex())


def test_a_place_that_cannot_be_written_is_asked_to_be_tried_later(own_door: Door, lone: Uploader) -> None:
    recordings = own_door.folder / "data" / "recordings"
    recordings.write_text("in the way")
    answer = lone.create(lone.new_session())
    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
    recordings.unlink()
    upload(lone, lone.tape())
    assert "Traceback" not in own_door.log()


def test_after_all_that_events_are_still_served(own_door: Door, lone: Uploader) -> None:
    assert isinstance(lone.tape().header, Header)
    for body in (b"", os.urandom(10_000), b"\0" * limits.RECORDING_PIECE_MAX):
        tape = lone.tape()
        lone.create(tape.session)
        lone.patch(tape.session, 0, body)
    assert_serves(own_door)
