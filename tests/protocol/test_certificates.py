from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import certificates, limits, names
from protocol.certificates import CertificateOrder, SshCertificate, judge_host_certificate, judge_user_certificate
from protocol.decision import Granted, Refused
from protocol.names import BadNameError, ClusterName, Login, NodeId, NodeName, RoleName, UserName

NOW = datetime(2026, 11, 22, 10, 47, tzinfo=UTC)
CLUSTER = ClusterName("test-cluster")
NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")
AUTHORITY = b"the authority's key"
TICK = timedelta(microseconds=1)


def read_back(order: CertificateOrder) -> SshCertificate:
    return SshCertificate(
        kind=order.kind,
        key_id=order.key_id,
        serial=order.serial,
        principals=order.principals,
        valid_after=order.valid_after,
        valid_before=order.valid_before,
        critical_options={},
        extensions={name: value.encode() for name, value in order.extensions.items()},
        signing_key=AUTHORITY,
        public_key=b"a key",
    )


def user_order(ttl: timedelta = timedelta(hours=1)) -> CertificateOrder:
    return certificates.user_order(
        user=UserName("alice"),
        roles=(RoleName("access"), RoleName("auditor")),
        logins=(Login("root"), Login("pi")),
        ttl=ttl,
        serial=7,
        now=NOW,
    )


def node_order() -> CertificateOrder:
    return certificates.node_order(
        node_id=NODE, name=NodeName("kiosk"), cluster=CLUSTER, generation=3, serial=8, now=NOW
    )


def proxy_order() -> CertificateOrder:
    return certificates.proxy_order(cluster=CLUSTER, hosts=("edge.example.org", "127.0.0.1"), serial=9, now=NOW)


USER = read_back(user_order())
ORIGIN = {"origin@skerry": b"192.0.2.7:50112"}
HOST = read_back(node_order())
PROXY = read_back(proxy_order())


def judge_user(certificate: SshCertificate, login: str | None = "root", now: datetime = NOW) -> Any:  # noqa: ANN401 - a decision
    return judge_user_certificate(certificate, authorities=[AUTHORITY], now=now, login=login)


def judge_host(certificate: SshCertificate, now: datetime = NOW) -> Any:  # noqa: ANN401 - a decision
    return judge_host_certificate(certificate, authorities=[AUTHORITY], now=now, role="node")


@pytest.mark.parametrize(
    ("ttl", "lifetime"),
    [
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(days=30), limits.USER_CERTIFICATE_MAX),
        (timedelta(0), limits.USER_CERTIFICATE_MIN),
    ],
)
def test_a_user_certificate_lives_within_the_profiles_bounds(ttl: timedelta, lifetime: timedelta) -> None:
    order = user_order(ttl)
    assert order.valid_before == NOW + lifetime
    assert order.valid_after == NOW - limits.CLOCK_LEEWAY


def test_a_good_user_certificate_names_its_person() -> None:
    answers = [judge_user(USER, login) for login in ("root", "pi", None)]
    assert all(isinstance(answer, Granted) for answer in answers)
    identity = answers[0].value
    assert (identity.user, identity.roles, identity.logins) == ("alice", ("access", "auditor"), ("root", "pi"))
    assert (identity.serial, identity.issued, identity.valid_before) == (7, NOW, NOW + timedelta(hours=1))
    assert identity.permissions == frozenset(certificates.USER_PERMISSIONS)


def test_a_permission_that_is_not_in_the_certificate_is_not_held() -> None:
    extensions = {name: value for name, value in USER.extensions.items() if name != certificates.PERMIT_PTY}
    granted = judge_user(replace(USER, extensions=extensions))
    assert certificates.PERMIT_PTY not in granted.value.permissions


def test_somebody_without_logins_gets_a_certificate_that_is_good_for_none() -> None:
    order = certificates.user_order(
        user=UserName("audra"), roles=(RoleName("auditor"),), logins=(), ttl=timedelta(hours=1), serial=7, now=NOW
    )
    assert order.principals == ("-skerry-nologin-7",)
    answer = judge_user(read_back(order), login=None)
    assert isinstance(answer, Granted)
    assert (answer.value.user, answer.value.logins) == ("audra", ())
    for login in ("root", "-skerry-nologin-7", ""):
        refused = judge_user(read_back(order), login=login)
        assert isinstance(refused, Refused)
        assert refused.check == "K7"
    with pytest.raises(BadNameError):
        names.parse_login(certificates.NO_LOGIN + "7")


@pytest.mark.parametrize(
    ("change", "login", "check"),
    [
        ({"kind": "host"}, "root", "K1"),
        ({"signing_key": b"a stranger's"}, "root", "K2"),
        ({"signing_key": b""}, "root", "K2"),
        ({"critical_options": {"force-command": b"x"}}, "root", "K4"),
        ({"extensions": {}}, "root", "K5"),
        ({"extensions": {**USER.extensions, "user@skerry": b"../x"}}, "root", "K5"),
        ({"extensions": {**USER.extensions, "user@skerry": b"\xff"}}, "root", "K5"),
        ({"extensions": {**USER.extensions, "roles@skerry": b"Not A Role"}}, "root", "K5"),
        ({"extensions": {**USER.extensions, "origin@skerry": b"nowhere:port"}}, "root", "K5"),
        ({"principals": ("root", "not a login")}, "root", "K5"),
        ({"principals": ()}, None, "K6"),
        ({}, "admin", "K7"),
        ({}, "", "K7"),
    ],
)
def test_a_bad_user_certificate_is_refused_by_its_check(change: dict[str, Any], login: str | None, check: str) -> None:
    refused = judge_user(replace(USER, **change), login)
    assert isinstance(refused, Refused)
    assert refused.check == check
    assert refused.reason


