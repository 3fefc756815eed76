"""A person's own page: what they may do here, their password, their second factors and their sign-ins."""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound

from controller.accounts import Incomplete, NewFactor
from controller.web import visit
from controller.web.client_name import describe_client
from controller.web.invitations import draw_qr, groups_of_four
from controller.web.problem import Problem
from controller.web.reply import page, see_other
from protocol import limits, names
from protocol.decision import Granted, Refused
from protocol.durations import describe_duration
from protocol.names import BadNameError
from protocol.secret import Secret

blueprint = Blueprint("settings", __name__)

REFUSED = "That was not accepted: check what you have typed. A code works once, so wait for the next one."
PASSWORD_REFUSED = (
    "The password or the code was not accepted. A code works once, so wait for the next one. "
    f"After {limits.SIGN_IN_FAILURES} failures your account is locked for {describe_duration(limits.SIGN_IN_LOCKOUT)}."
)
_DONE = {
    "password": "Your password is changed. Every other sign-in has ended, and certificates from before are void: "
    "sign in again where you use tsh.",
    "factor": "The second factor is added: its codes sign you in from now on.",
    "removed": "The second factor is removed: its codes sign nobody in any more.",
    "ended": "The sign-in has ended.",
    "others": "Every other sign-in has ended.",
}


@blueprint.get("/web/profile")
def show_profile() -> Response:
    """Lead to where this page is now."""
    return see_other(url_for("settings.show_settings"))


@blueprint.get("/web/settings")
def show_settings() -> Response:
    """Show the page."""
    services, person = visit.services(), visit.person()
    return page(
        "settings.html",
        account=person,  # `person` is a macro of the frame
        factors=services.accounts.factors(person.name),
        factors_most=limits.FACTORS_PER_USER,
        sign_ins=services.accounts.sign_ins(person.name, visit.session_token().reveal()),
        describe_client=describe_client,
        command=services.login_command(person.name),
        idle=describe_duration(limits.WEB_SESSION_IDLE),
        done=_DONE.get(request.args.get("done", "")),
    )


@blueprint.get("/web/settings/password")
def show_password() -> Response:
    """Show the form."""
    return _password_form()


@blueprint.post("/web/settings/password")
def change_password() -> Response:
    """Set a new password."""
    answer = visit.services().accounts.change_password(
        visit.signed_in().user,
        _typed("old"),
        _typed("new"),
        _typed("otp"),
        visit.session_token().reveal(),
        visit.origin(),
    )
    if isinstance(answer, Granted):
        return see_other(url_for("settings.show_settings", done="password"))
    return _password_form(answer)


@blueprint.get("/web/settings/factors/new")
def show_new_factor() -> Response:
    """Show a fresh secret; nothing is kept of it until it is added."""
    begun = visit.services().accounts.begin_factor(visit.signed_in().user)
    if begun is None:
        raise NotFound
    return _factor_form(begun)


@blueprint.post("/web/settings/factors/new")
def add_factor() -> Response:
    """Add the authenticator app that has the secret."""
    accounts, user = visit.services().accounts, visit.signed_in().user
    handle, name = _typed("handle"), request.form.get("name", "")
    answer = accounts.add_factor(user, handle, name, _typed("otp"), visit.origin(), approval=_typed("approval"))
    if isinstance(answer, Granted):
        return see_other(url_for("settings.show_settings", done="factor"))
    begun = accounts.show_factor(user, handle) or accounts.begin_factor(user)
    if begun is None:
        raise NotFound
    return _factor_form(begun, name[: limits.FACTOR_NAME_MAX_CHARS], answer)


@blueprint.get("/web/settings/factors/<factor>/remove")
def show_removal(factor: str) -> Response:
    """Ask for a code before an authenticator app is removed."""
    return _removal_form(factor)


@blueprint.post("/web/settings/factors/<factor>/remove")
def remove_factor(factor: str) -> Response:
    """Remove an authenticator app; one that is gone already stays so."""
    user = visit.signed_in().user
    answer = visit.services().accounts.remove_factor(user, _id(factor), _typed("otp"), visit.origin())
    if isinstance(answer, Granted) or (isinstance(answer, Refused) and answer.check == "H4"):
        return see_other(url_for("settings.show_settings", done="removed"))
    return _removal_form(factor, answer)


@blueprint.post("/web/settings/sign-ins/<sign_in>/end")
def end_sign_in(sign_in: str) -> Response:
    """End one sign-in; one that is over already stays so, and the one that asks is signed out like any other."""
    visit.services().accounts.end_sign_in(visit.signed_in().user, sign_in, visit.origin())
    return see_other(url_for("settings.show_settings", done="ended"))


@blueprint.post("/web/settings/sign-ins/end-others")
def end_other_sign_ins() -> Response:
    """End every sign-in but this one."""
    accounts, user = visit.services().accounts, visit.signed_in().user
    accounts.end_other_sign_ins(user, visit.session_token().reveal(), visit.origin())
    return see_other(url_for("settings.show_settings", done="others"))


def _typed(field: str) -> Secret[str]:
    return Secret(request.form.get(field, ""))


def _id(text: str) -> str:
    try:
        return names.parse_factor_id(text)
    except BadNameError:
        raise NotFound from None


def _say(answer: Refused | Incomplete | None, refused: str = REFUSED) -> Problem | None:
    if isinstance(answer, Incomplete):
        return Problem(answer.problem, answer.field)
    return None if answer is None else Problem(refused)


def _password_form(answer: Refused | Incomplete | None = None) -> Response:
    return page(
        "settings_password.html",
        422 if answer else 200,
        problem=_say(answer, PASSWORD_REFUSED),
        shortest=limits.PASSWORD_MIN_CHARS,
        longest=limits.PASSWORD_MAX_CHARS,
    )


def _factor_form(begun: NewFactor, name: str = "", answer: Refused | Incomplete | None = None) -> Response:
    return page(
        "settings_factor_new.html",
        422 if answer else 200,
        begun=begun,
        name=name,
        problem=_say(answer),
        factors=visit.services().accounts.factors(visit.signed_in().user),
        factors_most=limits.FACTORS_PER_USER,
        qr=draw_qr(begun.uri),
        secret_groups=groups_of_four(begun.secret.reveal()),
        name_most=limits.FACTOR_NAME_MAX_CHARS,
    )


def _removal_form(factor_id: str, answer: Refused | Incomplete | None = None) -> Response:
    factors = visit.services().accounts.factors(visit.signed_in().user)
    found = next((factor for factor in factors if factor.factor_id == _id(factor_id)), None)
    if found is None:
        raise NotFound
    return page(
        "settings_factor_remove.html",
        422 if answer else 200,
        factor=found,
        is_last=len(factors) == 1,
        problem=_say(answer),
    )
