"""Who and where, as a person writes it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import names
from protocol.messages import NodeEntry
from tsh.commands.ssh import wants_pty
from tsh.forward import Forward, parse_forward
from tsh.inventory import choose_nodes
from tsh.target import Target, choose_login, parse_target

UUID = "ae79f375-633e-4a81-941e-83faf4a3c966"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("web1", Target(None, "web1", {})),
        ("root@web1.example.com", Target("root", "web1.example.com", {})),  # type: ignore[arg-type]  # a literal login
        (UUID.upper(), Target(None, UUID, {})),
        ("pi@env=staging,site=north", Target("pi", "", {"env": "staging", "site": "north"})),  # type: ignore[arg-type]
    ],
)
def test_target_is_login_and_node(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "@web1", "root@", "a b@web1", "../x", "web1:22", "env=a,b", "=x", "-oProxy=x"])
def test_what_names_no_node_is_refused(text: str) -> None:
    with pytest.raises(names.BadNameError):
        parse_target(text)


@given(st.text())
def test_any_text_is_a_target_or_the_declared_error(text: str) -> None:
    with contextlib.suppress(names.BadNameError):
        target = parse_target(text)
        assert bool(target.host) != bool(target.labels)


def test_login_is_the_first_that_was_named_then_ones_own_then_the_certificates_first() -> None:
    assert choose_login((None, "pi", "ubuntu"), ("root",), "me") == "pi"
    assert choose_login((None, None, ""), ("root", "me"), "me") == "me"
    assert choose_login((None, None, None), ("root", "pi"), "me") == "root"


def entry(name: str, number: int, **labels: str) -> NodeEntry:
    node_id = names.parse_node_id(f"{number:08x}-633e-4a81-941e-83faf4a3c966")
    return NodeEntry(node_id, names.parse_node_name(name), "⟵ Tunnel", labels)


def test_nodes_are_chosen_by_all_labels_and_all_words() -> None:
    nodes = [entry("web2", 2, env="prod", site="North"), entry("web1", 1, env="prod"), entry("db1", 3, env="test")]
    assert [node.name for node in choose_nodes(nodes, {})] == ["db1", "web1", "web2"]
    assert [node.name for node in choose_nodes(nodes, {"env": "prod"})] == ["web1", "web2"]
    assert [node.name for node in choose_nodes(nodes, {"env": "prod", "site": "north"})] == []
    assert [node.name for node in choose_nodes(nodes, {}, ["NORTH", "web"])] == ["web2"]


@pytest.mark.parametrize(
    ("spec", "forward"),
    [
        ("8080:localhost:80", Forward("localhost", 8080, "localhost", 80)),
        ("0.0.0.0:8080:10.0.0.1:80", Forward("0.0.0.0", 8080, "10.0.0.1", 80)),  # noqa: S104 - parsed, not bound
        ("*:1:h:2", Forward("", 1, "h", 2)),
        ("[::1]:1:[fe80::1]:2", Forward("::1", 1, "fe80::1", 2)),
    ],
)
def test_forwarding_is_openssh_s(spec: str, forward: Forward) -> None:
    assert parse_forward(spec) == forward


@given(st.text(alphabet="0123456789:[]h.*"))
def test_any_text_is_a_forwarding_or_the_declared_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_forward(text).host


@pytest.mark.parametrize(
    ("force", "never", "command", "terminal", "wanted"),
    [
        (False, False, None, True, True),
        (False, False, None, False, False),
        (False, False, "ls", True, False),
        (True, False, "ls", False, True),
        (True, True, None, True, False),
    ],
)
def test_terminal_is_asked_for_as_openssh_does(
    *, force: bool, never: bool, command: str | None, terminal: bool, wanted: bool
) -> None:
    assert wants_pty(force=force, never=never, command=command, terminal=terminal) is wanted
