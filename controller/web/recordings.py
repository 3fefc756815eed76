"""Recordings for tsh, which checks, opens and plays them itself: this door hands out their bytes as they are kept.

Whoever may not see a recording is answered as if it were not there.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import islice

from flask import Blueprint, Response, jsonify, request

from controller.audit import AuditError
from controller.authority import UnknownKeyError, UnopenableError
from controller.policy.viewing import decide_viewing, sees_all
from controller.recordings import Stored
from controller.web import refusal, visit
from controller.web.permissions import rule
from protocol import endpoints, events, limits, names
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.fields import MessageError
from protocol.names import BadNameError
from protocol.recordings import RecordingList

blueprint = Blueprint("recordings", __name__)

_log = logging.getLogger("WEB")
_NO_KEY = (
    "This recording cannot be opened: the controller does not have the key that it is locked with. Trying again does "
    "not help; the controller's log tells its admin more."
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The last moment that there is to ask for, in milliseconds.
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def _number(name: str, least: int, most: int) -> int | None:
    """Return a parameter of the query; None where it was not sent. Raises `MessageError`."""
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise MessageError(f"{name}: not a whole number from {least} to {most}")
    return int(text)


def _instant(name: str) -> datetime | None:
    milliseconds = _number(name, 0, _LATEST)
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


def _earliest() -> datetime | None:
    """Return from when on recordings are asked for: the later of ``since`` and ``last``."""
    now = visit.services().clock()
    last = _number("last", 1, int((now - _EPOCH).total_seconds()))
    given = [_instant("since"), None if last is None else now - timedelta(seconds=last)]
    return max((moment for moment in given if moment is not None), default=None)


def _find(text: str) -> Stored | None:
    """Return the recording, where there is one and this person may see it."""
    try:
        session = names.parse_session_id(text)
    except BadNameError:
        return None
    stored = visit.services().recordings.find(session)
    if stored is None:
        return None
    answer = decide_viewing(visit.person(), stored.entry)
    if isinstance(answer, Granted):
        return stored
    _log.warning("%s: %s", answer.check, answer.reason)
    _report_attempt(stored, answer)
    return None


@blueprint.get(endpoints.RECORDINGS.path)
def recordings() -> Response:
    """List the recordings this person may see, the newest first."""
    person = visit.person()
    since, until = _earliest(), _instant("until")
    most = _number("limit", 1, limits.RECORDINGS_LISTED_MAX) or limits.RECORDINGS_LISTED_MAX
    participant = None if sees_all(person) else person.user
    found = visit.services().recordings.browse(
        since=since, until=until, participant=participant, most=limits.RECORDINGS_EXAMINED_MAX
    )
    seen = (one.entry for one in found if isinstance(decide_viewing(person, one.entry), Granted))
    shown = tuple(islice(seen, most + 1))
    return jsonify(RecordingList(shown[:most], is_cut=found.is_cut or len(shown) > most).to_dict())


@blueprint.get(rule(endpoints.RECORDING))
def recording(session: str) -> Response:
    """Describe one recording."""
    stored = _find(session)
    return refusal.answer(404) if stored is None else jsonify(stored.entry.to_dict())


@blueprint.post(rule(endpoints.RECORDING_KEY))
def key(session: str) -> Response:
    """Hand out what opens a recording. That it was, stands in the audit log before it is."""
    stored = _find(session)
    if stored is None:
        return refusal.answer(404)
    try:
        opened = visit.services().recordings.key(stored.entry.session)
    except (UnknownKeyError, UnopenableError) as err:
        _log.error("%s", err)
        return refusal.answer(409, _NO_KEY)
    _report(stored)
    return jsonify(opened.to_dict())


@blueprint.get(rule(endpoints.RECORDING_CONTENT))
def content(session: str) -> Response:
    """Hand out a piece of a recording: sealed, as it is kept, and no further than it was checked."""
    stored = _find(session)
    if stored is None:
        return refusal.answer(404)
    entry = stored.entry
    offset = _number("offset", 0, limits.RECORDING_MAX) or 0
    size = _number("size", 1, limits.RECORDING_PIECE_MAX) or limits.RECORDING_PIECE_MAX
    if offset > entry.size:
        return refusal.answer(416, f"offset: the recording has {entry.size} bytes so far")
    piece = visit.services().recordings.read(entry.session, offset, min(size, entry.size - offset))
    if piece and stored.header.cipher == "none":
        _report_reading(stored)  # nobody needs to ask for its key
    response = Response(piece, content_type="application/octet-stream")
    response.headers["Skerry-Recording-State"] = entry.state
    response.headers["Skerry-Recording-Size"] = str(entry.size)
    return response


def _report_reading(stored: Stored) -> None:
    accesses, user, now = visit.services().accesses, visit.person().user, visit.services().clock()
    if not accesses.is_known(user, stored.entry.session, now):
        _report(stored)
        accesses.note(user, stored.entry.session, now)


def _report(stored: Stored) -> None:
    """Tell the audit log that somebody is given a recording. Raises `AuditError`."""
    visit.services().audit.write(events.RECORDING_ACCESS, _access(stored))


def _report_attempt(stored: Stored, refused: Refused) -> None:
    """Tell the audit log that somebody asked for a recording that is not theirs to see: once where they ask again."""
    attempts, user, now = visit.services().attempts, visit.person().user, visit.services().clock()
    if attempts.is_known(user, stored.entry.session, now):
        return
    fields: dict[str, Json] = {"success": False, "error": refused.reason, "check": refused.check}
    try:
        visit.services().audit.write(events.RECORDING_ACCESS_REFUSED, _access(stored) | fields)
    except AuditError as err:  # another answer would tell them that it is there
        _log.error("%s", err)
    else:
        attempts.note(user, stored.entry.session, now)


def _access(stored: Stored) -> dict[str, Json]:
    origin = visit.origin()
    return {
        "user": visit.person().user,
        "sid": stored.entry.session,
        "server_hostname": stored.entry.hostname,
        "addr.remote": origin.address,
        "via": origin.via,
    }
