from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from controller.authority import Vault
from controller.enrolment.challenges import Challenges
from controller.store.memory import MemoryStore
from protocol import limits
from protocol.instants import to_milliseconds
from protocol.names import NodeId
from protocol.secret import Secret
from tests.controller.harbour import HandClock, Harbour

NODE = NodeId("00000000-0000-4000-8000-000000000001")
OTHER = NodeId("00000000-0000-4000-8000-000000000002")
CLOCK = HandClock()


def made_with(key: bytes, clock: HandClock = CLOCK) -> Challenges:
    return Challenges(MemoryStore(), Vault(Secret(key)), clock)


CHALLENGES = made_with(b"insecure master key of 32 bytes!")


def test_a_challenge_is_known_again_for_its_node_alone_and_tells_the_time() -> None:
    made = CHALLENGES.make(NODE)
    assert made.time == to_milliseconds(CLOCK())
    assert CHALLENGES.is_ours(made.challenge, NODE)
    assert not CHALLENGES.is_ours(made.challenge, OTHER)
    assert not made_with(b"another insecure key of 32 bytes").is_ours(made.challenge, NODE)
    assert CHALLENGES.make(NODE).challenge != made.challenge


@given(st.text(max_size=200) | st.text("AQgw-_=", max_size=100) | st.binary(max_size=90).map(lambda b: b.hex()))
def test_what_nobody_made_is_not_ours(text: str) -> None:
    assert not CHALLENGES.is_ours(text, NODE)


@given(st.integers(0, 75), st.sampled_from("Aaz09-_"))
def test_a_challenge_that_was_changed_anywhere_is_not_ours(place: int, letter: str) -> None:
    made = CHALLENGES.make(NODE).challenge
    if made[place] in {letter, "="}:
        return
    assert not CHALLENGES.is_ours(made[:place] + letter + made[place + 1 :], NODE)


def test_a_challenge_from_a_time_to_come_is_not_ours() -> None:
    clock = HandClock()
    challenges = made_with(b"insecure master key of 32 bytes!", clock)
    made = challenges.make(NODE).challenge
    clock.now -= limits.CLOCK_LEEWAY
    assert challenges.is_ours(made, NODE)
    clock.now -= timedelta(milliseconds=1)
    assert not challenges.is_ours(made, NODE)


def test_a_spent_challenge_is_remembered_for_longer_than_it_is_good(tmp_path: Path) -> None:
    clock = HandClock()
    harbour = Harbour(MemoryStore(), tmp_path, clock)
    challenges = Challenges(harbour.store, Vault(Secret(b"insecure master key of 32 bytes!")), clock)
    made = challenges.make(NODE).challenge
    assert challenges.spend(made)
    assert not challenges.spend(made)
    assert not challenges.spend(made + "\n")  # base64 passes over it: it is the same one
    clock.now += limits.CHALLENGE_TTL + limits.CLOCK_LEEWAY
    assert not challenges.spend(made)
    assert not challenges.is_ours(made, NODE)
