"""`edge-agent install`, `upgrade` and `remove`. What they do is imported when they are run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from edge_agent.policy.layout import Layout

if TYPE_CHECKING:
    from edge_agent.rollout.teller import Teller
    from edge_agent.rollout.upgrading import Wanted

_ROOT = click.option("--root", default="", hidden=True, help="Act on the device whose root directory is this one.")
_USAGE = 2


class _Span(click.ParamType[float]):
    """A span of time, in seconds: 30s, 5m, or 0."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        from protocol.durations import BadDurationError, parse_duration

        if isinstance(value, int | float) or str(value) in {"0", "0s"}:
            return float(str(value).removesuffix("s"))
        try:
            return parse_duration(str(value)).total_seconds()
        except BadDurationError as err:
            self.fail(str(err), param, ctx)


@click.command()
@click.option("--controller", metavar="HOST:PORT", help="The controller's web address.")
@click.option("--token", metavar="TOKEN", help="Join token, or the path of a file that holds it.")
@click.option("--ca-pin", "ca_pins", multiple=True, metavar="sha256:…", help="Pin of the controller's CA.")
@click.option("--nodename", metavar="NAME", help="Name to ask for, instead of the host's.")
@click.option("--labels", metavar="a=b,c=d", help="Labels to claim.")
@click.option("--no-start", is_flag=True, help="Do not start the service.")
@click.option("--wait", type=_Span(), default="2m", help="For how long to wait until it is online. [default: 2m]")
@click.option("--join-wait", type=_Span(), default="2m", hidden=True, help="For how long to try to join.")
@click.option("--unit", metavar="FILE", help="The service's unit, where the version brings none along.")
@click.option("--tree", hidden=True, help="The version to install, instead of the one that is run.")
@_ROOT
def install(  # noqa: PLR0913, PLR0917 - one argument for each option, as click has it
    controller: str | None,
    token: str | None,
    ca_pins: tuple[str, ...],
    nodename: str | None,
    labels: str | None,
    no_start: bool,
    wait: float,
    join_wait: float,
    unit: str | None,
    tree: str | None,
    root: str,
) -> None:
    """Install this version here, and join a cluster with it.

    Run it from an unpacked archive; it waits until the device is online. Whatever is refused leaves the device as it
    was; an installation that was cut off is gone on with. Exit status: 0 done, 1 refused, 3 installed but not online
    yet.
    """
    from edge_agent.handover import HandoverError, hide_token
    from edge_agent.rollout.fault import RolloutError
    from edge_agent.rollout.installing import Order, own_tree
    from edge_agent.rollout.installing import install as install_agent
    from edge_agent.rollout.joining import Wish
    from edge_agent.rollout.teller import Teller

    if token and _is_token(token):
        try:
            hide_token(token)
        except HandoverError as err:
            _fail(str(err))
    wish = Wish(controller, token, ca_pins, nodename, labels, join_wait)
    source = Path(tree).absolute() if tree else own_tree()
    order = Order(wish, source, Path(unit) if unit else None, has_start=not no_start, wait=wait)
    try:
        sys.exit(install_agent(Layout(root), order, Teller()))
    except RolloutError as err:
        _fail(str(err))


@click.command()
@click.argument("source", metavar="FILE.tar.gz|FILE.deb|DIRECTORY", required=False)
@click.option("--sha256", default="", metavar="HEX", help="Refuse a file with another SHA-256.")
@click.option(
    "--drain",
    type=_Span(),
    default="5m",
    help="For how long to wait for people to end their sessions; 0 cuts them at once. [default: 5m]",
)
@click.option("--wait", type=_Span(), default="2m", help="How soon the new version has to be online. [default: 2m]")
@click.option("--stay", type=_Span(), default="10s", hidden=True, help="For how long it has to stay so.")
@click.option("--detach", is_flag=True, help="Do not wait for the end: it goes on by itself in any case.")
@click.option("--status", is_flag=True, help="Say how the last upgrade went, or goes.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to say that.")
@click.option("--resume", is_flag=True, hidden=True, help="Carry through what was begun by this id: for the unit.")
@_ROOT
def upgrade(  # noqa: PLR0913, PLR0917 - one argument for each option, as click has it
    source: str | None,
    sha256: str,
    drain: float,
    wait: float,
    stay: float,
    detach: bool,
    status: bool,
    form: str,
    resume: bool,
    root: str,
) -> None:
    """Put another version here, with a way back.

    Where the new one does not come online, this one is put back. The service skerry-agent-upgrade does it, so it goes
    on where the session ends that it was asked from, and after a restart of the device. Exit status: 0 done, 1 refused
    and nothing changed, 4 rolled back.
    """
    from edge_agent.rollout.fault import RolloutError
    from edge_agent.rollout.teller import Teller

    layout, teller = Layout(root), Teller()
    try:
        if status:
            _say_status(layout, form)
            return
        _need_root()
        if resume:
            from edge_agent.rollout.runner import resume as carry_through

            sys.exit(carry_through(layout, source or "", teller))
        if source is None:
            raise click.UsageError("say which version: FILE.tar.gz, FILE.deb or DIRECTORY")
        from edge_agent.rollout.upgrading import Wanted

        wanted = Wanted(Path(source).absolute(), sha256, drain, wait, stay)
        sys.exit(_begin(layout, wanted, teller, detach=detach))
    except RolloutError as err:
        _fail(str(err))


def _begin(layout: Layout, wanted: Wanted, teller: Teller, *, detach: bool) -> int:
    from edge_agent.rollout.following import follow
    from edge_agent.rollout.upgrading import prepare

    record = prepare(layout, wanted, teller)
    if record is None:
        return 0
    teller.say(f"upgrading from {record.plan.old} to {record.plan.new} (edge-agent upgrade --status)")
    if detach:
        return 0
    try:
        return follow(layout, record.id, teller)
    except KeyboardInterrupt:
        teller.say("the upgrade goes on by itself: edge-agent upgrade --status")
        raise


def _say_status(layout: Layout, form: str) -> None:
    from edge_agent.rollout.following import describe
    from edge_agent.rollout.record import read_record
    from protocol.console import terminal_width

    record = read_record(layout)
    if form == "json":
        click.echo(json.dumps(record.to_dict() if record else {"state": "none"}, indent=2))
    else:
        click.echo(describe(record, terminal_width()) if record else "this device has not been upgraded yet")


@click.command()
@click.option("--purge", is_flag=True, help="Remove its settings, who this device is, and its log, too.")
@_ROOT
def remove(purge: bool, root: str) -> None:
    """Remove the agent from this device."""
    from edge_agent.rollout.fault import RolloutError
    from edge_agent.rollout.removing import remove as remove_agent
    from edge_agent.rollout.removing import remove_later
    from edge_agent.rollout.teller import Teller

    try:
        _need_root()
        again = [sys.executable, "-P", "-m", "edge_agent", "remove", *(["--purge"] if purge else [])]
        if not root and remove_later(Layout(), again, click.echo):
            return
        sys.exit(remove_agent(Layout(root), purge=purge, teller=Teller()))
    except RolloutError as err:
        _fail(str(err))


def _is_token(text: str) -> bool:
    from protocol.names import BadNameError, parse_token

    try:
        parse_token(text)
    except BadNameError:
        return False
    return True


def _need_root() -> None:
    from edge_agent.rollout.fault import RolloutError

    if os.geteuid() != 0:
        raise RolloutError("this needs root: run it with sudo")


def _fail(message: str) -> NoReturn:
    click.echo(f"ERROR: {message}", err=True)
    sys.exit(1)
