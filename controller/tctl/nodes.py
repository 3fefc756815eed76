"""`tctl nodes`: the devices that have joined, and taking one out. See also `controller.tctl.admission`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from controller.fleet import NodeView
from controller.tctl import admission, dossier
from controller.tctl.admission import find_one
from controller.tctl.error import TctlError
from controller.tctl.host import at_desk
from controller.tctl.setting import (
    Settings,
    format_option,
    parsed,
    say,
    say_facts,
    say_json,
    shared_options,
)
from protocol import names
from protocol.console import terminal_width
from protocol.events import Json
from protocol.instants import format_instant
from protocol.listing import node_json, render_nodes


@click.group(name="nodes")
@shared_options
def command() -> None:
    """List, approve, label and remove devices."""


@command.command(name="ls")
@click.option("-v", "--verbose", is_flag=True, help="Show UUIDs, and the status of each.")
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
    else:
        entries = (node.entry() for node in found)
        say(render_nodes(entries, with_ids=verbose, with_status=verbose, width=terminal_width()))


@command.command(name="show")
@click.argument("node", metavar="NAME|UUID")
@format_option
@shared_options
@click.pass_obj
def show(settings: Settings, node: str, form: str) -> None:
    """Show all that is known of one node, its last heartbeat included."""
    with at_desk(settings) as desk:
        record = find_one(desk, node)
        view, broker = desk.cluster.fleet.get(record.node_id), desk.cluster.mirror.health
        lock = desk.cluster.locks.find(node=record.node_id)
    if view is None:
        raise TctlError(f'node "{node}" has just been removed')
    if form == "json":
        say_json(_as_json(view) | dossier.as_json(view, record, lock))
    else:
        say_facts(dossier.as_facts(view, record, lock, broker))


@command.command(name="rm")
@click.argument("node", metavar="NAME|UUID")
@shared_options
@click.pass_obj
def remove(settings: Settings, node: str) -> None:
    """Remove a node: its certificates are void at once.

    Its tunnel is cut within a second or two, and whatever runs through it. To come back it has to join anew.
    """
    with at_desk(settings) as desk:
        gone = desk.cluster.enrolment.nodes.remove(find_one(desk, node).node_id, desk.origin)
    say(f'node "{gone.name}" ({gone.node_id}) has been removed')


command.add_command(admission.approve)
command.add_command(admission.reject)
command.add_command(admission.label)


def _as_json(node: NodeView) -> dict[str, Json]:
    since = None if node.tunnel_since is None else format_instant(node.tunnel_since)
    return node_json(node.entry()) | {"tunnel_since": since, "joined": format_instant(node.joined)}
