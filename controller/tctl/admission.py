"""`tctl nodes approve|reject|label`: who is let in, and what an admin says of a device once it is."""

from __future__ import annotations

from collections.abc import Collection

import click

from controller.enrolment.nodes import NodeRecord
from controller.fleet import NodeView
from controller.policy.label import LabelChange, parse_label_change
from controller.policy.route import find_named
from controller.tctl.error import TctlError
from controller.tctl.host import Desk, at_desk
from controller.tctl.setting import (
    Settings,
    complain,
    format_option,
    parsed,
    say,
    say_json,
    shared_options,
)
from protocol import names
from protocol.console import terminal_width
from protocol.instants import show_instant
from protocol.names import NodeId
from protocol.table import render_table


def find_one(desk: Desk, named: str, *, pending: bool = False) -> NodeRecord:
    """Return the node of that name or UUID.

    Args:
        desk: where the cluster is.
        named: what the admin typed.
        pending: look only among those that wait for approval.

    Raises:
        TctlError: there is none, or there are several of that name.
    """
    nodes = [node for node in desk.cluster.enrolment.nodes.list() if node.pending or not pending]
    wanted = {target.node_id for target in find_named(named, {node.node_id: node.target() for node in nodes})}
    found = [node for node in nodes if node.node_id in wanted]
    if not found:
        what = "waits for approval" if pending else "not found"
        raise TctlError(f'{"no " if pending else ""}node "{named}" {what}: `tctl nodes ls -v` lists them')
    if len(found) > 1:
        raise TctlError(_ambiguous(desk, named, wanted))
    return found[0]


def _ambiguous(desk: Desk, name: str, wanted: Collection[NodeId]) -> str:
    """Return the nodes of that name, and how each is: a device that is set up anew leaves its former one behind."""
    found = [view for view in desk.cluster.fleet.all() if view.node_id in wanted]
    rows = ([view.name, view.node_id, *_last(view), names.format_labels(view.labels)] for view in found)
    table = render_table(["Node Name", "Node ID", "Status", "Last Seen", "Labels"], rows, terminal_width())
    return (
        f"{len(wanted)} nodes are named {name}: say which one by its UUID\n\n{table}\n\n"
        "Hint: give the Node ID in place of the name; `tctl nodes show NODE-ID` tells all that is known of one"
    )


def _last(view: NodeView) -> tuple[str, str]:
    seen = view.standing.last_seen
    return view.status, show_instant(seen) if seen else "-"


@click.command(name="approve")
@click.argument("node", metavar="NAME|UUID")
@shared_options
@click.pass_obj
def approve(settings: Settings, node: str) -> None:
    """Let a device in that waits for approval.

    It asks every few seconds, and has its certificates soon after.
    """
    with at_desk(settings) as desk:
        found = desk.cluster.enrolment.nodes.approve(find_one(desk, node, pending=True).node_id, desk.origin)
    say(f'node "{found.name}" ({found.node_id}) has been approved: it comes online within seconds')


@click.command(name="reject")
@click.argument("node", metavar="NAME|UUID")
@shared_options
@click.pass_obj
def reject(settings: Settings, node: str) -> None:
    """Turn a device away that waits for approval.

    Its token is good for it no more: to come back it needs another.
    """
    with at_desk(settings) as desk:
        found = desk.cluster.enrolment.nodes.reject(find_one(desk, node, pending=True).node_id, desk.origin)
    say(f'node "{found.name}" ({found.node_id}) has been rejected')


@click.command(name="label")
@click.argument("node", metavar="NAME|UUID")
@click.argument(
    "changes", type=parsed("CHANGE", parse_label_change), nargs=-1, required=True, metavar="NAME=VALUE|NAME-…"
)
@format_option
@shared_options
@click.pass_obj
def label(settings: Settings, node: str, changes: tuple[LabelChange, ...], form: str) -> None:
    """Change a node's labels: NAME=VALUE sets one, NAME- takes one off.

    Access goes by the new ones at once. The device hears of them when it is connected.
    """
    with at_desk(settings) as desk:
        before = find_one(desk, node)
        found = desk.cluster.enrolment.nodes.relabel(before.node_id, changes, desk.origin)
    for name in dict.fromkeys(each.name for each in changes if each.value is None and each.name not in before.labels):
        complain(f'WARNING: node "{found.name}" has no label {name} that could be taken off')
    if form == "json":
        say_json({"node_id": found.node_id, "name": found.name, "labels": dict(found.labels)})
    else:
        say(f'node "{found.name}" ({found.node_id}) has the labels: {names.format_labels(found.labels) or "none"}')
