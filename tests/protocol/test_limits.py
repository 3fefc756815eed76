from __future__ import annotations

import re
from datetime import timedelta

from protocol import endpoints, limits
from protocol.endpoints import Endpoint
from protocol.version import __version__


def test_a_spent_code_is_remembered_longer_than_it_could_be_accepted() -> None:
    accepted = limits.TOTP_PERIOD * (2 * limits.TOTP_SKEW_STEPS + 1) + limits.CLOCK_LEEWAY
    assert accepted < limits.TOTP_MEMORY


def test_a_dead_link_is_noticed_within_45_seconds() -> None:
    assert (limits.KEEPALIVE_INTERVAL * (limits.KEEPALIVE_MISSES + 1)).total_seconds() <= 45


def test_windows_lie_within_each_other() -> None:
    assert limits.CLOCK_LEEWAY <= limits.USER_CERTIFICATE_MIN <= limits.USER_CERTIFICATE_MAX
    assert limits.WEB_SESSION_IDLE <= limits.WEB_SESSION_MAX <= limits.USER_CERTIFICATE_MAX
    assert limits.HOST_CERTIFICATE_TTL < limits.CA_CERTIFICATE_TTL
    assert limits.WEB_CERTIFICATE_TTL < limits.CA_CERTIFICATE_TTL
    assert limits.INVITE_TTL <= limits.INVITE_TTL_MAX
    assert limits.JOIN_TOKEN_TTL <= limits.JOIN_TOKEN_TTL_MAX
    assert limits.RECONNECT_FIRST <= limits.RECONNECT_MAX <= limits.RECONNECT_STABLE
    assert limits.AUDIT_FIELD_MAX_CHARS < limits.AUDIT_LINE_MAX


def test_a_node_that_is_gone_is_told_by_the_broker_within_45_seconds() -> None:
    # One and a half of the keepalive (MQTT 3.1.1 section 3.1.2.10), and a second to look.
    assert limits.MQTT_KEEPALIVE * 1.5 + timedelta(seconds=1) <= timedelta(seconds=45)


def test_a_view_of_locks_outlives_one_pulse_that_was_lost() -> None:
    assert 2 * limits.PULSE_INTERVAL < limits.LOCKS_STALE


def test_a_policy_document_holds_all_locks_there_may_be_and_fits_a_message() -> None:
    assert limits.LOCKS_SIZE_MAX < limits.POLICY_MAX < limits.MQTT_MESSAGE_MAX


def test_every_endpoint_has_a_path_of_its_own() -> None:
    known = [value for value in vars(endpoints).values() if isinstance(value, Endpoint)]
    assert len({(endpoint.method, endpoint.path) for endpoint in known}) == len(known) > 5
    assert all(re.fullmatch(r"(/([a-z0-9-]+|\{[a-z_]+\}|openapi\.json))+", endpoint.path) for endpoint in known)


def test_the_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
