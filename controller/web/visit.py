"""What the door knows of the request at hand: who asks, from where, with which sign-in."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Any, cast

from flask import Request, Response, current_app, g, request

from controller.accounts import Origin, Session, UserRecord
from controller.web.services import Services
from protocol.addresses import join_address
from protocol.names import BadNameError, parse_token
from protocol.secret import Secret

SESSION_COOKIE = "__Host-skerry"
FORM_COOKIE = "__Host-skerry-form"
CSRF_FIELD = "csrf"
# Set by our own scripts: a page that polls wants to be told that it is signed out, not a login form.
SCRIPT_HEADER = "X-Skerry-Script"

_EXTENSION = "skerry"
_OWN_PAGE = re.compile(r"/web/[a-z][a-z0-9/-]{0,100}(\?[A-Za-z0-9=&%._+-]{0,200})?", re.ASCII)


def bind(extensions: dict[str, Any], services: Services) -> None:
    """Give the application its services."""
    extensions[_EXTENSION] = services


def services() -> Services:
    """Return what the application was given."""
    return cast("Services", current_app.extensions[_EXTENSION])


def address() -> str:
    """Return the peer's address, as the socket says: no header is believed."""
    return request.remote_addr or ""


def origin(client: str | None = None) -> Origin:
    """Return who asks, for the audit log. `client` is the program's own word; a browser's is its User-Agent."""
    said = request.headers.get("User-Agent", "") if client is None else client
    client = "".join(character for character in said if character.isprintable())[:200]
    peer = join_address(address(), int(request.environ.get("REMOTE_PORT") or 0))
    found = session()
    return Origin(address=peer, client=client, via="web", actor=found.user if found else "")


def is_api() -> bool:
    """Tell whether a program asks: it is answered in JSON."""
    return request.path.startswith("/v1/")


def by_script() -> bool:
    """Tell whether a script of our own pages asks."""
    return request.headers.get(SCRIPT_HEADER) == "1"


def token_presented(request: Request) -> str | None:
    """Return the bearer token of the Authorization header (RFC 6750), or of the session cookie for pages."""
    if not is_api():
        return _well_formed(request.cookies.get(SESSION_COOKIE))
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return _well_formed(token.strip()) if scheme.lower() == "bearer" else None


def _well_formed(token: str | None) -> str | None:
    try:
        return parse_token(token)
    except BadNameError:
        return None


def remember_session(session: Session, token: str) -> None:
    """Keep the sign-in that the gate has found, for this request."""
    g.session = session
    g.session_token = Secret(token)


def session() -> Session | None:
    """Return the sign-in this request comes with, as far as the gate has looked for one."""
    return cast("Session | None", g.get("session"))


def signed_in() -> Session:
    """Return the sign-in of a request that the gate lets through only with one."""
    found = session()
    if found is None:
        raise LookupError("a page for signed-in people was reached without a sign-in")
    return found


def person() -> UserRecord:
    """Return the signed-in person. A sign-in is in force only while its user is there."""
    found = services().accounts.users.get(signed_in().user)
    if found is None:
        raise LookupError("the user of a sign-in is gone: removed between the gate and here")
    return found


def session_token() -> Secret[str]:
    """Return the token of `signed_in`."""
    return cast("Secret[str]", g.session_token)


def form_token() -> Secret[str]:
    """Return the value that a form on this page must bring back: the session's, or the pre-session cookie's."""
    found = session()
    if found is not None:
        return found.csrf
    if "form_token" not in g:
        sent = _well_formed(request.cookies.get(FORM_COOKIE))
        g.form_token = Secret(sent or secrets.token_urlsafe(32))
        g.form_token_is_new = sent is None
    return cast("Secret[str]", g.form_token)


def form_token_matches() -> bool:
    """Tell whether the form brought back the value its page was given."""
    if session() is None and FORM_COOKIE not in request.cookies:
        return False
    brought = request.form.get(CSRF_FIELD, "")
    return hmac.compare_digest(brought.encode(), form_token().reveal().encode())


def set_form_cookie(response: Response) -> None:
    """Send the pre-session cookie where this request's page has made a new one."""
    if g.get("form_token_is_new"):
        _set_cookie(response, FORM_COOKIE, form_token().reveal())


def set_session_cookie(response: Response, token: Secret[str]) -> None:
    """Sign the browser in. The cookie ends with the browser; the session's own end is kept by the store."""
    _set_cookie(response, SESSION_COOKIE, token.reveal())


def drop_session_cookie(response: Response) -> None:
    """Sign the browser out."""
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")


def _set_cookie(response: Response, name: str, value: str) -> None:
    # The __Host- prefix makes browsers refuse the cookie unless it is Secure, for "/" and without a domain.
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="Lax")


def own_page(path: str | None, otherwise: str) -> str:
    """Return `path` where it is one of our own pages: never another host's, whatever slashes it begins with."""
    return path if path is not None and _OWN_PAGE.fullmatch(path) and "//" not in path else otherwise
