"""Nodes as people see them listed, by `tsh`, by `tctl`, and in what the proxy says of an ambiguous name."""

from __future__ import annotations

from collections.abc import Iterable

from protocol import names
from protocol.messages import NodeEntry
from protocol.table import render_table


def render_nodes(nodes: Iterable[NodeEntry], *, with_ids: bool = False, width: int | None = None) -> str:
    """Return the listing of `nodes`, by name, then by id."""
    headers = ["Node Name", *(["Node ID"] if with_ids else []), "Address", "Labels"]
    ordered = sorted(nodes, key=lambda node: (node.name, node.node_id))
    rows = (
        [node.name, *([node.node_id] if with_ids else []), node.address, names.format_labels(node.labels)]
        for node in ordered
    )
    return render_table(headers, rows, width)


def describe_ambiguous(nodes: Iterable[NodeEntry], width: int | None = None) -> str:
    """Return what a person reads who named a host that several nodes answer to."""
    return "\n".join(
        [
            "ambiguous host could match multiple nodes",
            "",
            render_nodes(nodes, with_ids=True, width=width),
            "",
            "Hint: try addressing the node by unique id (ex: tsh ssh user@node-id)",
            "Hint: use 'tsh ls -v' to list all nodes with their unique ids",
        ]
    )
