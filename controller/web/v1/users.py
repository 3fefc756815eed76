"""People, for programs of who administers the cluster."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import get_args

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import NotFound

from controller.accounts import Link, UserError, UserRecord
from controller.accounts.users import UnknownUserError
from controller.web import refusal, visit
from controller.web.permissions import rule
from controller.web.users import matches
from controller.web.v1 import question
from protocol import endpoints, limits, names
from protocol.instants import to_milliseconds
from protocol.people import NewReset, NewUser, UserChange, UserEntry, UserLink, UserList, UserStatus
from protocol.secret import Secret

blueprint = Blueprint("v1_users", __name__)
_STATUSES: tuple[UserStatus, ...] = get_args(UserStatus)


@blueprint.get(endpoints.USERS.path)
def users() -> Response:
    """List people, by name: all, or those whom each word that is searched for is about."""
    wanted, everybody = question.words("search") or "", visit.services().accounts.users.list()
    found = (user for user in everybody if matches(user, wanted, _STATUSES, partial(_status, user)))
    shown = question.page(found, lambda user: user.name, limits.USERS_PAGE_MAX)
    return jsonify(UserList(tuple(map(_entry, shown.items)), shown.next).to_dict())


@blueprint.post(endpoints.USER_ADD.path)
def add() -> Response:
    """Invite somebody: the link to set password and second factor is shown this once."""
    asked = NewUser.from_dict(question.body())
    found = visit.services().accounts.users
    link = found.add(asked.name, asked.logins, timedelta(seconds=asked.ttl), visit.origin(), asked.roles)
    response = jsonify(_link(link, "invite").to_dict())
    response.status_code = 201
    return response


@blueprint.get(rule(endpoints.USER))
def user(user: str) -> Response:
    """Tell of one person."""
    return jsonify(_entry(_find(user)).to_dict())


@blueprint.patch(rule(endpoints.USER_UPDATE))
def update(user: str) -> Response:
    """Give somebody other roles or logins."""
    asked, name = UserChange.from_dict(question.body()), question.named(user, names.parse_user_name)
    changed = visit.services().accounts.users.update(
        name, roles=asked.roles, logins=asked.logins, origin=visit.origin()
    )
    return jsonify(_entry(changed).to_dict())


@blueprint.post(rule(endpoints.USER_RESET))
def reset(user: str) -> Response:
    """Void somebody's password and second factors; the link to set new ones is shown this once."""
    asked, name = NewReset.from_dict(question.body()), question.named(user, names.parse_user_name)
    link = visit.services().accounts.users.reset(name, timedelta(seconds=asked.ttl), visit.origin())
    return jsonify(_link(link, "reset").to_dict())


@blueprint.delete(rule(endpoints.USER_REMOVE))
def remove(user: str) -> Response:
    """Remove somebody: what they hold is void at once."""
    visit.services().accounts.users.remove(question.named(user, names.parse_user_name), visit.origin())
    return Response(status=204)


@blueprint.errorhandler(UserError)
def refused(error: UserError) -> Response:
    """Say why somebody stays as they are, or that there is nobody of that name."""
    return refusal.answer(404 if isinstance(error, UnknownUserError) else 409, str(error))


def _find(text: str) -> UserRecord:
    found = visit.services().accounts.users.get(question.named(text, names.parse_user_name))
    if found is None:
        raise NotFound
    return found


def _entry(user: UserRecord) -> UserEntry:
    services = visit.services()
    until, lock = services.accounts.users.locked_until(user.name), services.locks.find(user=user.name)
    status: UserStatus = "active" if user.password_hash is not None else "invited"
    return UserEntry(
        name=user.name,
        roles=user.roles,
        logins=user.logins,
        status="locked" if until or lock else status,
        locked_until=to_milliseconds(until) if until else None,
        lock=lock.lock_id if lock else None,
        factors=len(user.factors),
        created=to_milliseconds(user.created),
    )


def _status(user: UserRecord) -> UserStatus:
    return _entry(user).status


def _link(link: Link, page: str) -> UserLink:
    services = visit.services()
    url = f"https://{services.public_address}/web/{page}/{link.token.reveal()}"
    return UserLink(link.user, Secret(url), to_milliseconds(services.clock() + link.ttl))
