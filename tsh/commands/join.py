"""`tsh join`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from protocol import names
from protocol.addresses import join_address, split_address
from protocol.table import escape_text
from tsh.error import TshError
from tsh.plan import Journey, Stop
from tsh.setting import Settings, connection_options, login_option, settings_of
from tsh.target import parse_own_door, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.names import SessionId

_FAILED = 255  # OpenSSH's exit status for its own failures
_STDIN = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a session is."""

    session: SessionId
    login: str
    stop: Stop


@click.command(name="join", short_help="Join somebody's session, to watch or to type.")
@click.option(
    "--mode",
    type=click.Choice(["observer", "peer", "moderator"]),
    default="observer",
    show_default=True,
    help="Watch; type as well; or watch, and end it if need be.",
)
@click.option("--direct", metavar="HOST[:PORT]", help="Go straight to the node's own door, without the proxy.")
@click.option("--node", metavar="[LOGIN@]NODE", help="Where the session is, instead of asking the cluster.")
@click.argument("session", metavar="SESSION")
@login_option
@connection_options
@click.pass_context
def command(ctx: click.Context, *, mode: str, direct: str | None, node: str | None, session: str) -> int:
    """Join a session that is going on, named by its ID or at least the first 8 characters of that.

    \b
    observer     sees what is shown; CTRL-C leaves, other keys do nothing
    peer         types as well
    moderator    sees what is shown; CTRL-C leaves, t ends the session for all

    ~. at the beginning of a line leaves in every mode. The terminal is as large as the smallest of all that are
    joined. Everybody in the session sees who joins and leaves, and it is in the recording and in the audit log.

    With --direct the cluster is not asked: say where the session is, and whose account it runs in, with
    --node and --login.

    The exit status is 0 for who has left by a key, the session's where it has ended, 255 where it could not be joined
    or the connection went.
    """  # noqa: D301 - click keeps the lines of what follows its \b
    settings = settings_of(ctx)
    try:
        door = _own_door(direct)
        place = _place(settings, node, session) if node or direct else _ask_for(settings, session)
        return _go(settings, place, mode, door)
    except ValueError as err:
        raise TshError(f"cannot join {escape_text(session)!r}: {err}", _FAILED) from None
    except TshError as err:
        err.status = _FAILED
        raise


def _own_door(direct: str | None) -> str:
    try:
        return "" if direct is None else join_address(*parse_own_door(direct))
    except ValueError as err:
        raise click.BadParameter(str(err), param_hint="--direct") from None


def _ask_for(settings: Settings, text: str) -> _Place:
    from tsh.live_sessions import find_session

    entry = find_session(settings, text)
    return _Place(entry.live.session, entry.live.login, Stop(entry.node_id, entry.name))


def _place(settings: Settings, node: str | None, text: str) -> _Place:
    """Return where the person says it is."""
    if not node:
        raise TshError("--direct needs the node's name or UUID, and the session's login: --node=NODE --login=LOGIN")
    if not names.is_uuid(text):
        raise TshError(f"with --node the session's whole ID is needed, not {escape_text(text)!r}")
    target = parse_target(node)
    if target.labels:
        raise TshError("--node needs the node's name or UUID: only the cluster knows labels")
    permitted = settings.folder().valid_facts(settings.profile(), datetime.now(UTC)).logins
    login = settings.login or target.login or os.environ.get("SKERRY_LOGIN") or _only(permitted)
    return _Place(names.parse_session_id(text), names.parse_login(login), Stop(target.host, target.host))


def _only(logins: Sequence[str]) -> str:
    if len(logins) != 1:
        raise TshError(f"which account does the session run in? Say so with --login ({', '.join(sorted(logins))})")
    return logins[0]


def _go(settings: Settings, place: _Place, mode: str, direct: str) -> int:
    from protocol.joining import parse_join_mode
    from tsh.company import describe_joining, plan_joining

    folder, profile = settings.folder(), settings.profile()
    folder.valid_facts(profile, datetime.now(UTC))
    joining = plan_joining(place.session, parse_join_mode(mode))
    terminal = os.isatty(_STDIN)
    journey = Journey(
        command=None,
        pty=terminal,
        stdin=terminal or mode == "peer",
        stops=[place.stop],
        login=place.login,
        direct=direct,
        joining=joining,
    )
    from tsh.dial import start_dialling
    from tsh.library import load_ssh_library

    sys.stderr.write(describe_joining(joining, place.stop.name, place.login))
    sys.stderr.flush()
    dialled = start_dialling(*(split_address(direct) if direct else (profile.ssh_host, profile.ssh_port)))
    load_ssh_library(debug=settings.debug)
    from tsh.client import Client
    from tsh.journey import run_to_end, travel

    return run_to_end(travel(Client(profile, folder.keys(profile), dialled), journey))
