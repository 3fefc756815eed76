"""`tsh logout`."""

from __future__ import annotations

import click

from protocol.endpoints import SIGN_OUT
from tsh.error import NotSignedInError, TshError
from tsh.profile import ProfileFolder
from tsh.setting import connection_options, settings_of


@click.command(name="logout", short_help="Sign out and delete the certificate.")
@connection_options
@click.pass_context
def command(ctx: click.Context) -> int:
    """Sign out of the active cluster, or that of --proxy: tell it, and delete the keys here."""
    settings = settings_of(ctx)
    folder = settings.folder()
    address = settings.proxy_address()
    host = address[0] if address else folder.current_host()
    if host is None or host not in folder.hosts():
        click.echo(f"Nobody is signed in to {host}." if host else "All users logged out.")
        return 0
    _sign_out(folder, host)
    folder.remove(host)
    click.echo(f"Logged out of {host}.")
    return 0


def _sign_out(folder: ProfileFolder, host: str) -> None:
    """Tell the web door, where it can be told: the keys go in any case."""
    try:
        profile = folder.load(host)
    except TshError:
        return  # damaged: there is nothing to tell with
    from tsh.web_door import Trust, WebDoor

    try:
        door = WebDoor(profile.host, profile.port, Trust(profile.anchors, profile.insecure), user=profile.user)
        door.ask(SIGN_OUT, {}, profile.session_token)
    except NotSignedInError:
        pass  # the cluster has ended the session already
    except TshError as err:
        click.echo(f"WARNING: the cluster was not told of the sign-out: {err}", err=True)
