"""`tctl users`: the people of the cluster."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from controller.accounts import Link, UserError, UserRecord
from controller.accounts.users import check_ttl
from controller.policy.rights import Rights, check_rights
from controller.tctl.error import REFUSED
from controller.tctl.host import at_desk
from controller.tctl.setting import (
    Settings,
    complain,
    format_option,
    parsed,
    say,
    say_json,
    say_table,
    shared_options,
    ttl_option,
)
from protocol import access, limits, names
from protocol.decision import Refused
from protocol.durations import format_duration
from protocol.events import Json
from protocol.instants import format_instant, show_instant
from protocol.names import Login, RoleName, UserName

_NAME = parsed("NAME", names.parse_user_name)
_LOGINS = parsed("LOGINS", names.parse_logins)
_LOGINS_OR_NONE = parsed("LOGINS", lambda text: names.parse_logins(text) if text else ())
_ROLES = parsed("ROLES", access.parse_roles)
_NO_ADMIN = (
    "NOTE: nobody holds the role admin now. The web interface can be administered again after: "
    "tctl users update NAME --set-roles=access,admin"
)


@click.group(name="users")
@shared_options
def command() -> None:
    """Add, list, update, reset and remove users."""


@command.command()
@click.argument("name", type=_NAME)
@click.argument("more_logins", type=_LOGINS, metavar="[LOGIN,LOGIN]", default=())
@click.option("--logins", type=_LOGINS, default=(), metavar="LOGIN,LOGIN", help="The same as the second argument.")
@click.option(
    "--roles",
    type=_ROLES,
    default=access.ACCESS,
    show_default=True,
    metavar="ROLE,ROLE",
    help="access: opens devices. auditor: sees every recording, and the audit log. admin: manages the cluster.",
)
@ttl_option(limits.INVITE_TTL, limits.INVITE_TTL_MAX)
@format_option
@shared_options
@click.pass_obj
def add(  # noqa: PLR0913 - one parameter a flag
    settings: Settings,
    *,
    name: UserName,
    more_logins: tuple[Login, ...],
    logins: tuple[Login, ...],
    roles: tuple[RoleName, ...],
    ttl: timedelta,
    form: str,
) -> None:
    """Create a user, who may log in to devices as LOGINs.

    LOGINs are operating-system users there; who is an auditor alone needs none. Prints the link with which the person
    sets a password and a second factor.
    """
    allowed = tuple(dict.fromkeys((*more_logins, *logins)))
    if isinstance(check_rights(Rights(roles, allowed)), Refused):
        raise click.UsageError(f"say which logins {name} may use on devices, such as: tctl users add {name} ubuntu,pi")
    with at_desk(settings) as desk:
        address, now = desk.web_address(), desk.now()
        link = desk.cluster.accounts.users.add(name, allowed, check_ttl(ttl, limits.INVITE_TTL_MAX), desk.origin, roles)
    _say_link(link, address, now, form)


@command.command()
@click.argument("name", type=_NAME)
@click.option(
    "--set-roles", "roles", type=_ROLES, metavar="ROLE,ROLE", help="The roles to have from now on, all of them."
)
@click.option(
    "--set-logins",
    "logins",
    type=_LOGINS_OR_NONE,
    metavar="LOGIN,LOGIN",
    help="The logins to have from now on, all of them; '' for none.",
)
@shared_options
@click.pass_obj
def update(
    settings: Settings, *, name: UserName, roles: tuple[RoleName, ...] | None, logins: tuple[Login, ...] | None
) -> None:
    """Give a user other roles or logins.

    Where any are taken away, the user is signed out everywhere and earlier certificates are void at once.
    """
    if roles is None and logins is None:
        raise click.UsageError(f"say what to change, such as: tctl users update {name} --set-roles=access,auditor")
    with at_desk(settings) as desk:
        users = desk.cluster.accounts.users
        before = users.get(name)
        after = users.update(name, roles=roles, logins=logins, origin=desk.origin)
        has_admin = users.is_anybody_admin()
    said = [f"roles {','.join(after.roles)}"] if roles is not None else []
    said += [f"logins {','.join(after.logins) or 'none'}"] if logins is not None else []
    say(f"{name} has been updated with {' and '.join(said)}")
    if before is not None and after.valid_from != before.valid_from:
        say(f"What {name} held from before is void: {name} signs in again.")
    if before is not None and access.administers(before.roles) and not has_admin:
        say(_NO_ADMIN)


@command.command()
@click.argument("name", type=_NAME)
@ttl_option(limits.RESET_TTL, limits.RESET_TTL_MAX)
@format_option
@shared_options
@click.pass_obj
def reset(settings: Settings, name: UserName, ttl: timedelta, form: str) -> None:
    """Void a user's password and second factor, and lift a lock.

    Prints the link with which the person sets new ones.
    """
    with at_desk(settings) as desk:
        address, now = desk.web_address(), desk.now()
        link = desk.cluster.accounts.users.reset(name, check_ttl(ttl, limits.RESET_TTL_MAX), desk.origin)
    _say_link(link, address, now, form, is_reset=True)


@command.command(name="rm")
@click.argument("name_lists", nargs=-1, required=True, metavar="NAME[,NAME]…")
@shared_options
@click.pass_obj
def remove(settings: Settings, name_lists: tuple[str, ...]) -> int:
    """Remove users: what they hold is void at once."""
    wanted = [name.strip() for names_ in name_lists for name in names_.split(",") if name.strip()]
    status = 0
    with at_desk(settings) as desk:
        users = desk.cluster.accounts.users
        had_admin = users.is_anybody_admin()
        for name in dict.fromkeys(wanted):
            try:
                users.remove(name, desk.origin)
            except UserError as err:
                complain(f"ERROR: {err}")
                status = REFUSED
            else:
                say(f'User "{name}" has been deleted')
        if had_admin and not users.is_anybody_admin():
            say(_NO_ADMIN)
    return status


@command.command(name="ls")
@format_option
@shared_options
@click.pass_obj
def list_(settings: Settings, form: str) -> None:
    """List users."""
    with at_desk(settings) as desk:
        users = desk.cluster.accounts.users
        found = [(user, users.locked_until(user.name)) for user in users.list()]
    if form == "json":
        say_json([_as_json(user, until) for user, until in found])
    elif found:
        say_table(
            ["User", "Roles", "Allowed logins", "Status"],
            ([user.name, ",".join(user.roles), ",".join(user.logins), _status(user, until)] for user, until in found),
        )
    else:
        say("No users found")


def describe_link(link: Link, address: str, *, is_reset: bool) -> str:
    """Return what the admin reads, and passes on to the person."""
    done, purpose = (
        ("has been reset", "password reset") if is_reset else ("has been created but requires a password", "user setup")
    )
    return (
        f"User {link.user} {done}. Share this URL with the user to complete {purpose}, "
        f"link is valid for {format_duration(link.ttl)}:\n\n{_url(link, address, is_reset=is_reset)}\n\n"
        f"NOTE: Make sure {address} points at a Skerry proxy which users can access."
    )


def _url(link: Link, address: str, *, is_reset: bool) -> str:
    return f"https://{address}/web/{'reset' if is_reset else 'invite'}/{link.token.reveal()}"


def _say_link(link: Link, address: str, now: datetime, form: str, *, is_reset: bool = False) -> None:
    if form == "json":
        url, expires = _url(link, address, is_reset=is_reset), format_instant(now + link.ttl)
        say_json({"name": link.user, "url": url, "expires": expires})
    else:
        say(describe_link(link, address, is_reset=is_reset))


def _status(user: UserRecord, locked_until: datetime | None) -> str:
    if locked_until is not None:
        return f"locked until {show_instant(locked_until)}"
    return "active" if user.password_hash is not None else "invited"


def _as_json(user: UserRecord, locked_until: datetime | None) -> Json:
    return {
        "name": user.name,
        "logins": list(user.logins),
        "roles": list(user.roles),
        "status": "locked" if locked_until else _status(user, None),
        "locked_until": None if locked_until is None else format_instant(locked_until),
        "created": format_instant(user.created),
    }
