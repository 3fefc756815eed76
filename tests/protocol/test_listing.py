"""Nodes listed, and what is said of a name that several answer to."""

from __future__ import annotations

from protocol import names
from protocol.listing import describe_ambiguous, render_nodes
from protocol.messages import NodeEntry

FIRST = names.parse_node_id("ae79f375-633e-4a81-941e-83faf4a3c966")
SECOND = names.parse_node_id("17a980a9-ce32-4c95-a5c4-c4b4717851e9")
NODES = [
    NodeEntry(FIRST, names.parse_node_name("example.com"), "⟵ Tunnel", {"foo": "bar", "a": "b"}),
    NodeEntry(SECOND, names.parse_node_name("example.com"), "⟵ Tunnel", {"spam": "eggs"}),
]


def test_nodes_are_listed_by_name_then_id() -> None:
    assert render_nodes(NODES) == (
        "Node Name   Address  Labels\n"
        "----------- -------- ------------\n"
        "example.com ⟵ Tunnel spam=eggs\n"
        "example.com ⟵ Tunnel a=b, foo=bar"
    )


def test_ambiguous_name_lists_candidates_with_ids_and_hints() -> None:
    assert describe_ambiguous(NODES) == (
        "ambiguous host could match multiple nodes\n"
        "\n"
        "Node Name   Node ID                              Address  Labels\n"
        "----------- ------------------------------------ -------- ------------\n"
        "example.com 17a980a9-ce32-4c95-a5c4-c4b4717851e9 ⟵ Tunnel spam=eggs\n"
        "example.com ae79f375-633e-4a81-941e-83faf4a3c966 ⟵ Tunnel a=b, foo=bar\n"
        "\n"
        "Hint: try addressing the node by unique id (ex: tsh ssh user@node-id)\n"
        "Hint: use 'tsh ls -v' to list all nodes with their unique ids"
    )
