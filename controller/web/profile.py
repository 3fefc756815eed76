"""A person's own page: what they may do here, and until when."""

from __future__ import annotations

from flask import Blueprint, Response

from controller.web import visit
from controller.web.reply import page
from protocol import limits
from protocol.durations import describe_duration

blueprint = Blueprint("profile", __name__)


@blueprint.get("/web/profile")
def show_profile() -> Response:
    """Show user, roles, logins and the end of this session."""
    person = visit.person()
    return page(
        "profile.html",
        person=person,
        command=visit.services().login_command(person.name),
        idle=describe_duration(limits.WEB_SESSION_IDLE),
    )
