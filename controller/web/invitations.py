"""The pages behind the links of `tctl users add` and `tctl users reset`: a password and a second factor."""

from __future__ import annotations

import io
from datetime import timedelta

import segno
from flask import Blueprint, Response, request
from markupsafe import Markup

from controller.accounts import Incomplete, Invitation
from controller.web import visit
from controller.web.reply import page
from protocol import limits
from protocol.decision import Granted
from protocol.durations import describe_duration
from protocol.secret import Secret

blueprint = Blueprint("invitations", __name__)


@blueprint.get("/web/invite/<token>")
def show_invite(token: str) -> Response:
    """Show the form of a first set-up."""
    return _show(token, "invite")


@blueprint.post("/web/invite/<token>")
def take_invite(token: str) -> Response:
    """Complete a first set-up."""
    return _take(token, "invite")


@blueprint.get("/web/reset/<token>")
def show_reset(token: str) -> Response:
    """Show the form of a reset."""
    return _show(token, "reset")


@blueprint.post("/web/reset/<token>")
def take_reset(token: str) -> Response:
    """Complete a reset."""
    return _take(token, "reset")


def _show(token: str, kind: str) -> Response:
    invitation = _open(token, kind)
    return _gone() if invitation is None else _form(invitation)


def _take(token: str, kind: str) -> Response:
    invitation = _open(token, kind)
    if invitation is None:
        return _gone()
    password, otp = Secret(request.form.get("password", "")), Secret(request.form.get("otp", ""))
    answer = visit.services().accounts.complete_invite(token, password, otp, visit.origin())
    if isinstance(answer, Incomplete):
        return _form(invitation, answer.problem, 422)
    if not isinstance(answer, Granted):
        return _gone()
    command = visit.services().login_command(answer.value)
    return page("welcome.html", user=answer.value, command=command, kind=kind)


def _open(token: str, kind: str) -> Invitation | None:
    """Return what stands behind a link; None for a link that is unknown, spent, expired or of the other kind."""
    answer = visit.services().accounts.open_invite(token, visit.origin())
    if isinstance(answer, Granted) and answer.value.kind == kind:
        return answer.value
    return None


def _gone() -> Response:
    return page("gone.html", 404)


def _form(invitation: Invitation, problem: str | None = None, status: int = 200) -> Response:
    return page(
        "invitation.html",
        status,
        invitation=invitation,
        problem=problem,
        qr=draw_qr(invitation.uri),
        secret_groups=groups_of_four(invitation.secret.reveal()),
        shortest=limits.PASSWORD_MIN_CHARS,
        longest=limits.PASSWORD_MAX_CHARS,
        time_left=_describe_left(invitation),
    )


def _describe_left(invitation: Invitation) -> str:
    """Return for how long a link is still good, such as ``7 hours 59 minutes``."""
    left = invitation.expires - visit.services().clock()
    hours, minutes = divmod(max(1, int(left.total_seconds() // 60)), 60)
    parts = (timedelta(hours=hours), timedelta(minutes=minutes))
    return " ".join(_describe_hours(part) for part in parts if part)


def _describe_hours(span: timedelta) -> str:
    hours = int(span.total_seconds() // 3600)
    return describe_duration(span) if hours < 24 else f"{hours} hours"


def draw_qr(uri: Secret[str]) -> Markup:
    """Return the QR code of `uri` as an SVG element: black on white in either theme, so that every camera reads it."""
    drawing = io.BytesIO()
    code = segno.make_qr(uri.reveal(), error="m")
    code.save(
        drawing,
        kind="svg",
        xmldecl=False,
        svgns=False,
        omitsize=True,
        border=4,
        dark="#0b1a24",
        light="#fff",
        svgclass="qr-code",
        lineclass=None,
    )
    return Markup(drawing.getvalue().decode())  # noqa: S704 - segno's own drawing; it holds no text of the address


def groups_of_four(secret: str) -> list[str]:
    """Return a base32 secret in the groups in which people type it off."""
    return [secret[start : start + 4] for start in range(0, len(secret), 4)]
