"""`tctl nodes`: the devices that have joined, and taking one out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from controller.fleet import NodeView
from controller.policy.route import find_named
from controller.tctl.error import TctlError
from controller.tctl.host import at_desk
from controller.tctl.setting import (
    Settings,
    format_option,
    parsed,
    say,
    say_json,
    shared_options,
    show_instant,
    terminal_width,
)
from protocol import names
from protocol.events import Json
from protocol.instants import format_instant
from protocol.listing import render_nodes
from protocol.table import render_table


@click.group(name="nodes")
@shared_options
def command() -> None:
    """List and remove the devices that have joined."""


@command.command(name="ls")
@click.option("-v", "--verbose", is_flag=True, help="Show UUIDs, and whether each holds its tunnel.")
@click.argument(
    "labels", type=parsed("LABELS", names.parse_labels_text), default="", required=False, metavar="[NAME=VALUE,…]"
)
@format_option
@shared_options
@click.pass_obj
def list_(settings: Settings, *, verbose: bool, labels: Mapping[str, str], form: str) -> None:
    """List all nodes, or those with the given labels."""
    with at_desk(settings) as desk:
        found = [node for node in desk.cluster.fleet.all() if labels.items() <= node.labels.items()]
    if form == "json":
        say_json([_as_json(node) for node in found])
    elif not found:
        say("No nodes found")
    elif verbose:
        say(_table(found))
    else:
        say(render_nodes((node.entry() for node in found), width=terminal_width()))


@command.command(name="rm")
@click.argument("node", metavar="NAME|UUID")
@shared_options
@click.pass_obj
def remove(settings: Settings, node: str) -> None:
    """Remove a node: its certificates are void at once.

    Its tunnel is cut within a second or two, and whatever runs through it. To come back it has to join anew.
    """
    with at_desk(settings) as desk:
        nodes = desk.cluster.enrolment.nodes
        named = {found.node_id for found in find_named(node, nodes.targets())}
        if not named:
            raise TctlError(f'node "{node}" not found: `tctl nodes ls -v` lists them')
        if len(named) > 1:
            raise TctlError(_ambiguous(node, [each for each in desk.cluster.fleet.all() if each.node_id in named]))
        gone = nodes.remove(named.pop(), desk.origin)
    say(f'node "{gone.name}" ({gone.node_id}) has been removed')


def _ambiguous(name: str, found: Sequence[NodeView]) -> str:
    return f"{len(found)} nodes are named {name}: say which one by its UUID\n\n{_table(found)}"


def _table(nodes: Sequence[NodeView]) -> str:
    headers = ["Node Name", "Node ID", "Tunnel", "Address", "Labels"]
    return render_table(headers, (_row(node) for node in nodes), terminal_width())


def _row(node: NodeView) -> list[str]:
    tunnel = node.tunnel if node.since is None else f"{node.tunnel} since {show_instant(node.since)}"
    return [node.name, node.node_id, tunnel, node.entry().address, names.format_labels(node.labels)]


def _as_json(node: NodeView) -> Json:
    return node.entry().to_dict() | {
        "tunnel": node.tunnel,
        "since": None if node.since is None else format_instant(node.since),
        "version": node.version,
        "joined": format_instant(node.joined),
    }
