from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits, names
from protocol.names import BadNameError

Anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SOME = str(uuid.UUID(int=0x6F9C1A541F0E4F5C9D0E0A1B2C3D4E5F))
PARSERS: dict[str, Callable[[object], str]] = {
    "cluster": names.parse_cluster_name,
    "node": names.parse_node_name,
    "user": names.parse_user_name,
    "login": names.parse_login,
    "role": names.parse_role_name,
    "token": names.parse_token,
    "node id": names.parse_node_id,
    "session id": names.parse_session_id,
    "key id": names.parse_key_id,
    "factor id": names.parse_factor_id,
}
GOOD = {
    "cluster": ["a", "teleport-quickstart", "edge.example.org", "A" * 63],
    "node": ["a", "kiosk_1.lobby-2", "x" * 128],
    "user": ["alice", "a.b+c@example.org", "x" * 64],
    "login": ["root", "_apt", "a-b.c", "x" * 32],
    "role": ["access", "a-1", "x" * 63],
    "token": ["x" * 16, "-" * 128, "f7adb7ccdf04037bcd2b52ec6010fd6f0caec94ba190b765"],
    "node id": [str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1))],
    "session id": [SOME],
    "key id": [SOME],
    "factor id": [SOME],
}
BAD = {
    "cluster": ["", "-a", "a-", ".", "..", "a/b", "a b", "ä", "A" * 64, "a\n"],
    "node": ["", ".", "..", "a/b", "-a", "x" * 129, "a\0b", "a\n", SOME, SOME.upper()],
    "user": ["", "@a", "a@", "../x", "a b", "x" * 65, "a\n", "\uff41"],
    "login": ["", "0root", "-root", "a b", "a/b", "x" * 33, "root\n", "a$"],
    "role": ["", "Access", "1a", "a_b", "x" * 64, "a\n"],
    "token": ["", "x" * 15, "x" * 129, "x" * 16 + "\n", "x" * 15 + "=", "é" * 16],
    "node id": ["", "x", SOME.replace("-", ""), "{" + SOME + "}", SOME + "\n"],
    "session id": ["", uuid.UUID(SOME).urn],
    "key id": ["", "../key", SOME[:-1]],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in GOOD.items() for text in texts])
def test_a_good_name_is_itself(kind: str, text: str) -> None:
    assert PARSERS[kind](text) == text


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD.items() for text in texts])
def test_a_bad_name_is_refused(kind: str, text: str) -> None:
    with pytest.raises(BadNameError, match="not a valid"):
        PARSERS[kind](text)


@pytest.mark.parametrize("kind", sorted(PARSERS))
@given(value=Anything)
def test_a_parser_refuses_or_returns_a_harmless_name(kind: str, value: Any) -> None:  # noqa: ANN401 - whatever a peer sent
    try:
        name = PARSERS[kind](value)
    except BadNameError:
        return
    assert name.isascii()
    assert name.isprintable()
    assert name not in {"", ".", ".."}
    assert not set(name) & set("/\\ \"'`$<>&;|*?")
    assert PARSERS[kind](name) == name


def test_a_uuid_is_read_in_any_case_and_written_small() -> None:
    some = SOME
    assert names.parse_node_id(some.upper()) == some
    assert names.parse_session_id(some.upper()) == some
    assert names.is_uuid(some.upper())
    assert not names.is_uuid("kiosk-1")


def test_logins_are_a_list_each_once_in_order() -> None:
    assert names.parse_logins("root, pi,root") == ("root", "pi")
    for text in ("", "root,", "root,,pi", "root;pi"):
        with pytest.raises(BadNameError):
            names.parse_logins(text)


def test_labels_are_sorted_and_checked() -> None:
    assert list(names.parse_labels({"b": "2", "a": "1", "x/y": ""}).items()) == [("a", "1"), ("b", "2"), ("x/y", "")]


@pytest.mark.parametrize(
    "labels",
    [None, [], "a=b", {"": "x"}, {"a b": "x"}, {1: "x"}, {"a": 1}, {"a": None}, {"a": "x" * 129}]
    + [{"a": f"x{character}"} for character in ",=\"'`\\<>\n\0\u202e\ud800"]
    + [{f"l{count}": "x" for count in range(limits.LABELS_MAX + 1)}],
)
def test_bad_labels_are_refused(labels: object) -> None:
    with pytest.raises(BadNameError):
        names.parse_labels(labels)


@given(Anything)
def test_labels_of_anything_are_refused_or_labels(value: Any) -> None:  # noqa: ANN401 - whatever a peer sent
    try:
        labels = names.parse_labels(value)
    except BadNameError:
        return
    assert names.parse_labels(labels) == labels


def test_labels_as_text_are_read_and_written() -> None:
    assert names.parse_labels_text("") == {}
    assert names.parse_labels_text(" a = 1 ,, b=2,a=3") == {"a": "3", "b": "2"}
    assert names.format_labels({"b": "2", "a": "1"}) == "a=1, b=2"
    with pytest.raises(BadNameError, match="write name=value"):
        names.parse_labels_text("a")


@given(st.text())
def test_labels_as_text_raise_their_own_error_only(text: str) -> None:
    try:
        labels = names.parse_labels_text(text)
    except BadNameError:
        return
    assert names.parse_labels_text(names.format_labels(labels)) == labels
