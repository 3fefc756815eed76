"""Sessions that are going on, for programs."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import NotFound

from controller.web import refusal, visit
from controller.web.ending import end_for_all
from controller.web.permissions import rule
from controller.web.v1 import question
from protocol import endpoints, names
from protocol.decision import Refused
from protocol.fleet_sessions import SessionList

blueprint = Blueprint("v1_sessions", __name__)


@blueprint.get(endpoints.SESSIONS.path)
def sessions() -> Response:
    """List the live sessions this person may see, the newest first."""
    return jsonify(SessionList(visit.services().live.sessions_for(visit.person())).to_dict())


@blueprint.post(rule(endpoints.SESSION_END))
def end(session: str) -> Response:
    """End a session for all who take part: who may join it may."""
    services, person = visit.services(), visit.person()
    entry = services.live.find(question.named(session, names.parse_session_id), person)
    if entry is None or not entry.may_join:
        raise NotFound
    answer = end_for_all(entry)
    if isinstance(answer, Refused):
        return refusal.answer(409, f"The session could not be ended: {answer.reason}")
    return Response(status=204)
