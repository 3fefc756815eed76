"""`tctl lock`: keep a person, a login or a node out, whatever certificates say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import click

from controller.lock_aims import find_aim
from controller.tctl.host import Desk, at_desk
from controller.tctl.setting import Settings, parsed, say, shared_options, show_names
from protocol import limits, names
from protocol.durations import parse_duration
from protocol.locks import Lock, LockKind

_NAMED_MAX = 5


@click.command(name="lock", short_help="Keep a person, a login or a node out.")
@click.option("--user", type=parsed("USER", names.parse_user_name), metavar="NAME", help="Lock this person out.")
@click.option(
    "--login",
    type=parsed("LOGIN", names.parse_login),
    metavar="LOGIN",
    help="Nobody works as this operating-system user, on any node.",
)
@click.option("--node", metavar="NAME|UUID", help="Nobody works on this node, and its tunnel is cut.")
@click.option(
    "--message",
    default="",
    metavar="TEXT",
    help=f"Why: who is locked out reads it. At most {limits.LOCK_MESSAGE_MAX_CHARS} characters.",
)
@click.option(
    "--ttl",
    type=parsed("TIME", parse_duration),
    metavar="TIME",
    help="For how long, such as 1h.  [default: until `tctl locks rm`]",
)
@shared_options
@click.pass_obj
def command(
    settings: Settings, *, user: str | None, login: str | None, node: str | None, message: str, ttl: timedelta | None
) -> None:
    """Lock a person, a login or a node out: sessions end at once, and none begin.

    It holds at every door of the controller within a second, and on every node that is connected; a node that is not
    hears of it when it comes back, and until then nobody who may use a locked login is led to it. Nothing is removed:
    without the lock all is as before.
    """
    named: dict[LockKind, str | None] = {"user": user, "login": login, "node": node}
    targets = [(kind, value) for kind, value in named.items() if value is not None]
    if len(targets) != 1:
        raise click.UsageError("say one of --user, --login and --node: each lock is aimed at one thing.")
    kind, value = targets[0]
    with at_desk(settings) as desk:
        value = find_aim(kind, value, desk.cluster.accounts.users, desk.cluster.enrolment.nodes)
        earlier = desk.cluster.locks.find(**{kind: value})
        lock = desk.cluster.locks.add(kind, value, message, ttl, desk.origin)
        away = _away(desk, lock)
    say(f'Created a lock with name "{lock.lock_id}".')
    if earlier is not None:
        say(f'There is another one with the same target, "{earlier.lock_id}": each holds until it is removed itself.')
    if away:
        say(_describe(away))


def _away(desk: Desk, lock: Lock) -> Sequence[str]:
    """Return the names of the nodes that are to judge by a lock and cannot be told of it now."""
    nodes = (
        node for node in desk.cluster.fleet.all() if node.status != "pending" and node.standing.presence != "online"
    )
    return [node.name for node in nodes if lock.kind != "node" or node.node_id == lock.value]


def _describe(away: Sequence[str]) -> str:
    shown = show_names(away, _NAMED_MAX)
    if len(away) == 1:
        return f"1 node is not connected and learns of it when it is: {shown}"
    return f"{len(away)} nodes are not connected and learn of it when they are: {shown}"
