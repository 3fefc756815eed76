from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.policy.ephemeral import is_gone
from controller.policy.liveness import NO_TUNNEL, UNSEEN, Standing, TunnelFact

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PATIENCE = timedelta(hours=24)
LONG = NOW - timedelta(hours=30)
SHORT = NOW - timedelta(hours=3)
DOWN = TunnelFact("down", LONG)
OFFLINE = Standing("offline", LONG, LONG)


@pytest.mark.parametrize(
    ("certified", "standing", "tunnel", "gone"),
    [
        pytest.param(LONG, OFFLINE, DOWN, True, id="both say so, for long"),
        pytest.param(LONG, UNSEEN, DOWN, True, id="no broker, and the tunnel is down for long"),
        pytest.param(LONG, UNSEEN, NO_TUNNEL, True, id="it never came after it had joined"),
        pytest.param(SHORT, UNSEEN, NO_TUNNEL, False, id="it has just joined"),
        pytest.param(SHORT, OFFLINE, DOWN, False, id="it has just renewed"),
        pytest.param(LONG, OFFLINE, TunnelFact("down", SHORT), False, id="the tunnel went down not long ago"),
        pytest.param(LONG, Standing("offline", SHORT, SHORT), DOWN, False, id="it was heard of not long ago"),
        pytest.param(LONG, Standing("offline", LONG, SHORT), DOWN, False, id="it was seen later than it went"),
        pytest.param(LONG, OFFLINE, TunnelFact("up", LONG), False, id="the tunnel is up"),
        pytest.param(LONG, Standing("online", LONG), DOWN, False, id="MQTT hears it"),
        pytest.param(LONG, Standing("stale", LONG), DOWN, False, id="nobody can ask MQTT"),
    ],
)
def test_an_ephemeral_node_is_gone_when_both_facts_say_so_for_long_enough(
    certified: datetime, standing: Standing, tunnel: TunnelFact, *, gone: bool
) -> None:
    assert is_gone(PATIENCE, certified=certified, standing=standing, tunnel=tunnel, now=NOW) is gone


def test_a_node_stays_for_the_whole_of_its_time() -> None:
    away = TunnelFact("down", NOW - PATIENCE)
    assert not is_gone(PATIENCE, certified=LONG, standing=UNSEEN, tunnel=away, now=NOW)
    assert is_gone(PATIENCE, certified=LONG, standing=UNSEEN, tunnel=away, now=NOW + timedelta(seconds=1))
