from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.addresses import join_address, split_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:3080", ("localhost", 3080)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:65535", ("::1", 65535)),
        (":3023", ("", 3023)),
        ("edge.example.org", ("edge.example.org", 443)),
        ("[::1]", ("::1", 443)),
    ],
)
def test_an_address_is_split(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text, 443) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "host",
            "[::1]",
            "::1",
            "::1:80",
            "host:",
            "host:65536",
            "host:-1",
            "host:+1",
            "host:http",
            "host:\u0663",
        ),
        *("a b:1", "user@host:1", "https://host:1", "host/x:1", "a?b:1", "a#b:1", "host:1\n", "host:" + "9" * 5000),
        *("a\0b:1", "\ud800:1", "[a:1", "a]:1", "[[a]]:1"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|integer string"):
        split_address(text)


def test_an_address_is_joined_with_brackets_where_they_are_needed() -> None:
    assert join_address("::1", 22) == "[::1]:22"
    assert join_address("localhost", 22) == "localhost:22"


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert 0 <= port <= 65535
    assert host.isprintable()
    assert split_address(join_address(host, port)) == (host, port)
