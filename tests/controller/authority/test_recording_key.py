from __future__ import annotations

import threading
import uuid
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.authority import Authority, AuthorityError, Vault, VaultError
from controller.store.interface import Store
from controller.store.memory import MemoryStore
from controller.store.tiny import TinyStore
from protocol.events import Json
from protocol.names import ClusterName, NodeId, SessionId
from protocol.recording import cipher
from protocol.recording.cast import CastHeader, Event
from protocol.recording.header import WrappedKey
from protocol.recording.opening import Opener
from protocol.recording.reader import DataRecord, Reader
from protocol.secret import Secret
from tests.harness.tape import Tape, short_tape

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLUSTER = ClusterName("harbour")
MASTER = Secret(b"insecure master key of 32 bytes.")


def authority_on(store: Store) -> Authority:
    made = Authority(store, Vault(MASTER), CLUSTER)
    made.create_missing(NOW)
    return made


@pytest.fixture
def authority() -> Authority:
    return authority_on(MemoryStore())


def shown(authority: Authority, tape: Tape) -> str:
    """Return the output in a recording, read as the controller does: with what the authority gives for its header."""
    reader = Reader(tape.signer)
    records = list(reader.feed(tape.content))
    assert reader.header is not None
    opener = Opener(reader.header, authority.open_recording(reader.header))
    events = [event for record in records if isinstance(record, DataRecord) for event in opener.events(record)]
    assert isinstance(events[0], CastHeader)
    return "".join(event.data for event in events if isinstance(event, Event) and event.code == "o")


def test_a_new_cluster_has_a_recording_key_that_is_stored_sealed(tmp_path: Path) -> None:
    authority = authority_on(TinyStore(tmp_path))
    key_id, public = authority.recording_key()
    assert str(uuid.UUID(key_id)) == key_id
    cipher.parse_public(public)
    key = authority._keys("recording")[0]
    private = authority._private("recording", key).reveal()
    assert len(private) == cipher.PRIVATE_SIZE
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b64encode(public) in stored
    assert private not in stored
    assert b64encode(private) not in stored


def test_every_opening_of_the_store_shows_the_same_key(tmp_path: Path) -> None:
    assert authority_on(TinyStore(tmp_path)).recording_key() == authority_on(TinyStore(tmp_path)).recording_key()


def test_a_recording_locked_with_the_key_is_opened(authority: Authority) -> None:
    tape = short_tape(recipient=authority.recording_key())
    assert shown(authority, tape) == "$ echo grüß\r\ngrüß\r\n"


def test_a_recording_that_is_not_encrypted_has_no_key(authority: Authority) -> None:
    assert authority.open_recording(Tape().header) is None


def test_recordings_from_before_a_rotation_still_open_and_new_ones_use_the_new_key(authority: Authority) -> None:
    tapes = [short_tape(recipient=authority.recording_key())]
    for _ in range(3):
        key_id = authority.rotate_recording_key(NOW)
        assert authority.recording_key()[0] == key_id
        tapes.append(short_tape(recipient=authority.recording_key()))
    assert len({tape.header.key.key_id for tape in tapes if tape.header.key}) == 4
    assert [shown(authority, tape) for tape in tapes] == ["$ echo grüß\r\ngrüß\r\n"] * 4
    assert [key.state for key in authority._keys("recording")] == ["active", "trusted", "trusted", "trusted"]


def test_a_rotation_in_one_process_counts_in_another(tmp_path: Path) -> None:
    here, there = authority_on(TinyStore(tmp_path)), authority_on(TinyStore(tmp_path))
    before = here.recording_key()
    assert there.recording_key() == before
    here.rotate_recording_key(NOW)
    assert there.recording_key() == here.recording_key() != before


def test_a_recording_of_a_key_that_is_not_ours_is_refused_with_words(authority: Authority) -> None:
    tape = Tape(recipient=authority_on(MemoryStore()).recording_key())
    with pytest.raises(
        AuthorityError, match=rf"recording {tape.session} is locked with recording key .* does not have"
    ):
        authority.open_recording(tape.header)


def test_a_wrapped_key_opens_for_its_own_session_and_node_only(authority: Authority) -> None:
    header = Tape(recipient=authority.recording_key()).header
    strange = SessionId(str(uuid.uuid4()))
    for moved in (replace(header, session=strange), replace(header, node=NodeId(strange))):
        with pytest.raises(AuthorityError, match=f"recording {moved.session} cannot be opened: .* does not open"):
            authority.open_recording(moved)


