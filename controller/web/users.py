"""The people of the cluster, for who administers it: who there is, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound

from controller.accounts import Link, UserError, UserRecord
from controller.accounts.users import UnknownUserError
from controller.locks import LockError
from controller.policy.rights import Rights, check_rights
from controller.web import visit
from controller.web.invitations import draw_qr
from controller.web.locking import put_on
from controller.web.problem import Problem
from controller.web.reply import page, see_other
from protocol import access, limits, names
from protocol.decision import Refused
from protocol.durations import describe_duration, format_duration, parse_duration
from protocol.locks import Lock
from protocol.names import BadNameError, Login, RoleName
from protocol.secret import Secret

blueprint = Blueprint("users", __name__)

State = Literal["active", "invited", "link expired", "lockout", "locked"]
_TONES: dict[State, str] = {
    "active": "online",
    "invited": "pending",
    "link expired": "stale",
    "lockout": "stale",
    "locked": "danger",
}
ROLES = (
    (access.ACCESS, "opens devices, with the logins given here"),
    (access.AUDITOR, "sees every recording, and the audit log"),
    (access.ADMIN, "manages users, tokens, nodes and locks"),
)
_INVITE_SPANS = (limits.INVITE_TTL, timedelta(hours=8), timedelta(hours=24), limits.INVITE_TTL_MAX)
_RESET_SPANS = (timedelta(hours=1), limits.RESET_TTL, limits.RESET_TTL_MAX)
_SHOWN = 100
_DONE = {
    "rights": "Roles and logins are changed.",
    "void": "Roles and logins are changed. What was issued before is void, so a new sign-in is needed.",
    "removed": "The user is removed, and all that was issued to them is void.",
    "locked": "The lock is in force.",
    "unlocked": "The lock is off.",
}


@dataclass(frozen=True, slots=True)
class UserRow:
    """One person as the pages show them.

    Attributes:
        until: when the state ends by itself: of an invite, a lock-out or a lock; None where it does not.
        locks: the locks on them that are in force.
    """

    user: UserRecord
    state: State
    until: datetime | None
    last_sign_in: datetime | None
    locks: tuple[Lock, ...]

    @property
    def tone(self) -> str:
        """The colour of the state."""
        return _TONES[self.state]

    def is_about(self, wanted: str) -> bool:
        """Tell whether each word that is `wanted` is about this person."""
        return matches(self.user, wanted, (self.state,), lambda: self.state)


@blueprint.get("/web/users")
def show_users() -> Response:
    """List people, by name."""
    wanted = request.args.get("q", "").strip().lower()[:64]
    rows = [row for row in _rows() if row.is_about(wanted)]
    number = request.args.get("page", "1")
    last = max(1, -(-len(rows) // _SHOWN))
    here = min(int(number), last) if number.isascii() and number.isdigit() and len(number) < 7 else 1
    here = max(1, here)
    return page(
        "users.html",
        rows=rows[(here - 1) * _SHOWN : here * _SHOWN],
        total=len(rows),
        search=wanted,
        here=here,
        last=last,
        done=_DONE.get(request.args.get("done", "")),
    )


@blueprint.get("/web/users/-/new")
def show_form() -> Response:
    """Show the form that invites somebody."""
    return _form(Typed())


@blueprint.post("/web/users/-/new")
def add() -> Response:
    """Invite somebody, and show the link: this once."""
    typed = Typed.read()
    answer = typed.parse()
    if isinstance(answer, Problem):
        return _form(typed, answer)
    services = visit.services()
    try:
        name = names.parse_user_name(typed.name)
        span = _span(limits.INVITE_TTL, limits.INVITE_TTL_MAX)
        link = services.accounts.users.add(name, answer.logins, span, visit.origin(), answer.roles)
    except BadNameError as err:
        return _form(typed, Problem(f"This is {err}.", "name"))
    except UserError as err:
        return _form(typed, Problem(str(err).replace("`", ""), "name"), 409)
    return _show_link(link, "invite", f"tctl users reset {link.user}")  # the user is there by now


@blueprint.get("/web/users/<user>")
def show_user(user: str) -> Response:
    """Show one person, and what can be done about them."""
    return _page(_find(user))


@blueprint.post("/web/users/<user>/rights")
def change_rights(user: str) -> Response:
    """Give somebody other roles or logins."""
    before, typed = _find(user), Typed.read()
    answer = typed.parse()
    if isinstance(answer, Problem):
        return _page(before, typed, answer)
    users = visit.services().accounts.users
    try:
        after = users.update(before.name, roles=answer.roles, logins=answer.logins, origin=visit.origin())
    except UserError as err:
        return _page(before, typed, _problem(err, "roles"), 409)
    done = "rights" if after.valid_from == before.valid_from else "void"
    return see_other(url_for("users.show_user", user=after.name, done=done))


@blueprint.post("/web/users/<user>/reset")
def reset(user: str) -> Response:
    """Void somebody's password and second factors, and show the link to set new ones: this once."""
    before = _find(user)
    span = _span(limits.RESET_TTL, limits.RESET_TTL_MAX)
    try:
        link = visit.services().accounts.users.reset(before.name, span, visit.origin())
    except UserError as err:
        return _page(before, problem=_problem(err), status=409)
    line = f"tctl users reset {link.user}"
    return _show_link(link, "reset", line if span == limits.RESET_TTL else f"{line} --ttl={format_duration(span)}")


