"""The controller's own faults: no recording is refused for one, and each upload goes on when it is mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.authority import UnknownKeyError, UnopenableError
from controller.recordings import IntakeError
from protocol.decision import Granted
from protocol.names import SessionId
from protocol.recording import cipher
from tests.controller.recordings.lab import Gateway, check_of, files, kept


def test_a_recording_key_that_cannot_be_had_now_refuses_nothing(gateway: Gateway) -> None:
    harbour, tape = gateway.harbour, gateway.tape()
    authorities = harbour.store.collection("authorities")
    record = authorities.get("recording", now=harbour.clock())
    assert record
    gateway.begin(tape.session)
    other = gateway.tape().header.key
    assert other
    damaged = [
        {"keys": "none"},
        {"keys": []},
        {"keys": [{**record.value["keys"][0], "sealed_private": "v1:AAAA"}]},  # type: ignore[index, dict-item]  # JSON
        {"keys": [{**record.value["keys"][0], "key_id": "6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f"}]},  # type: ignore[index, dict-item]  # JSON
    ]
    for value in damaged:
        now = authorities.get("recording", now=harbour.clock())
        assert now
        authorities.replace(now, value, now=harbour.clock())  # type: ignore[arg-type]  # JSON
        with pytest.raises(IntakeError, match="cannot be opened now"):
            gateway.send(tape.session, 0, tape.content)
        at = gateway.ask(tape.session)
        assert isinstance(at, Granted)
        assert (at.value.state, at.value.offset) == ("arriving", 0)
    now = authorities.get("recording", now=harbour.clock())
    assert now
    authorities.replace(now, record.value, now=harbour.clock())
    assert check_of(gateway.send(tape.session, 0, tape.content)) == "granted"
    assert kept(harbour, tape.session) == tape.content
    assert [event["code"] for event in gateway.audited()] == ["T2005I"]


def test_the_authority_tells_a_key_it_lacks_from_one_that_does_not_open(gateway: Gateway) -> None:
    authority = gateway.harbour.authority
    key_id, public = authority.recording_key()
    with pytest.raises(UnknownKeyError):
        authority.open_recording(gateway.tape(recipient=("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f", public)).header)
    with pytest.raises(UnopenableError):
        authority.open_recording(gateway.tape(recipient=(key_id, cipher.generate()[1])).header)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"session": 7}', '{"grown": 1e400}'])
@pytest.mark.parametrize("ask", ["begin", "ask", "send"])
def test_an_upload_whose_note_is_damaged_is_put_aside_and_begun_anew(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, ask: str
) -> None:
    tape, folder = gateway.tape(), tmp_path / "recordings" / "arriving"
    gateway.begin(tape.session)
    gateway.send(tape.session, 0, tape.content[:900])
    (folder / f"{tape.session}.json").write_text(text)
    if ask == "ask":
        assert check_of(gateway.ask(tape.session)) == "U2"
    if ask == "send":
        assert check_of(gateway.send(tape.session, 900, tape.content[900:])) == "U2"
    assert gateway.upload(tape).hash == tape.chain
    assert kept(gateway.harbour, tape.session) == tape.content
    assert (folder / f"{tape.session}.json.damaged").read_text() == text
    assert (folder / f"{tape.session}.skr.damaged").read_bytes() == tape.content[:900]
    assert len([record for record in caplog.records if "is put aside" in record.message]) == 1
    assert gateway.harbour.recordings.sweep() == 0
    assert len([name for name in files(gateway.harbour) if name.endswith(".damaged")]) == 2


def test_a_note_that_cannot_be_read_is_not_taken_for_a_damaged_one(gateway: Gateway, tmp_path: Path) -> None:
    tape = gateway.tape()
    gateway.begin(tape.session)
    note = tmp_path / "recordings" / "arriving" / f"{tape.session}.json"
    aside = note.rename(tmp_path / "aside")
    note.mkdir()
    with pytest.raises(IntakeError, match="cannot be stored"):
        gateway.send(SessionId(tape.session), 0, tape.content)
    note.rmdir()
    aside.rename(note)
    assert check_of(gateway.send(tape.session, 0, tape.content)) == "granted"


# --- what is over, and could not be told ------------------------------------------------------------------------------


def test_what_is_over_and_could_not_be_audited_is_concluded_without_its_node(gateway: Gateway) -> None:
    harbour = gateway.harbour
    good, spoilt, strange = gateway.tape(), gateway.tape(), gateway.tape(cluster="elsewhere")
    changed = spoilt.content[:-1] + b"?"
    with harbour.unwritable_log():
        for tape, data in ((good, good.content), (spoilt, changed), (strange, strange.content)):
            gateway.begin(tape.session)
            with pytest.raises(Exception, match="audit"):
                gateway.send(tape.session, 0, data)
        with pytest.raises(Exception, match="audit"):
            harbour.recordings.conclude()
    assert harbour.recordings.conclude() == 3
    assert harbour.recordings.conclude() == 0
    told = {event["sid"]: event for event in gateway.audited()}
    assert {sid: event["code"] for sid, event in told.items()} == {
        good.session: "T2005I",
        spoilt.session: "SK033W",
        strange.session: "SK033W",
    }
    assert all("addr.remote" not in event for event in told.values())
    assert kept(harbour, good.session) == good.content
    assert not any(name.startswith(f"arriving/{good.session}") for name in files(harbour))


def test_what_is_concluded_already_is_left_alone(gateway: Gateway) -> None:
    whole, half = gateway.tape(), gateway.tape()
    gateway.upload(whole)
    gateway.upload_bytes(half.session, half.content[:-100])
    assert gateway.harbour.recordings.conclude() == 0
    assert len(gateway.audited()) == 1
