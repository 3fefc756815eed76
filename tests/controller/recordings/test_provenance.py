from __future__ import annotations

from dataclasses import replace

from controller.recordings.provenance import Ending, Provenance
from protocol.recording.signer import fingerprint, signer_line
from tests.controller.harbour import ADMIN
from tests.controller.recordings.lab import Gateway
from tests.harness.tape import Tape

HERE, ELSEWHERE = bytes(range(32)), bytes(32)
ENDING = Ending("a node", fingerprint(HERE), "ab" * 32)


def test_the_enrolled_key_and_the_audit_log_vouch_for_what_was_uploaded(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload(tape)
    found = gateway.harbour.recordings.provenance(tape.session)
    assert found.enrolled == tape.signer
    assert found.ending == Ending(gateway.node.node_id, fingerprint(tape.signer), tape.chain.hex())
    assert found.vouches(tape.signer)
    assert found.contradiction(tape.signer, tape.chain) == ""


def test_after_its_node_was_removed_the_audit_log_vouches_alone(gateway: Gateway) -> None:
    tape, harbour = gateway.tape(), gateway.harbour
    gateway.upload(tape)
    harbour.enrolment.nodes.remove(gateway.node.node_id, ADMIN)
    found = harbour.recordings.provenance(tape.session)
    assert found.enrolled is None
    assert found.vouches(tape.signer)
    assert not found.vouches(ELSEWHERE)


def test_a_recording_that_was_put_in_another_s_place_note_and_all_is_found_out(gateway: Gateway) -> None:
    """Whoever can write into the folder replaces bytes and note by those of a recording with a key of their own."""
    harbour, tape = gateway.harbour, gateway.tape()
    gateway.upload(tape)
    forged = Tape(session=tape.session, node=tape.node, node_name=tape.node_name, started=tape.started).head()
    forged.seal("final", 10)
    note = harbour.recordings._shelf.find(tape.session)
    assert note
    (path,) = (harbour.folder / "recordings").rglob(f"{tape.session}.skr")
    path.write_bytes(forged.content)
    changed = replace(note, header=forged.header, position=forged.writer.position)
    harbour.recordings._storage.note(tape.session, changed.to_facts())
    (harbour.folder / "recordings" / "arriving" / f"{tape.session}.json").rename(path.with_suffix(".json"))
    stored = harbour.recordings.find(tape.session)
    assert stored
    assert stored.signer == forged.signer  # what lies beside it says so
    found = harbour.recordings.provenance(tape.session)
    assert not found.vouches(stored.signer)
    assert harbour.recordings.key(tape.session).signer == tape.signer
    assert "sealed by" in found.contradiction(forged.signer, forged.chain)


def test_what_the_audit_log_has_nothing_of_is_vouched_for_by_the_enrolled_key_or_by_nobody() -> None:
    assert Provenance(HERE, None).vouches(HERE)
    assert not Provenance(HERE, ENDING).vouches(ELSEWHERE)
    assert not Provenance(None, None).vouches(HERE)
    assert Provenance(None, None).contradiction(HERE, b"") == ""
    assert "another recording" in Provenance(HERE, ENDING).contradiction(HERE, bytes(32))
    assert Provenance(ELSEWHERE, ENDING).contradiction(HERE, bytes.fromhex(ENDING.hash)) == ""


def test_a_node_whose_key_is_none_that_seals_vouches_for_nothing(gateway: Gateway) -> None:
    harbour, tape = gateway.harbour, gateway.tape()
    gateway.upload(tape)
    nodes = harbour.store.collection("nodes")
    record = nodes.get(gateway.node.node_id, now=harbour.clock())
    assert record
    nodes.replace(record, {**record.value, "ssh_public_key": "ssh-rsa AAAA"}, now=harbour.clock())
    assert harbour.recordings.provenance(tape.session).enrolled is None
    assert signer_line(tape.signer).startswith("ssh-ed25519")


def test_a_recording_that_arrives_has_no_ending_yet(gateway: Gateway) -> None:
    tape = gateway.tape()
    gateway.upload_bytes(tape.session, tape.content[:-100])
    assert gateway.harbour.recordings.provenance(tape.session).ending is None