@blueprint.post("/web/users/<user>/remove")
def remove(user: str) -> Response:
    """Remove somebody; whoever is gone already stays so."""
    try:
        visit.services().accounts.users.remove(_named(user), visit.origin())
    except UnknownUserError:
        pass
    except UserError as err:
        return _page(_find(user), problem=_problem(err), status=409)
    return see_other(url_for("users.show_users", done="removed"))


@blueprint.post("/web/users/<user>/lock")
def lock(user: str) -> Response:
    """Lock somebody out until the lock is taken off."""
    before = _find(user)
    try:
        put_on("user", before.name, request.form.get("message", ""), None)
    except LockError as err:
        field = "" if before.name == visit.signed_in().user else "message"  # on one's own page there is no such field
        return _page(before, problem=Problem(str(err).replace("`", ""), field), status=409)
    return see_other(url_for("users.show_user", user=before.name, done="locked"))


@blueprint.post("/web/users/<user>/unlock")
def unlock(user: str) -> Response:
    """Take off every lock that is on somebody."""
    before, locks = _find(user), visit.services().locks
    for found in _locks_on(before.name):
        try:
            locks.remove(found.lock_id, visit.origin())
        except LockError:
            continue  # another request was quicker
    return see_other(url_for("users.show_user", user=before.name, done="unlocked"))


# --- what is typed -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Typed:
    """What stands in the form of a person's name, roles and logins, as it was typed."""

    name: str = ""
    logins: str = ""
    roles: tuple[str, ...] = (access.ACCESS,)
    ttl: str = ""

    @classmethod
    def read(cls) -> Typed:
        """Read the form."""
        form = request.form
        return cls(
            name=form.get("name", "").strip()[:100],
            logins=form.get("logins", "").strip()[:2000],
            roles=tuple(form.getlist("roles")[:10]),
            ttl=form.get("ttl", "")[:20],
        )

    @classmethod
    def of(cls, user: UserRecord) -> Typed:
        """Return what stands there for somebody who is there."""
        return cls(user.name, ", ".join(user.logins), user.roles)

    def parse(self) -> Rights | Problem:
        """Return the roles and logins, or what is wrong with them."""
        if not self.roles:
            return Problem("Tick at least one role.", "roles")
        try:
            roles = access.parse_roles(",".join(self.roles))
        except BadNameError as err:
            return Problem(f"{str(err).capitalize()}.", "roles")
        try:
            logins = names.parse_logins(self.logins) if self.logins else ()
        except BadNameError as err:
            return Problem(f"This is {err}.", "logins")
        answer = check_rights(Rights(roles, logins))
        return Problem(f"{answer.reason}.", "logins") if isinstance(answer, Refused) else answer.value


def _span(usual: timedelta, most: timedelta) -> timedelta:
    """Return how long a link is to be good: what the form offers, and the usual time for whatever else it says."""
    try:
        asked = parse_duration(request.form.get("ttl", "") or format_duration(usual))
    except ValueError:
        return usual
    return asked if asked <= most else usual


def _problem(err: UserError, field: str = "") -> Problem:
    return Problem(str(err).replace("`", ""), field)


# --- what is shown -------------------------------------------------------------------------------------------------


