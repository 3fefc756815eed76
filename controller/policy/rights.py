"""What people may do, and what becomes of what they hold when that changes.

A certificate bears the roles and logins of when it was issued. Where some are taken away, every certificate and
sign-in from before is void at once, as after a reset: none may outlive what it says. Where there are only more, all
goes on, and the next certificate has them.

Checks: H7 a role that uses logins comes with some; H8 who administers does not take that from themselves, nor reset,
remove or lock out themselves, but for tctl on the controller's own host: that can always make another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol import access
from protocol.decision import Granted, Refused
from protocol.names import Login, RoleName


@dataclass(frozen=True, slots=True)
class Rights:
    """The roles and logins of one person."""

    roles: tuple[RoleName, ...]
    logins: tuple[Login, ...]


def check_rights(rights: Rights) -> Granted[Rights] | Refused:
    """Decide whether anybody may have these (H7)."""
    if access.are_logins_used(rights.roles) and not rights.logins:
        return Refused(f"the role {access.ACCESS} opens devices: say which logins may be used there", "H7")
    return Granted(rights)


def decide_change(before: Rights, after: Rights, *, is_own: bool) -> Granted[Rights] | Refused:
    """Decide whether somebody's rights may become `after`.

    Args:
        before: what they are.
        after: what they are to be.
        is_own: whether the person asks for it themselves, through a door of the controller.
    """
    if is_own and access.administers(before.roles) and not access.administers(after.roles):
        return Refused(
            "you cannot take the role admin from yourself: another admin can, or tctl on the controller's host", "H8"
        )
    return check_rights(after)


def decide_ending(*, is_own: bool) -> Granted[None] | Refused:
    """Decide whether somebody may be removed or reset (H8)."""
    if is_own:
        return Refused("you cannot remove or reset yourself: another admin can, or tctl on the controller's host", "H8")
    return Granted(None)


def decide_lock(*, is_own: bool) -> Granted[None] | Refused:
    """Decide whether a lock may be put on somebody (H8)."""
    if is_own:
        return Refused("you cannot lock yourself out: another admin can, or tctl on the controller's host", "H8")
    return Granted(None)


def are_fewer(before: Rights, after: Rights) -> bool:
    """Tell whether anything of `before` is taken away: what was issued with it is void then."""
    return bool({*before.roles} - {*after.roles}) or bool({*before.logins} - {*after.logins})


def is_anybody_admin(roles_of_all: Iterable[Iterable[RoleName]]) -> bool:
    """Tell whether anybody of those who hold these roles administers the cluster."""
    return any(access.administers(roles) for roles in roles_of_all)
