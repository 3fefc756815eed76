from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.controller_client import Door, anchored_trust, ask_and_wait
from edge_agent.fault import UntrustedError
from edge_agent.tls_times import judge_dates
from protocol import endpoints
from tests.harness.simulated_controller import SimulatedController

BEGINS, ENDS = datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 1, 30, tzinfo=UTC)
CERTIFICATE = {"notBefore": "Nov  1 00:00:00 2026 GMT", "notAfter": "Jan 30 00:00:00 2027 GMT"}
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (BEGINS, ""),
        (BEGINS - timedelta(minutes=1), ""),
        (BEGINS - timedelta(minutes=1) - SECOND, "its certificate is not valid before 2026-11-01T00:00:00Z"),
        (ENDS - SECOND, ""),
        (ENDS, "its certificate expired at 2027-01-30T00:00:00Z"),
    ],
)
def test_a_certificate_is_good_between_its_dates(now: datetime, said: str) -> None:
    assert judge_dates(CERTIFICATE, (now, now)) == said


def test_where_the_time_is_not_known_it_is_good_if_it_may_be() -> None:
    assert not judge_dates(CERTIFICATE, (BEGINS - timedelta(days=9999), ENDS + timedelta(days=9999)))
    assert judge_dates(CERTIFICATE, (ENDS, ENDS + timedelta(days=9999)))


@pytest.mark.parametrize("nothing", [None, {}])
def test_where_no_certificate_was_asked_for_there_is_nothing_to_judge(nothing: dict[str, object] | None) -> None:
    assert not judge_dates(nothing, (BEGINS, BEGINS))


@pytest.mark.parametrize(("years", "said"), [(-56, "not valid before"), (14, "expired at")])
def test_the_corrected_time_judges_a_door_and_not_the_system_s_clock(
    own_controller: SimulatedController, years: int, said: str
) -> None:
    trust = anchored_trust([own_controller.tls_ca.pem])
    then = datetime.now(UTC) + timedelta(days=365 * years)
    door = Door("127.0.0.1", own_controller.web_port, trust, "localhost", (then, then))
    with pytest.raises(UntrustedError, match=said):
        ask_and_wait(door, endpoints.AUTHORITIES)
    assert not own_controller.requests  # nothing was said to it


def test_a_device_that_knows_nothing_of_the_time_asks_all_the_same(own_controller: SimulatedController) -> None:
    trust = anchored_trust([own_controller.tls_ca.pem])
    assert ask_and_wait(Door("127.0.0.1", own_controller.web_port, trust, "localhost"), endpoints.AUTHORITIES)


def test_everything_but_the_dates_is_judged_as_ever(own_controller: SimulatedController) -> None:
    trust = anchored_trust([own_controller.tls_ca.pem])
    with pytest.raises(UntrustedError, match=r"Hostname mismatch|IP address mismatch"):
        ask_and_wait(Door("127.0.0.1", own_controller.web_port, trust, "elsewhere"), endpoints.AUTHORITIES)
