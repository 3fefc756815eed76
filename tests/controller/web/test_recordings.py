from __future__ import annotations

import base64
import random
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from controller.accounts import Origin
from controller.enrolment.nodes import NodeRecord
from protocol import access, endpoints, limits
from protocol.endpoints import Endpoint
from protocol.messages import ErrorReply
from protocol.names import SessionId, UserName, parse_login
from protocol.recording.cast import Event
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord
from protocol.recording.signer import signer_line
from protocol.recording.verdict import Examiner
from protocol.recordings import RecordingEntry, RecordingKey, RecordingList
from tests.controller.kept_tape import enrol_node, upload
from tests.controller.web.lab import HandClock, Lab
from tests.harness.tape import NOON, Tape, short_tape

BASE = "https://skerry.example:3080"
DAY = 86_400_000
NEVER = SessionId("00000000-0000-4000-8000-000000000000")


@dataclass
class Archive:
    """A cluster with one node, three people and what they ask."""

    lab: Lab
    clock: HandClock
    api: FlaskClient = field(init=False)
    node: NodeRecord = field(init=False)
    signing: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        self.api = self.lab.app().test_client()
        self.node = enrol_node(self.lab.enrolment.nodes, self.tape())
        self.tokens = {}
        for name, roles in (("alice", "access"), ("bob", "access"), ("ada", "auditor")):
            logins, now = (parse_login("pi"),), self.clock()
            self.lab.accounts.users.add(
                UserName(name), logins, limits.INVITE_TTL, Origin(via="tctl"), access.parse_roles(roles)
            )
            self.tokens[name] = self.lab.session(name, "tsh", now + timedelta(days=30))

    def tape(self, **made: object) -> Tape:
        wanted = {"signing": self.signing, "recipient": self.lab.authority.recording_key()} | made
        return short_tape("final", **wanted)

    def kept(self, **made: object) -> Tape:
        tape = self.tape(**made)
        upload(self.lab.recordings, self.node, tape)
        return tape

    def ask(self, who: str, endpoint: Endpoint, session: str = "", query: str = "") -> TestResponse:
        path = endpoint.path.replace("{session}", session) + (f"?{query}" if query else "")
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return self.api.open(path, method=endpoint.method, base_url=BASE, headers=headers)

    def listed(self, who: str, query: str = "") -> list[str]:
        response = self.ask(who, endpoints.RECORDINGS, query=query)
        assert response.status_code == 200, response.text
        return [entry.session for entry in RecordingList.from_dict(response.get_json()).recordings]

    def accesses(self) -> list[dict[str, Any]]:
        return list(self.lab.audit.entries(kinds=["session.recording.access"]))


@pytest.fixture
def archive(lab: Lab, clock: HandClock) -> Archive:
    return Archive(lab, clock)


def error_of(response: TestResponse) -> str:
    return ErrorReply.from_dict(response.get_json()).message


def test_a_person_lists_the_sessions_they_took_part_in_and_an_auditor_all(archive: Archive) -> None:
    first = archive.kept(user="alice")
    second = archive.kept(user="bob", started=NOON + 1000)
    assert archive.listed("alice") == [first.session]
    assert archive.listed("bob") == [second.session]
    assert archive.listed("ada") == [second.session, first.session]


def test_a_listing_is_cut_to_what_is_asked_for(archive: Archive) -> None:
    days = [archive.kept().session]
    for number in (1, 2):
        archive.clock.pass_(timedelta(days=1))
        days.append(archive.kept(started=NOON + number * DAY).session)
    assert archive.listed("alice") == days[::-1]
    assert archive.listed("alice", "last=86400") == days[:0:-1]
    assert archive.listed("alice", "last=86399") == days[:0:-1]  # the one of two seconds was going on then
    assert archive.listed("alice", "last=86397") == days[2:]
    assert archive.listed("alice", f"since={NOON + 2000}") == days[::-1]
    assert archive.listed("alice", f"since={NOON + 2001}") == days[:0:-1]
    assert archive.listed("alice", f"until={NOON + 1}") == days[:1]
    assert archive.listed("alice", f"since={NOON + 1}&last=60") == days[2:]
    assert archive.listed("alice", f"since={NOON}&until={NOON + 2 * DAY}&limit=1") == [days[1]]


