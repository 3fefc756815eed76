"""`tsh ssh`."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from protocol import names
from protocol.addresses import join_address, split_address
from protocol.console import terminal_width
from protocol.table import escape_text
from tsh.error import TshError
from tsh.plan import Journey, Stop
from tsh.setting import Settings, connection_options, login_option, settings_of
from tsh.target import Target, choose_login, parse_own_door, parse_target

if TYPE_CHECKING:
    from tsh.forward import Forward

_FAILED = 255  # OpenSSH's exit status for its own failures
_STDIN = 0


class _SshCommand(click.Command):
    """Takes options on both sides of the host, as OpenSSH does; what follows is the remote command, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, rest = self._split_options(args)
        after, remote = self._split_options(rest[1:])
        try:
            return super().parse_args(ctx, [*before, *after, "--", *rest[:1], *remote])
        except click.NoSuchOption as err:
            if err.option_name.startswith("--"):
                raise TshError(f"{err.format_message()} `tsh ssh --help` lists what there is.", _FAILED) from None
            raise TshError(
                f"tsh ssh has no {err.option_name}: ssh has, with what `tsh config` prints "
                "(tsh config > FILE; ssh -F FILE LOGIN@NODE.CLUSTER)",
                _FAILED,
            ) from None

    def _split_options(self, args: Sequence[str]) -> tuple[list[str], list[str]]:
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
            at += 2 if self._takes_next(args[at]) else 1
        options, rest = list(args[:at]), list(args[at:])
        return options, rest[1:] if rest[:1] == ["--"] else rest

    def _takes_next(self, argument: str) -> bool:
        """Tell whether the value of this option, or of the last of these short ones, is the next argument."""
        with_value = {
            flag
            for option in self.params
            if isinstance(option, click.Option) and not (option.is_flag or option.count)
            for flag in option.opts
        }
        if argument.startswith("--"):
            return argument in with_value
        places = [place for place, letter in enumerate(argument) if f"-{letter}" in with_value]
        return bool(places) and places[0] == len(argument) - 1


@click.command(
    name="ssh",
    cls=_SshCommand,
    short_help="Open a shell or run a command on a node.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("-t", "force_pty", count=True, help="Ask for a terminal, also for a command.")
@click.option("-T", "no_pty", is_flag=True, help="Ask for no terminal.")
@click.option("-A", "lend_agent", is_flag=True, help="Let the session use your ssh-agent.")
@click.option("-n", "no_stdin", is_flag=True, help="Pass no standard input on.")
@click.option("-N", "no_command", is_flag=True, help="Run nothing: only forward ports.")
@click.option("-p", "--port", type=click.IntRange(0, 65535), default=0, help="Port on the node; 0 for its agent.")
@click.option("-L", "forwards", multiple=True, metavar="[BIND:]PORT:HOST:PORT", help="Forward a local port.")
@click.option("--direct", metavar="HOST[:PORT]", help="Go straight to the node's own door, without the proxy.")
@click.argument("target", metavar="[LOGIN@]HOST")
@click.argument("remote", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@login_option
@connection_options
@click.pass_context
def command(  # noqa: PLR0913 - one for each flag
    ctx: click.Context,
    *,
    force_pty: int,
    no_pty: bool,
    lend_agent: bool,
    no_stdin: bool,
    no_command: bool,
    port: int,
    forwards: tuple[str, ...],
    direct: str | None,
    target: str,
    remote: tuple[str, ...],
) -> int:
    """Open a shell or run a command on a node, named by name, by UUID or by labels (env=staging)."""
    line = " ".join(remote) or None
    try:
        wish = Journey(
            port=port,
            command=line,
            pty=wants_pty(force=force_pty > 0, never=no_pty or no_command, command=line, terminal=os.isatty(_STDIN)),
            stdin=not no_stdin,
            session=not no_command,
            forwards=_read_forwards(forwards),
            key_agent=_own_agent() if lend_agent else None,
            direct=join_address(*_read_direct(direct, port)) if direct is not None else "",
        )
        return _go(settings_of(ctx), parse_target(target), wish)
    except ValueError as err:
        raise TshError(f"cannot connect to {escape_text(target)!r}: {err}", _FAILED) from None
    except TshError as err:
        err.status = _FAILED
        raise


def wants_pty(*, force: bool, never: bool, command: str | None, terminal: bool) -> bool:
    """Tell whether to ask for a terminal: for a shell at a terminal, or where the person insists."""
    if never:
        return False
    return force or (command is None and terminal)


def _go(settings: Settings, target: Target, wish: Journey) -> int:
    folder = settings.folder()
    profile = settings.profile()
    facts = folder.valid_facts(profile, datetime.now(UTC))
    asked = (settings.login, target.login, os.environ.get("SKERRY_LOGIN"))
    login = names.parse_login(choose_login(asked, facts.logins, _account()))
    if wish.direct and target.labels:
        raise TshError("--direct needs the node's name or UUID: only the proxy knows labels")
    stops = _matching(settings, target, wish) if target.labels else [Stop(target.host, target.host)]
    from tsh.dial import start_dialling
    from tsh.library import load_ssh_library

    door = split_address(wish.direct) if wish.direct else (profile.ssh_host, profile.ssh_port)
    dialled = start_dialling(*door)
    load_ssh_library(debug=settings.debug)
    from tsh.client import Client
    from tsh.journey import run_to_end, travel

    client = Client(profile, folder.keys(profile), dialled)
    return run_to_end(travel(client, replace(wish, stops=stops, login=login)))


def _read_direct(text: str, port: int) -> tuple[str, int]:
    """Return host and port of the node's own door."""
    if port:
        raise click.BadParameter("say the port in --direct HOST:PORT", param_hint="-p")
    try:
        return parse_own_door(text)
    except ValueError as err:
        raise click.BadParameter(str(err), param_hint="--direct") from None


def _read_forwards(specs: Sequence[str]) -> list[Forward]:
    if not specs:
        return []
    from tsh.forward import parse_forward

    try:
        return [parse_forward(spec) for spec in specs]
    except ValueError as err:
        raise click.BadParameter(str(err), param_hint="-L") from None


def _matching(settings: Settings, target: Target, wish: Journey) -> list[Stop]:
    """Return the nodes with the target's labels: one, or any number where a command runs on each."""
    from protocol.listing import describe_ambiguous
    from tsh.inventory import choose_nodes, list_nodes

    found = choose_nodes(list_nodes(settings), target.labels)
    if not found:
        raise TshError(f"no node has the labels {names.format_labels(target.labels)}; `tsh ls` lists those there are")
    if len(found) > 1 and (wish.command is None or not wish.session):
        raise TshError(describe_ambiguous(found, terminal_width()))
    return [Stop(node.node_id, node.name) for node in found]


def _own_agent() -> str | None:
    """Return where the person's ssh-agent listens."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        click.echo("WARNING: -A has no effect: no ssh-agent runs here (SSH_AUTH_SOCK is not set)", err=True)
    return path or None


def _account() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
