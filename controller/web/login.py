"""Signing in and out with a browser."""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for

from controller.accounts import SignedIn, what_to_say
from controller.web import visit
from controller.web.reply import page, see_other, sign_out
from protocol import limits
from protocol.decision import Granted
from protocol.secret import Secret

blueprint = Blueprint("login", __name__)

REFUSED = "Invalid username, password or second factor."


@blueprint.get("/")
@blueprint.get("/web")
def home() -> Response:
    """Lead to the first page, or to the login page."""
    return see_other(url_for("home.show_home" if visit.session() else "login.show_login"))


@blueprint.get("/web/login")
def show_login() -> Response:
    """Show the login form; whoever is signed in goes on."""
    if visit.session() is not None:
        return see_other(_wanted_page())
    return _form()


@blueprint.post("/web/login")
def do_login() -> Response:
    """Check name, password and code, and open a session."""
    password, otp = Secret(request.form.get("password", "")), Secret(request.form.get("otp", ""))
    accounts = visit.services().accounts
    answer = accounts.sign_in(request.form.get("user", "").strip(), password, otp, visit.origin())
    if not isinstance(answer, Granted):
        return _form(problem=what_to_say(answer, REFUSED), status=401)
    return _open_session(answer.value)


def _open_session(signed_in: SignedIn) -> Response:
    services = visit.services()
    expires = services.clock() + limits.WEB_SESSION_MAX
    token = services.accounts.open_session(signed_in, "web", expires, visit.origin())
    if not isinstance(token, Granted):
        return _form(problem=REFUSED, status=401)
    response = see_other(_wanted_page())
    visit.set_session_cookie(response, token.value)
    return response


@blueprint.post("/web/logout")
def do_logout() -> Response:
    """End the session."""
    return sign_out(visit.session_token().reveal())


def _wanted_page() -> str:
    return visit.own_page(request.values.get("next"), url_for("home.show_home"))


def _form(problem: str | None = None, status: int = 200) -> Response:
    return page(
        "login.html",
        status,
        problem=problem,
        user=request.values.get("user", "")[:100],
        next=visit.own_page(request.values.get("next"), ""),
        ended=request.args.get("ended") == "1",
    )
