"""Recordings for tsh, which checks, opens and plays them itself: this door hands out their bytes as they are kept.

Whoever may not see a recording is answered as if it were not there.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import islice

from flask import Blueprint, Response, jsonify

from controller.authority import UnknownKeyError, UnopenableError
from controller.policy.viewing import decide_viewing, sees_all
from controller.web import refusal, visit
from controller.web.archive import Search
from controller.web.permissions import rule
from controller.web.v1 import question
from controller.web.viewing import find_recording, report, report_reading
from protocol import endpoints, limits
from protocol.decision import Granted
from protocol.recordings import RecordingList, parse_state

blueprint = Blueprint("recordings", __name__)

_log = logging.getLogger("WEB")
_NO_KEY = (
    "This recording cannot be opened: the controller does not have the key that it is locked with. Trying again does "
    "not help; the controller's log tells its admin more."
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A century: whatever is asked for beyond it, there were no recordings.
LAST_MAX = 100 * 366 * 86400


def _earliest() -> datetime | None:
    """Return from when on recordings are asked for: the later of ``since`` and ``last``."""
    now = visit.services().clock()
    last = question.number("last", 1, LAST_MAX)
    given = [question.instant("since"), None if last is None else max(now - timedelta(seconds=last), _EPOCH)]
    return max((moment for moment in given if moment is not None), default=None)


def _search() -> Search:
    """Return what is asked for, their time aside: as the page of recordings has it."""
    return Search(
        node=question.words("node") or "",
        user=question.words("user") or "",
        state=question.read("state", parse_state) or "",
        before=None,
    )


@blueprint.get(endpoints.RECORDINGS.path)
def recordings() -> Response:
    """List the recordings this person may see, the newest first."""
    person, search = visit.person(), _search()
    since, until = _earliest(), question.instant("until")
    most = question.number("limit", 1, limits.RECORDINGS_LISTED_MAX) or limits.RECORDINGS_LISTED_MAX
    participant = None if sees_all(person) else person.user
    found = visit.services().recordings.browse(
        since=since, until=until, participant=participant, most=limits.RECORDINGS_EXAMINED_MAX
    )
    wanted = (one.entry for one in found if search.takes(one.entry))
    seen = (entry for entry in wanted if isinstance(decide_viewing(person, entry), Granted))
    shown = tuple(islice(seen, most + 1))
    return jsonify(RecordingList(shown[:most], is_cut=found.is_cut or len(shown) > most).to_dict())


@blueprint.get(rule(endpoints.RECORDING))
def recording(session: str) -> Response:
    """Describe one recording."""
    stored = find_recording(session)
    return refusal.answer(404) if stored is None else jsonify(stored.entry.to_dict())


@blueprint.post(rule(endpoints.RECORDING_KEY))
def key(session: str) -> Response:
    """Hand out what opens a recording. That it was, stands in the audit log before it is."""
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    try:
        opened = visit.services().recordings.key(stored.entry.session)
    except (UnknownKeyError, UnopenableError) as err:
        _log.error("%s", err)
        return refusal.answer(409, _NO_KEY)
    report(stored)
    return jsonify(opened.to_dict())


@blueprint.get(rule(endpoints.RECORDING_CONTENT))
def content(session: str) -> Response:
    """Hand out a piece of a recording: sealed, as it is kept, and no further than it was checked."""
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    entry = stored.entry
    offset = question.number("offset", 0, limits.RECORDING_MAX) or 0
    size = question.number("size", 1, limits.RECORDING_PIECE_MAX) or limits.RECORDING_PIECE_MAX
    if offset > entry.size:
        return refusal.answer(416, f"offset: the recording has {entry.size} bytes so far")
    piece = visit.services().recordings.read(entry.session, offset, min(size, entry.size - offset))
    if piece and stored.header.cipher == "none":
        report_reading(stored)  # nobody needs to ask for its key
    response = Response(piece, content_type="application/octet-stream")
    response.headers["Skerry-Recording-State"] = entry.state
    response.headers["Skerry-Recording-Size"] = str(entry.size)
    return response