@pytest.mark.parametrize("sealed", [b"", b"\0" * 100, b"\0" * 1200])
def test_garbage_in_place_of_a_wrapped_key_is_one_clear_error(authority: Authority, sealed: bytes) -> None:
    key_id, _ = authority.recording_key()
    header = replace(Tape(recipient=authority.recording_key()).header, key=WrappedKey(key_id, cipher.SUITE, sealed))
    with pytest.raises(AuthorityError, match="cannot be opened"):
        authority.open_recording(header)


def test_of_two_rotations_at_once_one_changes_nothing(authority: Authority) -> None:
    before, announced = authority.recording_key()[0], list[str]()

    def overtake(key_id: str) -> None:
        announced.append(key_id)
        with pytest.raises(AuthorityError, match="rotated by somebody else"):
            authority.rotate_recording_key(NOW, announced.append)

    made = authority.rotate_recording_key(NOW, overtake)
    assert announced == [made]  # none was announced that never came to be
    keys = authority._keys("recording")
    assert [(key.key_id, key.state) for key in keys] == [(made, "active"), (before, "trusted")]


def test_a_rotation_that_a_crash_broke_off_holds_up_the_next_for_a_minute(authority: Authority) -> None:
    authority._records.create(
        "rotation", {}, now=NOW, expires=NOW + timedelta(minutes=1)
    )  # as a killed process leaves it
    with pytest.raises(AuthorityError, match="try again in a minute"):
        authority.rotate_recording_key(NOW + timedelta(seconds=59))
    authority.rotate_recording_key(NOW + timedelta(seconds=60))


def test_a_damaged_record_is_found_before_anything_is_announced() -> None:
    store, announced = MemoryStore(), list[str]()
    store.collection("authorities").create("recording", {"keys": []}, now=NOW)
    with pytest.raises(AuthorityError, match="damaged"):
        Authority(store, Vault(MASTER), CLUSTER).rotate_recording_key(NOW, announced.append)
    assert announced == []


def test_a_rotation_that_cannot_be_announced_does_not_happen(authority: Authority) -> None:
    before = authority.recording_key()

    def refuse(key_id: str) -> None:
        raise OSError(key_id)

    with pytest.raises(OSError, match="-"):
        authority.rotate_recording_key(NOW, refuse)
    assert authority.recording_key() == before


def test_racing_rotations_leave_one_active_key_and_lose_none_that_was_active(tmp_path: Path) -> None:
    first = authority_on(TinyStore(tmp_path)).recording_key()[0]
    gate, made = threading.Barrier(4), list[str]()

    def rotate() -> None:
        mine = authority_on(TinyStore(tmp_path))
        gate.wait(30)
        for _ in range(5):
            try:
                made.append(mine.rotate_recording_key(NOW))
            except AuthorityError:
                continue

    racers = [threading.Thread(target=rotate) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    keys = authority_on(TinyStore(tmp_path))._keys("recording")
    assert {key.key_id for key in keys} == {first, *made}
    assert [key.state for key in keys].count("active") == 1


def test_a_cluster_from_before_recordings_gets_a_key_and_is_not_completed_again(tmp_path: Path) -> None:
    store = TinyStore(tmp_path)
    authority = authority_on(store)
    others = (authority.ssh_authorities("user"), authority.ssh_authorities("host"), authority.tls_authorities())
    store.collection("authorities").delete("recording", now=NOW)
    with pytest.raises(AuthorityError, match="no recording authority yet; `controller start` makes it"):
        authority.recording_key()
    assert not authority.create_missing(NOW)
    cipher.parse_public(authority.recording_key()[1])
    assert (authority.ssh_authorities("user"), authority.ssh_authorities("host")) == others[:2]
    assert authority.tls_authorities() == others[2]


def test_another_master_key_opens_no_recording(tmp_path: Path) -> None:
    header = Tape(recipient=authority_on(TinyStore(tmp_path)).recording_key()).header
    stranger = Authority(TinyStore(tmp_path), Vault(Secret(b"another insecure key of 32 bytes")), CLUSTER)
    with pytest.raises(VaultError, match="master key file is not the one"):
        stranger.open_recording(header)


def test_a_damaged_recording_key_in_the_store_is_named() -> None:
    store = MemoryStore()
    key: Json = {"key_id": "x", "state": "active", "public": "no base64!", "sealed_private": "v1:", "created": "now"}
    store.collection("authorities").create("recording", {"keys": [key]}, now=NOW)
    with pytest.raises(AuthorityError, match="recording authority is damaged: no public key"):
        Authority(store, Vault(MASTER), CLUSTER).recording_key()
