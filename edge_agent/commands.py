"""`edge-agent`'s commands."""

from __future__ import annotations

import importlib
import io
import os
import platform
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import click

from protocol.version import __version__

# Commands that are defined elsewhere, by the module that does it: it is imported when the command is asked for.
_ELSEWHERE = {
    "doctor": "edge_agent.operations.commands",
    "install": "edge_agent.rollout.commands",
    "remove": "edge_agent.rollout.commands",
    "support-bundle": "edge_agent.operations.commands",
    "upgrade": "edge_agent.rollout.commands",
}

_SEVERITIES = ("DEBUG", "INFO", "WARN", "ERROR")


class _Program(click.Group):
    """The command; whatever ends it is said in one manner."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        if module := _ELSEWHERE.get(cmd_name):
            command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
            return command if isinstance(command, click.Command) else None
        return super().get_command(ctx, cmd_name)

    def main(self, *arguments: Any, **options: Any) -> NoReturn:  # noqa: ANN401 - click's
        """Run it and exit."""
        try:
            status = super().main(*arguments, **{"prog_name": "edge-agent", **options, "standalone_mode": False})
        except click.ClickException as err:
            said = io.StringIO()
            err.show(said)
            click.echo(re.sub(r"(?m)^Error: ", "ERROR: ", said.getvalue(), count=1), nl=False, err=True)
            sys.exit(err.exit_code)
        except click.Abort:
            sys.exit(128 + signal.SIGINT)
        sys.exit(status if isinstance(status, int) else 0)


def _say_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(_version())
        ctx.exit()


def _version() -> str:
    return f"Skerry v{__version__} edge-agent python{platform.python_version()}"


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Print the version."
)
def program() -> None:
    """Skerry's agent: makes this device reachable through its controller."""


@program.command()
@click.option(
    "--controller", metavar="HOST:PORT", help="The controller's web address. Needed until this device has joined."
)
@click.option("--token", metavar="TOKEN", help="Join token, or the path of a file that holds it. Needed once.")
@click.option("--ca-pin", "ca_pins", multiple=True, metavar="sha256:…", help="Pin of the controller's CA.")
@click.option("--labels", metavar="a=b,c=d", help="Labels to claim.")
@click.option("--nodename", metavar="NAME", help="Name to ask for, instead of the host's.")
@click.option(
    "--data-dir",
    metavar="DIR",
    help="Where identity and unsent events live. "
    "[default: /var/lib/skerry-agent; not as root: ~/.local/share/skerry-agent]",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help="Settings in YAML (see `edge-agent configure`). "
    "[default, where it exists: /etc/skerry/edge_agent.yaml; not as root: ~/.config/skerry/edge_agent.yaml]",
)
@click.option("--insecure", is_flag=True, help="Do not check the controller's certificate when joining.")
@click.option("--rejoin", is_flag=True, help="Join again, with --token and the keys this device has.")
@click.option("-d", "--debug", is_flag=True, help="Log more.")
def start(  # noqa: PLR0913, PLR0917 - one argument for each option, as click has it
    controller: str | None,
    token: str | None,
    ca_pins: tuple[str, ...],
    labels: str | None,
    nodename: str | None,
    data_dir: str | None,
    config: str | None,
    insecure: bool,
    rejoin: bool,
    debug: bool,
) -> None:
    """Join the cluster, if need be, and serve until stopped."""
    from edge_agent.config import ConfigError, Options, load_settings
    from edge_agent.handover import HandoverError
    from edge_agent.identity import IdentityError
    from edge_agent.log import set_up_log
    from edge_agent.service import StartError, find_joined
    from edge_agent.service import start as start_agent

    options = Options(controller, nodename, data_dir, labels, ca_pins, insecure, debug, config)
    try:
        settings = load_settings(options, euid=os.geteuid(), find_joined=find_joined)
        set_up_log(settings.severity)
        start_agent(settings, token, rejoin=rejoin)
    except ConfigError as err:
        _fail(str(err), 2)
    except (HandoverError, IdentityError, StartError) as err:
        _fail(str(err), 1)


_WHOSE_DATA = click.option("--data-dir", metavar="DIR", help="Of the agent that runs on this directory.")
_WHOSE_SETTINGS = click.option("-c", "--config", metavar="FILE", help="Of the agent that runs by these settings.")