def test_a_listing_is_searched_by_who_took_part_by_node_and_by_state(archive: Archive) -> None:
    alices, bobs = archive.kept(user="alice"), archive.kept(user="bob", started=NOON + 1000)
    both = [bobs.session, alices.session]
    assert archive.listed("ada", "user=alice") == [alices.session]
    assert archive.listed("ada", "user=ali") == []
    assert archive.listed("alice", "user=bob") == []  # it is not hers to see
    assert archive.listed("ada", "node=GW&state=complete") == both
    assert archive.listed("ada", f"node={alices.node}") == both
    assert archive.listed("ada", "node=gw-2") == archive.listed("ada", "state=refused") == []
    assert archive.listed("ada", "user=alice&limit=1") == [alices.session]
    response = archive.ask("ada", endpoints.RECORDINGS, query="state=lost")
    assert (response.status_code, error_of(response).partition(":")[0]) == (400, "state")


def test_the_limit_counts_what_the_person_may_see(archive: Archive) -> None:
    mine = archive.kept(user="alice")
    for number in range(1, 4):
        archive.kept(user="bob", started=NOON + number * 1000)
    assert archive.listed("alice", "limit=1") == [mine.session]


def test_a_listing_says_whether_there_is_more(archive: Archive) -> None:
    for number in range(3):
        archive.kept(user="alice", started=NOON + number * 1000)

    def is_cut(query: str) -> bool:
        return RecordingList.from_dict(archive.ask("alice", endpoints.RECORDINGS, query=query).get_json()).is_cut

    assert [is_cut(query) for query in ("limit=2", "limit=3", "limit=4", "")] == [True, False, False, False]


def test_the_largest_listing_fits_an_answer(archive: Archive) -> None:
    wide = "\U0001f300" * limits.COMMAND_MAX_CHARS
    tape = Tape(
        signing=archive.signing,
        recipient=archive.lab.authority.recording_key(),
        user="a" * 64,
        login=wide,
        command=wide,
    ).head()
    tape.events(*(Event(number, "j", f"{number:a>64}") for number in range(1, 100))).seal("final", 200)
    upload(archive.lab.recordings, archive.node, tape)
    response = archive.ask("ada", endpoints.RECORDINGS)
    (entry,) = RecordingList.from_dict(response.get_json()).recordings
    assert len(entry.participants) == 64
    assert entry.command == wide[: limits.RECORDING_COMMAND_LISTED] + "…"
    assert len(response.data) * limits.RECORDINGS_LISTED_MAX < limits.HTTP_REPLY_MAX
    whole = RecordingEntry.from_dict(archive.ask("ada", endpoints.RECORDING, tape.session).get_json())
    assert whole.command == wide


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=x",
        "limit=",
        f"limit={limits.RECORDINGS_LISTED_MAX + 1}",
        "last=0",
        "last=99999999999999999999",
        "last=²",
        "since=-1",
        "since=999999999999999999999999999",
        "until=253402300800000",
        "since=+5",
    ],
)
def test_a_question_out_of_bounds_is_told_in_one_line(archive: Archive, query: str) -> None:
    response = archive.ask("alice", endpoints.RECORDINGS, query=query)
    assert response.status_code == 400
    assert "not a whole number from" in error_of(response)


def test_one_recording_is_described_to_who_may_see_it(archive: Archive) -> None:
    tape = archive.kept(user="alice", command="uptime")
    for who in ("alice", "ada"):
        entry = RecordingEntry.from_dict(archive.ask(who, endpoints.RECORDING, tape.session).get_json())
        assert (entry.session, entry.participants, entry.login) == (tape.session, ("alice",), "pi")
        assert (entry.hostname, entry.node, entry.command, entry.interactive) == ("gw-1", tape.node, "uptime", False)
        assert (entry.started, entry.duration) == (NOON, 2000)
        assert (entry.size, entry.state, entry.kind) == (len(tape.content), "complete", "ssh")
    assert archive.ask("alice", endpoints.RECORDING, tape.session.upper()).status_code == 200


@pytest.mark.parametrize("endpoint", [endpoints.RECORDING, endpoints.RECORDING_KEY, endpoints.RECORDING_CONTENT])
def test_somebody_elses_recording_is_answered_as_one_that_is_not_there(archive: Archive, endpoint: Endpoint) -> None:
    tape = archive.kept(user="alice")
    names = [tape.session, NEVER, "x", "..%2f..%2fx", "%2e%2e", "a" * 5000, "é", "%00"]
    answers = [archive.ask("bob", endpoint, name) for name in names]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert archive.ask("bob", endpoint, tape.session).text == answers[0].text
    (entry,) = archive.accesses()  # of the one that is there, and once
    assert (entry["code"], entry["user"], entry["sid"]) == ("SK036W", "bob", tape.session)
    assert (entry["success"], entry["check"], entry["server_hostname"]) == (False, "V1", "gw-1")
    assert entry["error"] == f'user "bob" took no part in session {tape.session}'
    archive.clock.pass_(timedelta(hours=1))
    archive.ask("bob", endpoint, tape.session)
    assert len(archive.accesses()) == 2


