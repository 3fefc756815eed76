from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.renew import (
    CLONED,
    Held,
    Renewal,
    RenewClaim,
    Waiting,
    decide_renewal,
    read_attested,
    refuse_unknown,
)
from protocol import limits
from protocol.certificates import GENERATION_EXTENSION, SshCertificate
from protocol.decision import Granted, Refused
from protocol.names import NodeId

HELD = Held(generation=5, attempt="a" * 32)
CLAIM = RenewClaim(generation=5, attempt="b" * 32, challenge="fresh", proven=True)


def test_who_has_the_last_generation_gets_the_next() -> None:
    assert decide_renewal(HELD, CLAIM) == Granted(Renewal(6))


@pytest.mark.parametrize(
    ("held", "claim", "check"),
    [
        pytest.param(HELD, replace(CLAIM, challenge="foreign"), "N2", id="a challenge that is not ours"),
        pytest.param(HELD, replace(CLAIM, challenge="spent"), "N2", id="a challenge that was used before"),
        pytest.param(HELD, replace(CLAIM, proven=False), "N3", id="another key"),
        pytest.param(replace(HELD, lock="locked"), CLAIM, "N4", id="a lock"),
        pytest.param(
            replace(HELD, certificates=limits.TLS_CERTIFICATES_MAX, idle=timedelta(minutes=19)),
            CLAIM,
            "N7",
            id="too many",
        ),
        pytest.param(HELD, replace(CLAIM, generation=2**62), "N5", id="a generation that no certificate tells of"),
        pytest.param(HELD, replace(CLAIM, generation=4), "N5", id="an older generation"),
        pytest.param(HELD, replace(CLAIM, generation=3, attempt=HELD.attempt), "N5", id="older by two"),
        pytest.param(HELD, replace(CLAIM, generation=0), "N5", id="none"),
        pytest.param(
            replace(HELD, attempt=""), replace(CLAIM, generation=4, attempt=""), "N5", id="older, after a join"
        ),
    ],
)
def test_each_check_refuses_by_its_own_label(held: Held, claim: RenewClaim, check: str) -> None:
    answer = decide_renewal(held, claim)
    assert isinstance(answer, Refused)
    assert answer.check == check


def test_who_cannot_prove_the_key_learns_nothing_of_the_rest() -> None:
    locked = replace(HELD, lock="locked", pending=True)
    answer = decide_renewal(locked, replace(CLAIM, proven=False, generation=1))
    assert isinstance(answer, Refused)
    assert answer.check == "N3"


def test_a_renewal_whose_answer_was_lost_is_repeated_with_the_same_generation() -> None:
    again = replace(CLAIM, generation=4, attempt=HELD.attempt)
    assert decide_renewal(HELD, again) == Granted(Renewal(5, is_repeated=True))


def test_a_node_ahead_of_a_controller_that_was_put_back_goes_on_from_its_own_number() -> None:
    assert decide_renewal(HELD, replace(CLAIM, generation=9, attested=9)) == Granted(Renewal(10, expected=5))


def test_a_node_that_waits_is_told_to_wait_unless_it_is_locked() -> None:
    waiting = Held(generation=0, attempt="", pending=True)
    claim = replace(CLAIM, generation=0)
    assert decide_renewal(waiting, claim) == Waiting()
    assert isinstance(decide_renewal(replace(waiting, lock="locked"), claim), Refused)
    assert decide_renewal(replace(waiting, pending=False), claim) == Granted(Renewal(1))


@given(st.integers(0, 50), st.lists(st.sampled_from(["original", "copy"]), min_size=1, max_size=30))
def test_of_two_that_renew_in_any_order_the_second_is_found_at_its_first_attempt(
    generation: int, order: list[str]
) -> None:
    held = Held(generation, "")
    holding = {"original": generation, "copy": generation}
    for number, who in enumerate(order):
        claim = replace(CLAIM, generation=holding[who], attempt=f"{number:032x}")
        answer = decide_renewal(held, claim)
        if holding[who] == held.generation:
            assert isinstance(answer, Granted)
            holding[who] = answer.value.generation
            held = Held(answer.value.generation, claim.attempt)
        else:
            assert isinstance(answer, Refused)
            assert answer.check == CLONED


@given(st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_a_generation_never_goes_down(held: int, claimed: int, same: bool) -> None:
    known = Held(held, "a" * 32)
    answer = decide_renewal(known, replace(CLAIM, generation=claimed, attempt=("a" if same else "b") * 32))
    if isinstance(answer, Granted):
        assert answer.value.generation >= held
        assert answer.value.generation == claimed + 1


# --- what a certificate says -------------------------------------------------------------------------------------

NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")
OURS, KEY = b"our authority", b"the node's key"
CERTIFICATE = SshCertificate(
    kind="host",
    key_id="",
    serial=1,
    principals=(NODE, "gw-1"),
    valid_after=datetime(2026, 1, 1, tzinfo=UTC),
    valid_before=datetime(2026, 1, 2, tzinfo=UTC),
    critical_options={},
    extensions={GENERATION_EXTENSION: b"7"},
    signing_key=OURS,
    public_key=KEY,
)


def test_a_certificate_of_ours_for_this_node_and_its_key_tells_the_generation() -> None:
    assert read_attested(CERTIFICATE, NODE, KEY, [b"an older one", OURS]) == 7


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(replace(CERTIFICATE, kind="user"), id="a person's"),
        pytest.param(replace(CERTIFICATE, signing_key=b"somebody"), id="another authority's"),
        pytest.param(replace(CERTIFICATE, public_key=b"another"), id="another key's"),
        pytest.param(replace(CERTIFICATE, principals=("gw-1", NODE)), id="another node's, that is named so"),
        pytest.param(replace(CERTIFICATE, principals=()), id="nobody's"),
        pytest.param(replace(CERTIFICATE, extensions={}), id="without a generation"),
        pytest.param(replace(CERTIFICATE, extensions={GENERATION_EXTENSION: b"-7"}), id="of no number"),
    ],
)
def test_no_other_certificate_tells_one(certificate: SshCertificate) -> None:
    assert read_attested(certificate, NODE, KEY, [OURS]) == 0


def test_who_is_not_enrolled_learns_it_only_with_a_challenge_of_ours() -> None:
    assert refuse_unknown(CLAIM).check == "N1"
    assert refuse_unknown(replace(CLAIM, challenge="foreign")).check == "N2"
