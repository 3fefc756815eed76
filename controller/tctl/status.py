"""`tctl status`: the cluster at a glance, and whether its controller runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import click

from controller.addresses import BoundAddresses, answers
from controller.authority import Rotation
from controller.overview import AuthorityView, Overview, overlook
from controller.tctl.host import Desk, at_desk
from controller.tctl.setting import Settings, format_option, say_facts, say_json, shared_options, show_names
from protocol.addresses import join_address
from protocol.instants import show_instant
from protocol.sizes import format_size

# The web door is on this very host: it answers at once or not at all.
_PATIENCE = timedelta(seconds=2)
_NAMED_MAX = 15


@click.command(name="status", short_help="Show the cluster, and whether its controller runs.")
@format_option
@shared_options
@click.pass_obj
def command(settings: Settings, form: str) -> None:
    """Show the cluster, its authorities and nodes, and whether its controller runs."""
    with at_desk(settings) as desk:
        door, found = _open_door(desk), overlook(desk.cluster)
    if form == "json":
        say_json({"running": door is not None, **found.to_dict()})
        return
    say_facts(_rows(found, door))


def _open_door(desk: Desk) -> str | None:
    """Return where the web door listens; None where nothing answers there: the controller does not run."""
    bound = BoundAddresses.last(desk.cluster.config.data_dir)
    return join_address(*bound.web) if bound and answers(bound.web, _PATIENCE) else None


def _rows(found: Overview, door: str | None) -> Iterator[tuple[str, str]]:
    yield "Cluster", found.cluster
    yield "Controller", f"running, web door at {door}" if door else "not running"
    yield "Version", found.version
    for kind, view in found.authorities.items():
        yield f"{kind} CA", describe_rotation(view.rotation) + _awaited(view)
        for index, fingerprint in enumerate(view.fingerprints):
            yield "", fingerprint if len(view.fingerprints) == 1 else f"{fingerprint} {_role(index)}"
    for pin in found.pins:
        yield "CA pin", pin
    yield "Nodes", _nodes(found)
    yield "Tunnels", str(found.tunnels)
    yield "Sessions", str(found.sessions)
    yield "Uploads", _uploads(found)
    yield "Broker", _broker(found)


def _role(index: int) -> str:
    return "(trusted)" if index else "(signs)"


def describe_rotation(rotation: Rotation) -> str:
    """Return how far a rotation has come, as Teleport's `tctl status` says it."""
    if rotation.phase != "standby":
        started = show_instant(rotation.started) if rotation.started else "?"
        return f"{rotation.phase} (mode: manual, started: {started})"
    return f"rotated {show_instant(rotation.finished)}" if rotation.finished else "never updated"


def _awaited(view: AuthorityView) -> str:
    if view.awaited is None:
        return ""
    if not view.awaited:
        return "; all nodes have renewed"
    has = "1 node has" if len(view.awaited) == 1 else f"{len(view.awaited)} nodes have"
    return f"; {has} not renewed yet: {show_names(view.awaited, _NAMED_MAX)}"


def _nodes(found: Overview) -> str:
    total = sum(found.nodes.values())
    states = ", ".join(f"{number} {status}" for status, number in found.nodes.items() if number)
    return f"{total}: {states}" if total else "none have joined"


def _uploads(found: Overview) -> str:
    backlog = found.backlog
    if not backlog.files:
        return "nothing waits on nodes"
    recordings = "1 recording" if backlog.files == 1 else f"{backlog.files} recordings"
    nodes = "1 node" if backlog.nodes == 1 else f"{backlog.nodes} nodes"
    return f"{recordings}, {format_size(backlog.bytes)}, {'waits' if backlog.files == 1 else 'wait'} on {nodes}"


def _broker(found: Overview) -> str:
    health = found.broker
    since = f" since {show_instant(health.since)}" if health.since else ""
    return f"up{since}" if health.is_up else f"down{since}: {health.reason}"
