"""`tctl locks`: which locks are in force, and taking one off."""

from __future__ import annotations

from collections.abc import Mapping

import click

from controller.tctl.host import at_desk
from controller.tctl.setting import (
    Settings,
    format_option,
    parsed,
    say,
    say_json,
    say_table,
    shared_options,
)
from protocol import names
from protocol.access import AccessTarget
from protocol.events import Json
from protocol.instants import format_instant, show_instant
from protocol.locks import Lock
from protocol.names import NodeId


def _parse_id(text: str) -> str:
    try:
        return names.parse_session_id(text)  # a UUID like a session's
    except names.BadNameError:
        raise ValueError(f"not the id of a lock (a UUID): {text!r}; `tctl locks ls` shows it") from None


@click.group(name="locks")
@shared_options
def command() -> None:
    """List and remove the locks in force; `tctl lock` makes one."""


@command.command(name="ls")
@format_option
@shared_options
@click.pass_obj
def list_(settings: Settings, form: str) -> None:
    """List the locks in force, the oldest first."""
    with at_desk(settings) as desk:
        found, nodes = desk.cluster.locks.list(), desk.cluster.enrolment.nodes.targets()
    if form == "json":
        say_json([_as_json(lock) for lock in found])
    elif found:
        say_table(["ID", "Target", "Message", "Expires"], ([*_row(lock, nodes)] for lock in found))
    else:
        say("No locks found")


@command.command(name="rm", short_help="Take a lock off.")
@click.argument("lock", type=parsed("ID", _parse_id), metavar="ID")
@shared_options
@click.pass_obj
def remove(settings: Settings, lock: str) -> None:
    """Take a lock off: within a second or two it holds nowhere that can be reached."""
    with at_desk(settings) as desk:
        gone = desk.cluster.locks.remove(lock, desk.origin)
    say(f'lock "{gone.lock_id}" has been deleted')


def _row(lock: Lock, nodes: Mapping[NodeId, AccessTarget]) -> tuple[str, str, str, str]:
    expires = "never" if lock.expires is None else show_instant(lock.expires)
    return lock.lock_id, _target(lock, nodes), lock.message, expires


def _target(lock: Lock, nodes: Mapping[NodeId, AccessTarget]) -> str:
    target = f'{lock.kind.capitalize()}:"{lock.value}"'
    node = nodes.get(NodeId(lock.value)) if lock.kind == "node" else None
    return target if node is None else f"{target} ({node.name})"


def _as_json(lock: Lock) -> Json:
    return {
        "id": lock.lock_id,
        "kind": lock.kind,
        "value": lock.value,
        "message": lock.message,
        "expires": None if lock.expires is None else format_instant(lock.expires),
        "created": format_instant(lock.created),
        "created_by": lock.created_by,
    }