def test_an_attempt_that_the_audit_log_cannot_be_told_of_is_answered_alike(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tape = archive.kept(user="alice")
    log = tmp_path / "log"
    log.rename(tmp_path / "aside")
    log.write_text("in the way")
    answers = [archive.ask("bob", endpoints.RECORDING_KEY, session) for session in (tape.session, NEVER)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    assert "cannot write session.recording.access" in caplog.text


def test_who_was_refused_before_and_may_see_it_now_is_audited(archive: Archive) -> None:
    tape = archive.kept(user="alice", recipient=None)
    assert archive.ask("bob", endpoints.RECORDING_CONTENT, tape.session).status_code == 404
    users = archive.lab.accounts.users
    users.remove("bob", Origin(via="tctl"))
    roles = access.parse_roles("auditor")
    users.add(UserName("bob"), (parse_login("pi"),), limits.INVITE_TTL, Origin(via="tctl"), roles)
    archive.tokens["bob"] = archive.lab.session("bob", "tsh", archive.clock() + timedelta(hours=1))
    assert archive.ask("bob", endpoints.RECORDING_CONTENT, tape.session).status_code == 200
    assert [entry["code"] for entry in archive.accesses()] == ["SK036W", "T2012I"]


@pytest.mark.parametrize(
    "endpoint",
    [endpoints.RECORDINGS, endpoints.RECORDING, endpoints.RECORDING_KEY, endpoints.RECORDING_CONTENT],
)
def test_a_stranger_is_told_to_sign_in(archive: Archive, endpoint: Endpoint) -> None:
    tape = archive.kept()
    assert archive.ask("", endpoint, tape.session).status_code == 401
    assert archive.accesses() == []


def test_a_name_that_was_given_to_somebody_else_does_not_bring_recordings_along(archive: Archive) -> None:
    tape = archive.kept(user="alice")
    archive.clock.pass_(timedelta(hours=1))
    users = archive.lab.accounts.users
    users.remove("alice", Origin(via="tctl"))
    users.add(UserName("alice"), (parse_login("pi"),), limits.INVITE_TTL, Origin(via="tctl"))
    archive.tokens["alice"] = archive.lab.session("alice", "tsh", archive.clock() + timedelta(hours=1))
    assert archive.listed("alice") == []
    assert archive.ask("alice", endpoints.RECORDING_KEY, tape.session).status_code == 404
    assert archive.listed("ada") == [tape.session]


def test_the_key_opens_the_recording_and_stands_in_the_audit_log(archive: Archive) -> None:
    tape = archive.kept(user="alice")
    response = archive.ask("ada", endpoints.RECORDING_KEY, tape.session)
    assert response.headers["Cache-Control"] == "no-store"
    key = RecordingKey.from_dict(response.get_json())
    assert key.signer == tape.signer
    examiner = Examiner(key.signer)
    opener = Opener(tape.header, key.key)
    records = [record for record in examiner.feed(tape.content) if isinstance(record, DataRecord)]
    assert "grüß".encode() in b"".join(opener.content(record) for record in records)
    (entry,) = archive.accesses()
    assert (entry["code"], entry["user"], entry["sid"]) == ("T2012I", "ada", tape.session)
    assert (entry["server_hostname"], entry["via"], "format" in entry) == ("gw-1", "web", False)


def test_no_key_is_handed_out_that_the_audit_log_cannot_be_told_of(archive: Archive, tmp_path: Path) -> None:
    tape = archive.kept()
    log = tmp_path / "log"
    log.rename(tmp_path / "aside")
    log.write_text("in the way")
    response = archive.ask("alice", endpoints.RECORDING_KEY, tape.session)
    assert response.status_code == 503
    assert "key" not in response.get_json()


def test_a_recording_locked_for_another_cluster_gives_no_key(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    tape = archive.kept()
    archive.lab.store.collection("authorities").delete("recording", now=archive.clock())
    archive.lab.authority.create_missing(archive.clock())
    response = archive.ask("alice", endpoints.RECORDING_KEY, tape.session)
    assert response.status_code == 409
    assert error_of(response).startswith("This recording cannot be opened")
    assert "Retry-After" not in response.headers
    assert "this cluster does not have" in caplog.text
    assert archive.accesses() == []


def test_a_key_that_cannot_be_had_just_now_is_to_be_asked_for_again(archive: Archive) -> None:
    tape = archive.kept()
    authorities = archive.lab.store.collection("authorities")
    record = authorities.get("recording", now=archive.clock())
    assert record
    authorities.replace(record, {"keys": "damaged"}, now=archive.clock())
    response = archive.ask("alice", endpoints.RECORDING_KEY, tape.session)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_the_key_to_check_with_is_the_enrolled_node_s_whatever_lies_beside_the_recording(archive: Archive) -> None:
    tape = archive.kept()
    nodes = archive.lab.store.collection("nodes")
    record = nodes.get(archive.node.node_id, now=archive.clock())
    assert record
    other = Tape()
    nodes.replace(record, {**record.value, "ssh_public_key": signer_line(other.signer)}, now=archive.clock())
    key = RecordingKey.from_dict(archive.ask("alice", endpoints.RECORDING_KEY, tape.session).get_json())
    assert key.signer == other.signer
    archive.lab.enrolment.nodes.remove(archive.node.node_id, Origin(via="tctl"))
    key = RecordingKey.from_dict(archive.ask("alice", endpoints.RECORDING_KEY, tape.session).get_json())
    assert key.signer == tape.signer


def test_the_content_comes_in_pieces_as_the_node_sealed_it(archive: Archive) -> None:
    tape = archive.kept()
    got = b""
    while True:
        response = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"offset={len(got)}&size=700")
        assert response.status_code == 200
        assert response.content_type == "application/octet-stream"
        assert response.headers["Skerry-Recording-State"] == "complete"
        assert response.headers["Skerry-Recording-Size"] == str(len(tape.content))
        if not response.data:
            break
        got += response.data
    assert got == tape.content
    assert archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session).data == tape.content
    assert archive.accesses() == []


def test_one_piece_is_never_larger_than_its_bound(archive: Archive) -> None:
    tape = Tape(signing=archive.signing, recipient=archive.lab.authority.recording_key()).head()
    noise = random.Random(1)  # noqa: S311 - what does not compress, and is the same in each run
    for second in range(8):
        tape.output(second * 1000, base64.b64encode(noise.randbytes(100_000)).decode())
    tape.seal("final", 8000)
    upload(archive.lab.recordings, archive.node, tape)
    assert len(tape.content) > limits.RECORDING_PIECE_MAX
    first = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session)
    assert len(first.data) == limits.RECORDING_PIECE_MAX
    more = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"size={limits.RECORDING_PIECE_MAX + 1}")
    assert more.status_code == 400


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "size=0", "offset=99999999999999", "size=1e3"])
def test_a_piece_out_of_bounds_is_refused(archive: Archive, query: str) -> None:
    tape = archive.kept()
    assert archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, query).status_code == 400


