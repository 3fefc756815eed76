"""What happened in a session and what its recording is worth, for programs. See also `controller.web.recordings`."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import NotFound

from controller.web import playback
from controller.web.permissions import rule
from controller.web.session_page import check, look
from controller.web.viewing import find_recording
from protocol import endpoints
from protocol.instants import to_milliseconds
from protocol.session_details import RecordingCheck, SessionTimeline, TimelineMoment

blueprint = Blueprint("v1_recordings", __name__)


@blueprint.get(rule(endpoints.RECORDING_TIMELINE))
def timeline(session: str) -> Response:
    """Tell what happened in a session, recorded or going on."""
    subject = look(session)
    if subject is None:
        raise NotFound
    told = subject.chronicle
    shown = SessionTimeline(
        session=subject.session,
        user=told.user,
        login=told.login,
        node=told.node_id,
        hostname=told.node,
        roles=told.roles,
        remote=told.remote,
        command=told.command,
        began=to_milliseconds(told.began) if told.began else None,
        is_live=subject.live is not None,
        participants=told.participants,
        moments=tuple(TimelineMoment(to_milliseconds(each.time), each.text) for each in told.moments),
    )
    return jsonify(shown.to_dict())


@blueprint.get(rule(endpoints.RECORDING_VERIFICATION))
def verification(session: str) -> Response:
    """Check a recording, or go on checking it, and say what it is worth."""
    stored = find_recording(session)
    if stored is None:
        raise NotFound
    checking = check(stored)
    shown = RecordingCheck(
        outcome=checking.finding.outcome if checking.finding else "checking",
        line=checking.finding.line if checking.finding else "",
        done=checking.done,
        size=checking.size,
        signer_known=checking.signer_known,
        records=checking.records,
        sealed=checking.sealed,
        fault_at=checking.fault_at,
    )
    return jsonify(shown.to_dict())


@blueprint.get(rule(endpoints.RECORDING_CAST))
def cast(session: str) -> Response:
    """Hand out a recording as asciicast; the audit log knows of it before."""
    return playback.cast(session)
