"""Who and what is kept out, for who administers the cluster: the locks in force, putting one on, taking one off."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound

from controller.lock_aims import NoAimError, find_aim
from controller.locks import LockError, UnknownLockError
from controller.web import visit
from controller.web.locking import put_on
from controller.web.problem import Problem
from controller.web.reply import page, see_other
from protocol import limits, names
from protocol.durations import BadDurationError, parse_duration
from protocol.fields import MessageError
from protocol.locks import LockKind, parse_kind, parse_message
from protocol.names import BadNameError

blueprint = Blueprint("locks", __name__)

# For how long a lock may be put on here; empty for until it is taken off.
SPANS = (("", "until it is removed"), ("1h", "1 hour"), ("8h", "8 hours"), ("24h", "1 day"), ("168h", "7 days"))
_SUGGESTED = 500

_DONE = {"added": "The lock is in force.", "removed": "The lock is off: who was kept out may come back."}


@dataclass(frozen=True, slots=True)
class Typed:
    """What stands in the form, as it was typed."""

    kind: str = "user"
    value: str = ""
    message: str = ""
    ttl: str = ""

    @classmethod
    def read(cls) -> Typed:
        """Read the form, or the address that led to it."""
        given = request.values
        return cls(
            kind=given.get("kind", "user")[:20],
            value=given.get("value", "").strip()[:200],
            message=given.get("message", "").strip()[:1000],
            ttl=given.get("ttl", "").strip()[:20],
        )


@dataclass(frozen=True, slots=True)
class _Aim:
    """What the lock is to be."""

    kind: LockKind
    value: str
    message: str
    ttl: timedelta | None


@blueprint.get("/web/locks")
def show_locks() -> Response:
    """List the locks in force, the oldest first."""
    services = visit.services()
    return page(
        "locks.html",
        locks=services.locks.list(),
        nodes=services.enrolment.nodes.targets(),
        done=_DONE.get(request.args.get("done", "")),
    )


@blueprint.get("/web/locks/new")
def show_form() -> Response:
    """Show the form that puts a lock on; the address may say on whom."""
    return _form(Typed.read())


@blueprint.post("/web/locks/new")
def add() -> Response:
    """Put a lock on; the same one, sent twice, is put on once."""
    typed = Typed.read()
    aim = _parse(typed)
    if isinstance(aim, Problem):
        return _form(typed, aim)
    try:
        put_on(aim.kind, aim.value, aim.message, aim.ttl)
    except LockError as err:
        return _form(typed, Problem(f"{str(err).replace('`', '')}."), 409)
    return see_other(url_for("locks.show_locks", done="added"))


@blueprint.post("/web/locks/<lock>/remove")
def remove(lock: str) -> Response:
    """Take a lock off; one that is off already stays so."""
    try:
        visit.services().locks.remove(names.parse_session_id(lock), visit.origin())  # a UUID like a session's
    except BadNameError:
        raise NotFound from None
    except UnknownLockError:
        pass
    return see_other(url_for("locks.show_locks", done="removed"))


def _parse(typed: Typed) -> _Aim | Problem:
    try:
        kind = parse_kind(typed.kind)
    except MessageError:
        return Problem("Say what is to be locked.", "kind")
    value = _find(kind, typed.value)
    if isinstance(value, Problem):
        return value
    try:
        message = parse_message(typed.message)
    except MessageError as err:
        return Problem(f"The message is {err}.", "message")
    try:
        ttl = parse_duration(typed.ttl) if typed.ttl else None
    except BadDurationError as err:
        return Problem(f"This is {err}.", "ttl")
    return _Aim(kind, value, message, ttl)


def _find(kind: LockKind, named: str) -> str | Problem:
    """Return what stands in the lock, or say in the page's words why nothing does."""
    services = visit.services()
    try:
        return find_aim(kind, named, services.accounts.users, services.enrolment.nodes)
    except BadNameError as err:
        return Problem(f"This is {err}.", "value")
    except NoAimError as err:
        if err.several:
            ids = ", ".join(err.several)
            return Problem(f"{len(err.several)} nodes have that name: say which one by its UUID ({ids}).", "value")
        missing = f'user "{named}"' if kind == "user" else "node of that name or UUID"
        return Problem(f"There is no {missing}.", "value")


def _form(typed: Typed, problem: Problem | None = None, status: int = 422) -> Response:
    return page(
        "lock_new.html",
        status if problem else 200,
        typed=typed,
        problem=problem,
        known=_known(),
        line=_line(typed),
        message_most=limits.LOCK_MESSAGE_MAX_CHARS,
        spans=[*SPANS, *([(typed.ttl, typed.ttl)] if typed.ttl not in dict(SPANS) else [])],
    )


def _known() -> dict[str, Sequence[str]]:
    """Return the names that there are to lock, by kind: what the form suggests."""
    services = visit.services()
    users = services.accounts.users.list()
    return {
        "user": [user.name for user in users][:_SUGGESTED],
        "login": sorted({login for user in users for login in user.logins})[:_SUGGESTED],
        "node": sorted({node.name for node in services.enrolment.nodes.targets().values()})[:_SUGGESTED],
    }


def _line(typed: Typed) -> str:
    """Return the command that puts the same lock on. Typed anew by `static/lock.js` as the form is filled in."""
    kind = typed.kind if typed.kind in get_args(LockKind) else "user"
    parts = ["tctl", "lock", f"--{kind}={shlex.quote(typed.value) if typed.value else 'NAME'}"]
    parts += [f"--message={shlex.quote(typed.message)}"] if typed.message else []
    parts += [f"--ttl={shlex.quote(typed.ttl)}"] if typed.ttl else []
    return " ".join(parts)