def _form(typed: Typed, problem: Problem | None = None, status: int = 422) -> Response:
    return page(
        "user_new.html",
        status if problem else 200,
        typed=typed,
        problem=problem,
        roles=ROLES,
        spans=_spans(_INVITE_SPANS),
    )


def _page(user: UserRecord, typed: Typed | None = None, problem: Problem | None = None, status: int = 422) -> Response:
    return page(
        "user.html",
        status if problem else 200,
        row=_row(user),
        typed=typed or Typed.of(user),
        problem=problem,
        roles=ROLES,
        spans=_spans(_RESET_SPANS),
        usual=format_duration(limits.RESET_TTL),
        update_line=f"tctl users update {user.name} --set-roles={','.join(user.roles)} "
        f"--set-logins={','.join(user.logins)}",
        link_until=visit.services().accounts.users.link_until(user),
        is_own=user.name == visit.signed_in().user,
        done=_DONE.get(request.args.get("done", "")),
        message_most=limits.LOCK_MESSAGE_MAX_CHARS,
    )


def _show_link(link: Link, kind: Literal["invite", "reset"], line: str) -> Response:
    services = visit.services()
    url = Secret(f"https://{services.public_address}/web/{kind}/{link.token.reveal()}")
    return page(
        "user_link.html",
        link=link,
        kind=kind,
        url=url,
        qr=draw_qr(url),
        line=line,
        time_left=describe_duration(link.ttl),
        expires=services.clock() + link.ttl,
    )


def _spans(spans: tuple[timedelta, ...]) -> list[tuple[str, str]]:
    return [(format_duration(span), describe_duration(span)) for span in spans]


def _list(before: str, logins: tuple[Login, ...] | tuple[RoleName, ...]) -> str:
    return before + ",".join(logins) if logins else ""


def _rows() -> list[UserRow]:
    users = visit.services().accounts.users
    locked_out, last = users.locked_out(), users.last_sign_ins()
    return [_judge(user, locked_out.get(user.name), last.get(user.name)) for user in users.list()]


def _row(user: UserRecord) -> UserRow:
    users = visit.services().accounts.users
    return _judge(user, users.locked_until(user.name), users.last_sign_ins().get(user.name))


def _judge(user: UserRecord, locked_out: datetime | None, last: datetime | None) -> UserRow:
    locks = _locks_on(user.name)
    state, until = _state(user, locked_out, locks)
    seen = last if last is not None and last >= user.created else None  # else of somebody of that name before
    return UserRow(user, state, until, seen, locks)


def _state(user: UserRecord, locked_out: datetime | None, locks: tuple[Lock, ...]) -> tuple[State, datetime | None]:
    if locks:
        return "locked", None if any(lock.expires is None for lock in locks) else max(_ends(locks))
    if locked_out is not None:
        return "lockout", locked_out
    if user.password_hash is not None:
        return "active", None
    until = visit.services().accounts.users.link_until(user)
    return ("link expired", None) if until is None else ("invited", until)


def _ends(locks: tuple[Lock, ...]) -> list[datetime]:
    return [lock.expires for lock in locks if lock.expires is not None]


def _locks_on(name: str) -> tuple[Lock, ...]:
    return tuple(lock for lock in visit.services().locks.list() if lock.kind == "user" and lock.value == name)


def matches(user: UserRecord, wanted: str, states: Collection[str], state: Callable[[], str]) -> bool:
    """Tell whether each word that is `wanted` stands in somebody's name, roles or logins, or in how they are.

    `state` tells that, one of `states`. It may have to be looked up, so it is asked only where words that stand nowhere
    else stand in one of those.
    """
    left = _missing(wanted.lower().split(), (user.name, *user.roles, *user.logins))
    if not left:
        return True
    return not _missing(left, states) and not _missing(left, (state(),))


def _missing(words: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return the words that stand in none of the texts."""
    lower = [text.lower() for text in texts]
    return [word for word in words if not any(word in text for text in lower)]


def _named(text: str) -> str:
    try:
        return names.parse_user_name(text)
    except BadNameError:
        raise NotFound from None


def _find(text: str) -> UserRecord:
    """Return the person; whoever is not there is answered as an address that is not."""
    found = visit.services().accounts.users.get(_named(text))
    if found is None:
        raise NotFound
    return found