@program.command()
@_WHOSE_DATA
@_WHOSE_SETTINGS
@click.option("--agent", is_flag=True, help="Tell of the agent also inside a session.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to print the agent's.",
)
def status(data_dir: str | None, config: str | None, agent: bool, form: str) -> None:
    """Tell how the agent is doing; in a session: whose it is.

    Exit status: 0 it is online, 3 it runs and is not online, 1 it does not run.
    """
    session = None if agent or form == "json" or data_dir else describe_session(os.environ)
    if session is not None:
        click.echo(session)
        return
    from edge_agent.inquiry import NOT_ONLINE, NOT_RUNNING, ONLINE, InquiryError, find_agent
    from edge_agent.policy.status import report
    from protocol.console import terminal_width

    try:
        found = find_agent(data_dir, config)
    except InquiryError as err:
        _fail(str(err), NOT_RUNNING)
    if found is None:
        _fail(f"not inside a Skerry session, and no agent runs on this device: {_how_to_start()}", NOT_RUNNING)
    click.echo(found[0].encode().decode() if form == "json" else report(found[0], terminal_width()), nl=form != "json")
    sys.exit(ONLINE if found[0].is_online else NOT_ONLINE)


@program.group()
def debug() -> None:
    """Look into the running agent."""


def _severity(_context: object, _parameter: object, text: str) -> str:
    """Return the level, in any case; WARNING for WARN, as the controller has it."""
    level = "WARN" if text.upper() == "WARNING" else text.upper()
    if level == "SETTINGS":
        return "settings"
    if level not in _SEVERITIES:
        raise click.BadParameter(f"should be one of {', '.join(_SEVERITIES)}, or settings")
    return level


@debug.command(name="set-log-level")
@click.argument("level", metavar="DEBUG|INFO|WARN|ERROR|settings", callback=_severity)
@_WHOSE_DATA
@_WHOSE_SETTINGS
def set_log_level(level: str, data_dir: str | None, config: str | None) -> None:
    """Log by another level, until it is started again.

    "settings": by edge_agent.yaml again.
    """
    from edge_agent.inquiry import InquiryError, set_severity

    try:
        click.echo(f"the agent logs what is {set_severity(level, data_dir, config).severity} and above")
    except InquiryError as err:
        _fail(str(err), 1)


@debug.command(name="get-log-level")
@_WHOSE_DATA
@_WHOSE_SETTINGS
def get_log_level(data_dir: str | None, config: str | None) -> None:
    """Print the level by which it logs now."""
    from edge_agent.inquiry import InquiryError, get_severity

    try:
        click.echo(get_severity(data_dir, config))
    except InquiryError as err:
        _fail(str(err), 1)


@program.command()
def version() -> None:
    """Print the version."""
    click.echo(_version())


@program.command()
@click.option("--controller", metavar="HOST:PORT", help="Fill in the controller's address.")
@click.option("--test", "tested", metavar="FILE", help="Print none, and only say whether FILE can be used.")
def configure(controller: str | None, tested: str | None) -> None:
    """Print a commented edge_agent.yaml."""
    from edge_agent.config import ConfigError, Options, load_settings, template

    if tested is not None:
        from edge_agent.service import find_joined

        try:
            load_settings(Options(controller=controller, config=tested), euid=os.geteuid(), find_joined=find_joined)
        except ConfigError as err:
            _fail(str(err), 2)
        click.echo(f"{tested}: an agent can run by it.")
        return
    click.echo(template(controller) if controller else template(), nl=False)


def describe_session(environment: Mapping[str, str]) -> str | None:
    """Return what `status` prints inside a session; None outside."""
    session, user = environment.get("SSH_SESSION_ID"), environment.get("SSH_SKERRY_USER")
    if not session or not user:
        return None
    login, client = environment.get("USER", "?"), environment.get("SSH_CLIENT", "?")
    web = environment.get("SSH_SESSION_WEBPROXY_ADDR", "")
    return (
        f"User ID    : {user}, logged in as {login} from {client}\n"
        f"Session ID : {session}\n"
        f"Session URL: https://{web}/web/sessions/{session}"
    )


def _how_to_start() -> str:
    from edge_agent.policy.layout import Layout

    if Path(Layout().booted).is_dir():
        return "systemctl start skerry-agent; where the device has not joined: edge-agent install --help"
    return "edge-agent start; where the device has not joined: edge-agent start --help"


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"ERROR: {message}", err=True)
    sys.exit(code)