def test_beyond_the_end_there_is_nothing(archive: Archive) -> None:
    tape = archive.kept()
    response = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"offset={len(tape.content) + 1}")
    assert response.status_code == 416
    assert error_of(response) == f"offset: the recording has {len(tape.content)} bytes so far"


def test_a_recording_that_arrives_is_read_as_far_as_it_was_checked_and_on_when_more_has_come(archive: Archive) -> None:
    tape = archive.tape()
    whole = sum(map(len, tape.records[:4]))
    upload(archive.lab.recordings, archive.node, tape, upto=whole + 5)
    entry = RecordingEntry.from_dict(archive.ask("alice", endpoints.RECORDING, tape.session).get_json())
    assert (entry.state, entry.size) == ("arriving", whole)
    first = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session)
    assert (first.data, first.headers["Skerry-Recording-State"]) == (tape.content[:whole], "arriving")
    nothing_yet = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"offset={whole}")
    assert (nothing_yet.status_code, nothing_yet.data) == (200, b"")
    upload(archive.lab.recordings, archive.node, tape)
    rest = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"offset={whole}")
    assert (rest.data, rest.headers["Skerry-Recording-State"]) == (tape.content[whole:], "complete")


def test_content_that_needs_no_key_is_audited_itself(archive: Archive) -> None:
    tape = archive.kept(recipient=None)
    assert archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session).data == tape.content
    end = archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"offset={len(tape.content)}")
    assert end.data == b""
    assert [(entry["user"], entry["code"]) for entry in archive.accesses()] == [("alice", "T2012I")]
    for offset in range(1, 500, 100):  # it is one reading, however many requests it takes
        archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, f"offset={offset}&size=100")
    assert len(archive.accesses()) == 1
    archive.ask("ada", endpoints.RECORDING_CONTENT, tape.session, "offset=1")  # nobody gets around it by a byte
    archive.clock.pass_(limits.RECORDING_ACCESS_AGAIN)
    archive.ask("alice", endpoints.RECORDING_CONTENT, tape.session, "offset=200")
    assert [entry["user"] for entry in archive.accesses()] == ["alice", "ada", "alice"]
    key = RecordingKey.from_dict(archive.ask("alice", endpoints.RECORDING_KEY, tape.session).get_json())
    assert (key.key, key.signer) == (None, tape.signer)
