"""`tsh proxy ssh`: standard input and output as a channel to a node, for OpenSSH's ProxyCommand."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from protocol import names
from tsh.error import TshError
from tsh.setting import connection_options, settings_of
from tsh.target import parse_target

_FAILED = 255


@click.group(name="proxy")
@connection_options
def command() -> None:
    """Connect through the proxy for other programs."""


@command.command(name="ssh")
@click.argument("address", metavar="[LOGIN@]HOST[:PORT]")
@connection_options
@click.pass_context
def ssh(ctx: click.Context, address: str) -> int:
    """Relay standard input and output to a node's SSH server."""
    settings = settings_of(ctx)
    host, colon, port = address.rpartition(":")
    try:
        profile = settings.profile()
        settings.folder().valid_facts(profile, datetime.now(UTC))
        named = (host if colon and port.isdigit() else address).removesuffix(f".{profile.cluster}")
        target = parse_target(named)
        if target.labels:
            raise names.BadNameError("name one node, by its name or UUID")
    except ValueError as err:
        raise TshError(f"cannot connect to {address!r}: {err}", _FAILED) from None
    except TshError as err:
        err.status = _FAILED
        raise
    from tsh.dial import start_dialling
    from tsh.library import load_ssh_library

    dialled = start_dialling(profile.ssh_host, profile.ssh_port)
    load_ssh_library(debug=settings.debug)
    from tsh.client import Client
    from tsh.journey import run_to_end
    from tsh.relay import relay

    client = Client(profile, settings.folder().keys(profile), dialled)
    return run_to_end(relay(client, target.host, int(port) if colon and port.isdigit() else 0))
