"""`tsh login`."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from protocol import limits
from protocol.durations import BadDurationError, parse_duration
from protocol.pins import PinError, parse_pin
from tsh.commands.status import render_status
from tsh.error import TshError
from tsh.profile import Profile, ProfileFolder
from tsh.setting import Settings, connection_options, settings_of, ttl_option

if TYPE_CHECKING:
    from tsh.web_door import Trust


@click.command(name="login", short_help="Sign in to a cluster and get a certificate.")
@click.option("--ca-pin", "ca_pins", multiple=True, metavar="sha256:…", help="Trust the authority with this pin only.")
@ttl_option
@connection_options
@click.pass_context
def command(ctx: click.Context, ca_pins: tuple[str, ...]) -> int:
    """Sign in to a cluster with password and one-time code, and get a certificate."""
    settings = settings_of(ctx)
    folder = settings.folder()
    profile = None if ca_pins or settings.ttl else _still_valid(settings, folder)
    if profile is None:
        profile = _sign_in(settings, folder, ca_pins)
    click.echo(render_status(profile, folder.facts(profile), datetime.now(UTC), active=True))
    return 0


def _still_valid(settings: Settings, folder: ProfileFolder) -> Profile | None:
    """Return the profile that makes another sign-in needless, if there is one."""
    try:
        profile = settings.profile()
        valid = folder.facts(profile).valid_before > datetime.now(UTC) and not folder.keys(profile).is_refused()
        same_trust = folder.load(profile.host).insecure or not settings.insecure
    except TshError:
        return None  # missing or damaged: a new sign-in mends it
    if not (valid and same_trust):
        return None
    folder.activate(profile)
    return profile


def _sign_in(settings: Settings, folder: ProfileFolder, ca_pins: tuple[str, ...]) -> Profile:
    from tsh.prompt import ask_hidden, ask_shown
    from tsh.sign_in import find_door, parse_user, sign_in
    from tsh.web_door import Trust

    if ca_pins and settings.insecure:
        raise click.UsageError("--ca-pin and --insecure exclude each other.")
    pins, ttl = _read_pins(ca_pins), _read_ttl(settings.ttl)
    host, port, trust = _where(settings, folder)
    user = parse_user(settings.user or _earlier_user(folder, host), os.environ.get("USER") or _account())
    if settings.insecure:
        trust = Trust(insecure=True)
    door = find_door(host, port, trust, pins, user)
    questions = (
        lambda: ask_hidden(f"Enter password for Skerry user {user}:"),
        lambda: ask_shown("Enter your OTP token:"),
    )
    return sign_in(door, user, ttl, folder, questions)


def _read_pins(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(parse_pin(text) for text in texts)
    except PinError as err:
        raise click.BadParameter(str(err), param_hint="--ca-pin") from None


def _read_ttl(text: str | None) -> timedelta:
    """Return how long the certificate is to live: as long as may be, unless the person says otherwise."""
    most = limits.USER_CERTIFICATE_MAX
    try:
        ttl = parse_duration(text) if text else most
    except BadDurationError as err:
        raise click.BadParameter(str(err), param_hint="--ttl") from None
    if ttl > most:
        click.echo(f"WARNING: --ttl={text}: {most // timedelta(hours=1)}h is the most a certificate lives", err=True)
    return min(ttl, most)


def _where(settings: Settings, folder: ProfileFolder) -> tuple[str, int | None, Trust]:
    """Return the host, its port and what to trust there: as the person says, or as the earlier sign-in did."""
    from tsh.web_door import Trust

    address = settings.proxy_address()
    try:
        earlier = folder.load(address[0] if address else None)
    except TshError:
        earlier = None
    if earlier is not None and (address is None or address[1] in (None, earlier.port)):
        return earlier.host, earlier.port, Trust(earlier.anchors, earlier.insecure)
    if address is None:
        raise TshError("which cluster? Name its web address: tsh login --proxy=HOST --user=USER")
    return address[0], address[1], Trust()


def _earlier_user(folder: ProfileFolder, host: str) -> str | None:
    try:
        return folder.load(host).user
    except TshError:
        return None


def _account() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
