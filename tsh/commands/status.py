"""`tsh status`, and the block that `tsh login` ends with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from protocol.certificates import ROLES_EXTENSION
from protocol.durations import format_duration
from tsh.certificate import CertificateFacts
from tsh.error import TshError, not_signed_in
from tsh.profile import Profile
from tsh.setting import connection_options, settings_of

_MINUTE = timedelta(minutes=1)


def round_to_minutes(span: timedelta) -> timedelta:
    """Return `span` to the nearest minute, halves upwards, as Go's `Duration.Round` does."""
    return (span + _MINUTE / 2) // _MINUTE * _MINUTE


def render_validity(valid_before: datetime, now: datetime) -> str:
    """Return until when something is valid, and for how long from `now`, or ``[EXPIRED]``."""
    left = valid_before - now
    rest = f"valid for {format_duration(round_to_minutes(left))}" if left > timedelta(0) else "EXPIRED"
    return f"{valid_before:%Y-%m-%d %H:%M:%S} +0000 UTC [{rest}]"


def render_status(profile: Profile, facts: CertificateFacts, now: datetime, *, active: bool) -> str:
    """Return the block of lines about one profile; the active one is marked."""
    fields = [
        ("Profile URL", profile.url),
        ("Logged in as", profile.user),
        ("Cluster", profile.cluster),
        ("Roles", ", ".join(sorted(_roles(facts)))),
        ("Logins", ", ".join(sorted(facts.logins)) or "none"),
        ("Valid until", render_validity(facts.valid_before, now)),
        ("Extensions", ", ".join(facts.permissions())),
    ]
    lines = [f"  {name + ':':<20}{value}" for name, value in fields]
    return "\n".join([(">" if active else " ") + lines[0][1:], *lines[1:]])


def _roles(facts: CertificateFacts) -> list[str]:
    return [role for role in facts.extensions.get(ROLES_EXTENSION, "").split(",") if role]


def _describe(profile: Profile, facts: CertificateFacts, *, active: bool) -> dict[str, object]:
    return {
        "active": active,
        "profile_url": profile.url,
        "username": profile.user,
        "cluster": profile.cluster,
        "roles": sorted(_roles(facts)),
        "logins": sorted(facts.logins),
        "kubernetes_enabled": False,
        "extensions": facts.permissions(),
        "valid_until": f"{facts.valid_before:%Y-%m-%dT%H:%M:%SZ}",
        "expired": facts.valid_before <= datetime.now(UTC),
    }


@click.command(name="status")
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@connection_options
@click.pass_context
def command(ctx: click.Context, form: str) -> int:
    """Show who is signed in where, and until when."""
    settings = settings_of(ctx)
    folder = settings.folder()
    address = settings.proxy_address()
    hosts = [host for host in folder.hosts() if address is None or host == address[0]]
    current = folder.current_host()
    found, damaged = [], []
    for host in hosts:
        try:
            profile = folder.load(host)
            found.append((profile, folder.facts(profile), host == current))
        except TshError as err:
            damaged.append(err)
    if form == "json":
        import json

        click.echo(json.dumps([_describe(profile, facts, active=on) for profile, facts, on in found], indent=2))
    elif found:
        now = datetime.now(UTC)
        click.echo("\n\n".join(render_status(profile, facts, now, active=on) for profile, facts, on in found))
    if damaged:
        raise damaged[0]
    if not found:
        raise not_signed_in(settings.proxy, settings.user)
    return 0
