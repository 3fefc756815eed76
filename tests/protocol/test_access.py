from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.access import (
    ACCESS,
    ADMIN,
    AUDITOR,
    PRESET_ROLES,
    AccessTarget,
    Role,
    administers,
    are_logins_used,
    decide_access,
    parse_roles,
    sees_audit,
)
from protocol.certificates import UserIdentity
from protocol.decision import Granted, Refused
from protocol.names import BadNameError, Login, NodeId, NodeName, RoleName, UserName

NODE = AccessTarget(NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f"), NodeName("kiosk"), {"env": "staging", "site": "x"})


def person(*roles: str, logins: tuple[str, ...] = ("root",)) -> UserIdentity:
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    return UserIdentity(
        user=UserName("alice"),
        roles=tuple(RoleName(role) for role in roles),
        logins=tuple(Login(login) for login in logins),
        serial=1,
        issued=moment,
        valid_before=moment,
        permissions=frozenset(),
    )


def test_the_preset_role_opens_any_node_as_ones_own_login() -> None:
    assert decide_access(person("access"), NODE, "root") == Granted("root")
    assert decide_access(person("access"), NODE, None) == Granted(None)
    bare = AccessTarget(NODE.node_id, NODE.name, {})
    assert decide_access(person("access"), bare, "root") == Granted("root")


@pytest.mark.parametrize(
    ("roles", "login", "check"),
    [(("access",), "pi", "A1"), ((), "root", "A2"), (("unheard-of",), "root", "A2"), ((), None, "A2")],
)
def test_nothing_is_allowed_by_default(roles: tuple[str, ...], login: str | None, check: str) -> None:
    refused = decide_access(person(*roles), NODE, login)
    assert isinstance(refused, Refused)
    assert refused.check == check


@pytest.mark.parametrize(
    ("labels", "opens"),
    [
        ({"env": "staging"}, True),
        ({"env": "*"}, True),
        ({"env": "staging", "site": "x"}, True),
        ({"env": "staging", "site": "y"}, False),
        ({"env": "prod"}, False),
        ({"other": "*"}, False),
        ({"*": "staging"}, False),
        ({"*": "*"}, True),
        ({"*": "*", "env": "prod"}, False),
        ({}, False),
    ],
)
def test_every_label_of_a_role_must_match(labels: dict[str, str], opens: bool) -> None:
    roles = {ACCESS: Role(node_labels=labels, own_logins=True)}
    answer = decide_access(person("access"), NODE, "root", roles)
    assert isinstance(answer, Granted) == opens
    if isinstance(answer, Refused):
        assert answer.check == "A3"


def test_a_role_without_logins_opens_nothing() -> None:
    roles = {ACCESS: Role(node_labels={"*": "*"})}
    assert isinstance(decide_access(person("access"), NODE, "root", roles), Refused)


@given(st.lists(st.text(max_size=5), max_size=3), st.lists(st.text(max_size=5), max_size=3), st.text(max_size=5))
def test_a_login_that_is_not_ones_own_is_never_granted(roles: list[str], logins: list[str], login: str) -> None:
    answer = decide_access(person("access", *roles, logins=tuple(logins)), NODE, login)
    assert isinstance(answer, Granted) == (login in logins)


def test_the_auditor_opens_no_node_and_sees_every_recording() -> None:
    for login in ("root", None):
        refused = decide_access(person("auditor"), NODE, login)
        assert isinstance(refused, Refused)
        assert refused.check == "A3"
    assert decide_access(person("auditor", "access"), NODE, "root") == Granted("root")
    assert [name for name, role in PRESET_ROLES.items() if role.sees_recordings] == [AUDITOR]


@pytest.mark.parametrize(
    ("roles", "used"), [("access", True), ("auditor", False), ("auditor,access", True), ("gone", False), ("", False)]
)
def test_logins_are_of_use_where_a_role_opens_nodes_with_them(roles: str, used: bool) -> None:
    assert are_logins_used([RoleName(role) for role in roles.split(",")]) is used


def test_the_admin_opens_no_node_and_sees_the_audit_log_but_no_recordings() -> None:
    refused = decide_access(person("admin"), NODE, "root")
    assert isinstance(refused, Refused)
    assert [name for name in PRESET_ROLES if administers([name])] == [ADMIN]
    assert [name for name in PRESET_ROLES if sees_audit([name])] == [AUDITOR, ADMIN]
    assert not administers([RoleName("gone")])
    assert not sees_audit([])


def test_roles_are_read_from_a_list_each_once() -> None:
    assert parse_roles("access, auditor,access") == (ACCESS, AUDITOR)
    assert parse_roles("auditor") == (AUDITOR,)


@pytest.mark.parametrize("text", ["", ",", "access,", "Access", "editor", "access auditor"])
def test_a_role_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(BadNameError):
        parse_roles(text)
    with pytest.raises(BadNameError, match=r"there is no role 'editor' \(there are: access, auditor, admin\)"):
        parse_roles("access,editor")
