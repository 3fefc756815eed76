"""The one gate in front of every page and endpoint of the web door.

The checks, in their order: W1 the path and method stand in the table; W2 the address does not ask too
often; W3 the holder is who the table wants; W4 a browser's write comes from our own page; W5 the holder has a role
that the table asks for.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, request, url_for

from controller.throttle import Throttle
from controller.web import refusal, visit
from controller.web.permissions import Holder, Need, Permission, permission_for
from controller.web.reply import page, see_other, sign_out
from protocol import access, events
from protocol.events import Json
from protocol.locks import describe_lock

_log = logging.getLogger("WEB")
# Whoever is locked out may still sign out.
_WAY_OUT = "/web/logout"
_KINDS = {Holder.SESSION: "web", Holder.BEARER: "tsh"}
_STALE_FORM = "This form had been open for too long, or was not sent from its own page. Go back, reload and try again."

_HAS = {Need.AUDIT: access.sees_audit, Need.ADMIN: access.administers}
_TAKES_ROLE = {
    Need.AUDIT: "This takes the role auditor or admin. An admin gives it: tctl users update NAME --set-roles=ROLE,ROLE",
    Need.ADMIN: "This takes the role admin. An admin gives it: tctl users update NAME --set-roles=ROLE,ROLE",
}


def guard(app: Flask, throttle: Throttle) -> None:
    """Put the gate in front of `app`."""

    @app.before_request
    def gate() -> Response | None:
        if request.url_rule is None:
            return None  # no such path or method: the error handler answers
        permission = permission_for(request.method, request.url_rule.rule)
        if permission is None:
            _log.error("W1: %s %s is not in the table of permissions", request.method, request.url_rule.rule)
            return refusal.answer(404)
        return (
            (None if permission.looks else _check_rate(permission, throttle))
            or _check_holder(permission)
            or (_check_rate(permission, throttle) if permission.looks and visit.session() is None else None)
            or _check_source(permission)
            or _check_need(permission, throttle)
        )


def _check_rate(permission: Permission, throttle: Throttle) -> Response | None:
    if not permission.limited:
        return None
    too_soon = throttle.admit(visit.address(), visit.services().clock())
    return None if too_soon is None else refusal.answer(429, retry_after=too_soon.retry_after)


def _check_holder(permission: Permission) -> Response | None:
    if permission.holder is Holder.ANYONE and not permission.looks:
        return None
    token = visit.token_presented(request)
    session = visit.services().accounts.session(token, rests=permission.rests) if token else None
    if token and session is not None and session.kind == _KINDS.get(permission.holder, "web"):
        visit.remember_session(session, token)
        return None
    return None if permission.holder is Holder.ANYONE else _locked_out(token) or _sign_in_first()


def _locked_out(token: str | None) -> Response | None:
    """Tell somebody who was signed in which lock keeps them out now; a script has the page ask instead."""
    accounts = visit.services().accounts
    lock = accounts.lock_on_session(token) if token else None
    if token is None or lock is None or visit.by_script():
        return None
    if visit.is_api():
        return refusal.answer(403, describe_lock(lock))
    if request.path == _WAY_OUT and request.method == "POST" and _from_own_page() and visit.form_token_matches():
        return sign_out(token)
    return page("locked.html", 403, lock=lock)


def _sign_in_first() -> Response:
    if visit.is_api() or visit.by_script() or request.method != "GET":
        return refusal.answer(401)
    came_for = request.full_path.rstrip("?")
    wanted = visit.own_page(came_for, "")
    return see_other(url_for("login.show_login", next=wanted) if wanted else url_for("login.show_login"))


def _check_source(permission: Permission) -> Response | None:
    if not permission.writes or visit.is_api():
        return None  # programs carry a bearer token, which no foreign page can make a browser send
    if not _from_own_page() or not visit.form_token_matches():
        _log.warning("W4: %s %s: a form that is not from its own page", request.method, request.url_rule)
        return refusal.answer(403, _STALE_FORM)
    return None


def _check_need(permission: Permission, throttle: Throttle) -> Response | None:
    """Refuse who lacks the role, and tell the audit log: somebody tries doors. Trying many counts as asking often."""
    if permission.need is Need.NOTHING or _HAS[permission.need](visit.person().roles):
        return None
    services, now = visit.services(), visit.services().clock()
    too_soon = throttle.admit(visit.address(), now)
    if too_soon is not None:
        return refusal.answer(429, retry_after=too_soon.retry_after)
    fields: dict[str, Json] = {
        "user": visit.signed_in().user,
        "success": False,
        "error": f"{permission.name} takes {permission.need.value}",
        "check": "W5",
        "method": request.method,
        "path": str(request.url_rule),
        "addr.remote": visit.origin().address,
        "via": "web",
    }
    services.refusals.tell(
        visit.signed_in().user,
        f"{request.method} {request.url_rule}",
        fields,
        now,
        lambda told: services.audit.write(events.ACCESS_DENIED, told),
    )
    return refusal.answer(403, _TAKES_ROLE[permission.need])


def _from_own_page() -> bool:
    """Judge Fetch Metadata; before browsers had it, Origin. Under `no-referrer` a form's Origin is ``null``."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    source = request.headers.get("Origin")
    return source in {None, "null", f"https://{request.host}"}
