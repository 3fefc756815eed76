from __future__ import annotations

from controller.orders import Orders
from controller.terms import Terms
from protocol.recordings import RecordingTerms
from tests.controller.harbour import Harbour


def test_the_terms_name_the_active_key_and_the_time(harbour: Harbour) -> None:
    terms = Terms(harbour.authority, harbour.clock, lambda: Orders(record_session="strict", record_input=True))
    key_id, public = harbour.authority.recording_key()
    at = int(harbour.clock().timestamp() * 1000)
    assert terms.current() == RecordingTerms("strict", record_input=True, key_id=key_id, public_key=public, time=at)
    assert RecordingTerms.from_dict(terms.current().to_dict()) == terms.current()


def test_a_rotation_and_the_passing_of_time_show_in_the_next_answer(harbour: Harbour) -> None:
    terms = Terms(harbour.authority, harbour.clock)
    before = terms.current()
    key_id = harbour.authority.rotate_recording_key(harbour.clock())
    harbour.clock.move(seconds=1.5)
    after = terms.current()
    assert (after.key_id, after.time) == (key_id, before.time + 1500)
    assert after.public_key != before.public_key
    assert (after.mode, after.record_input) == ("best_effort", False)
