from __future__ import annotations

from typing import Any

import pytest

from protocol.fields import MessageError
from protocol.people import (
    FactorEntry,
    FactorList,
    FactorOffer,
    NewFactor,
    NewReset,
    NewUser,
    OneTimeCode,
    PasswordChange,
    Profile,
    SignInEntry,
    SignInList,
    UserChange,
    UserEntry,
    UserLink,
    UserList,
)
from protocol.secret import Secret

USER = {
    "name": "ada",
    "roles": ["access"],
    "logins": ["pi"],
    "status": "active",
    "locked_until": None,
    "lock": None,
    "factors": 1,
    "created": 5,
}
FACTOR = {"id": "x", "name": "phone", "type": "totp", "added": 5}
SIGN_IN = {
    "id": "x",
    "kind": "tsh",
    "since": 1,
    "used": 2,
    "expires": 3,
    "remote": "192.0.2.1:5",
    "client": "tsh",
    "is_current": True,
}
PROFILE = {
    "user": "ada",
    "roles": ["admin"],
    "logins": [],
    "created": 1,
    "sees_audit": True,
    "administers": True,
    "signed_in": 2,
    "expires": 3,
}
WHOLE: list[tuple[Any, dict[str, Any]]] = [
    (UserEntry, USER),
    (UserList, {"users": [USER], "next": "61"}),
    (NewUser, {"name": "ada", "logins": ["pi"], "roles": ["access", "admin"], "ttl_seconds": 60}),
    (UserChange, {"roles": ["auditor"], "logins": []}),
    (NewReset, {"ttl_seconds": 60}),
    (UserLink, {"name": "ada", "url": "https://x", "expires": 5}),
    (Profile, PROFILE),
    (PasswordChange, {"old": "a", "new": "b", "otp": "c"}),
    (FactorEntry, FACTOR),
    (FactorList, {"factors": [FACTOR]}),
    (FactorOffer, {"handle": "a", "secret": "b", "uri": "c"}),
    (NewFactor, {"handle": "a", "name": "phone", "otp": "b", "approval": "c"}),
    (OneTimeCode, {"otp": "a"}),
    (SignInEntry, SIGN_IN),
    (SignInList, {"sign_ins": [SIGN_IN]}),
]
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (NewUser, {"name": "a b"}, "name: "),
    (NewUser, {"name": "ada", "roles": []}, "roles: not a list of at least one role"),
    (NewUser, {"name": "ada", "roles": ["access", "access"]}, "roles: "),
    (NewUser, {"name": "ada", "roles": ["root"]}, "roles: there is no role 'root'"),
    (NewUser, {"name": "ada", "logins": ["pi", "pi"]}, "logins: "),
    (NewUser, {"name": "ada", "logins": [f"l{number}" for number in range(65)]}, "logins: "),
    (NewUser, {"name": "ada", "ttl_seconds": 0}, "ttl_seconds: not from 1 to 172800 seconds"),
    (NewReset, {"ttl_seconds": 86401}, "ttl_seconds: "),
    (UserEntry, USER | {"status": "gone"}, "status: not a user's status"),
    (NewFactor, {"handle": "a", "name": "a\nb", "otp": "b", "approval": "c"}, "name: "),
    (PasswordChange, {"old": "a", "new": "b"}, "otp: missing"),
]


@pytest.mark.parametrize(("kind", "body"), WHOLE, ids=lambda each: getattr(each, "__name__", ""))
def test_what_was_written_is_read_again_and_unknown_fields_are_passed_over(kind: Any, body: dict[str, Any]) -> None:  # noqa: ANN401 - each of the dataclasses
    assert kind.from_dict(body | {"news": 1}).to_dict() == body


@pytest.mark.parametrize(("kind", "body", "words"), WRONG)
def test_what_does_not_fit_is_refused_with_the_fields_name(kind: Any, body: dict[str, Any], words: str) -> None:  # noqa: ANN401 - each of the dataclasses
    with pytest.raises(MessageError, match=words):
        kind.from_dict(body)


def test_what_is_left_out_is_the_usual() -> None:
    assert NewUser.from_dict({"name": "ada"}).to_dict() == {
        "name": "ada",
        "logins": [],
        "roles": ["access"],
        "ttl_seconds": 3600,
    }
    assert NewReset.from_dict({}).ttl == 8 * 3600
    assert UserChange.from_dict({"roles": None}).to_dict() == {}


def test_secrets_do_not_show() -> None:
    change = PasswordChange(Secret("insecure old"), Secret("insecure new"), Secret("123456"))
    assert "insecure" not in repr(change)