@pytest.mark.parametrize(
    ("now", "good"),
    [
        (NOW - 2 * limits.CLOCK_LEEWAY - TICK, False),
        (NOW - 2 * limits.CLOCK_LEEWAY, True),
        (NOW + timedelta(hours=1) - TICK, True),
        (NOW + timedelta(hours=1), False),
    ],
)
def test_a_certificate_is_good_within_its_time_only(now: datetime, good: bool) -> None:
    answer = judge_user(USER, now=now)
    assert isinstance(answer, Granted) == good
    assert good or answer.check == "K3"


def test_a_certificate_without_roles_holds_none() -> None:
    extensions = {name: value for name, value in USER.extensions.items() if name != certificates.ROLES_EXTENSION}
    assert judge_user(replace(USER, extensions=extensions)).value.roles == ()


def test_a_good_host_certificate_names_its_node() -> None:
    identity = judge_host(HOST).value
    assert (identity.role, identity.node_id, identity.generation, identity.serial) == ("node", NODE, 3, 8)
    assert HOST.principals == (NODE, f"{NODE}.test-cluster", "kiosk", "kiosk.test-cluster")
    assert HOST.valid_before == NOW + limits.HOST_CERTIFICATE_TTL


def test_a_good_proxy_certificate_is_no_nodes() -> None:
    answer = judge_host_certificate(PROXY, authorities=[AUTHORITY], now=NOW, role="proxy")
    assert isinstance(answer, Granted)
    assert (answer.value.role, answer.value.node_id, answer.value.generation) == ("proxy", None, 0)
    assert PROXY.principals == ("proxy@test-cluster", "edge.example.org", "127.0.0.1")
    refused = judge_host(PROXY)
    assert isinstance(refused, Refused)
    assert refused.check == "K5"


def test_where_the_person_is_stands_only_in_certificates_of_the_controllers_own_use() -> None:
    plain, own = judge_user(USER, "root"), judge_user(replace(USER, extensions={**USER.extensions, **ORIGIN}), "root")
    assert isinstance(plain, Granted)
    assert plain.value.origin is None
    assert isinstance(own, Granted)
    assert own.value.origin == ("192.0.2.7", 50112)


def test_the_controllers_own_certificate_is_for_one_node_and_a_terminal_without_forwarding() -> None:
    node = names.parse_node_id("00000000-0000-4000-8000-000000000001")
    order = certificates.user_order(
        user=names.parse_user_name("alice"),
        roles=(),
        logins=(names.parse_login("root"),),
        ttl=timedelta(minutes=1),
        serial=1,
        now=NOW,
        stand_in=certificates.StandIn("192.0.2.7:50112", node),
    )
    own = judge_user(read_back(order), "root")
    assert isinstance(own, Granted)
    assert own.value.permissions == {certificates.PERMIT_PTY}
    assert (own.value.node, own.value.origin) == (node, ("192.0.2.7", 50112))
    plain = judge_user(USER, "root")
    assert isinstance(plain, Granted)
    assert plain.value.node is None


def test_no_node_can_be_named_as_the_proxy() -> None:
    from protocol.names import BadNameError, parse_node_name

    with pytest.raises(BadNameError):
        parse_node_name(certificates.proxy_principal(CLUSTER))


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"kind": "user"}, "K1"),
        ({"signing_key": b"a stranger's"}, "K2"),
        ({"valid_before": NOW}, "K3"),
        ({"valid_after": NOW + timedelta(days=1)}, "K3"),
        ({"critical_options": {"x": b""}}, "K4"),
        ({"extensions": {}}, "K5"),
        ({"extensions": {"role@skerry": b"proxy"}}, "K5"),
        ({"principals": ()}, "K6"),
        ({"principals": ("kiosk", NODE)}, "K6"),
        ({"extensions": {"role@skerry": b"node", "generation@skerry": b"many"}}, "K6"),
    ],
)
def test_a_bad_host_certificate_is_refused_by_its_check(change: dict[str, Any], check: str) -> None:
    refused = judge_host(replace(HOST, **change))
    assert isinstance(refused, Refused)
    assert refused.check == check


Strange = st.builds(
    SshCertificate,
    kind=st.sampled_from(["user", "host"]),
    key_id=st.text(),
    serial=st.integers(0, 2**64 - 1),
    principals=st.lists(st.text(max_size=5) | st.just("root") | st.just(str(NODE)), max_size=3).map(tuple),
    valid_after=st.just(NOW),
    valid_before=st.datetimes(min_value=datetime(1970, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),  # noqa: DTZ001 - hypothesis asks for it
    critical_options=st.dictionaries(st.text(max_size=3), st.binary(max_size=3), max_size=1),
    extensions=st.dictionaries(
        st.sampled_from(["user@skerry", "roles@skerry", "role@skerry", "generation@skerry", "permit-pty"]),
        st.binary(max_size=5) | st.sampled_from([b"alice", b"access", b"node", b"proxy", b"1"]),
    ),
    signing_key=st.sampled_from([AUTHORITY, b"other"]),
    public_key=st.binary(),
)


@given(Strange, st.sampled_from([None, "root", "pi"]))
def test_whatever_a_certificate_says_it_is_judged(certificate: SshCertificate, login: str | None) -> None:
    user = judge_user(certificate, login)
    host = judge_host(certificate)
    proxy = judge_host_certificate(certificate, authorities=[AUTHORITY], now=NOW, role="proxy")
    good = [answer for answer in (user, host, proxy) if isinstance(answer, Granted)]
    assert len(good) <= 1
    if good:
        assert certificate.signing_key == AUTHORITY
        assert not certificate.critical_options
        assert certificate.valid_before > NOW
    if isinstance(user, Granted):
        assert certificate.kind == "user"
        assert login is None or login in certificate.principals
