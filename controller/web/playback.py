"""What the player of a recording asks for: what is where in it, what comes next, and the screen at any moment.

Nothing is unpacked but what is asked for, and each answer is bounded. That somebody plays a recording stands in the
audit log before anything of it is handed out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

from flask import Blueprint, Response, jsonify, request

from controller.authority import AuthorityError
from controller.recordings import Stored
from controller.recordings.export import Export
from controller.recordings.playback import PASSAGE_RECORDS, bounded, passage, still
from controller.recordings.survey import Mark, Read, Survey
from controller.web import refusal, visit
from controller.web.viewing import find_recording, report, report_reading
from protocol import limits
from protocol.fields import MessageError
from protocol.recording.cast import Event
from protocol.recording.fault import RecordingError
from protocol.recording.framing import NUMBER_END
from protocol.recording.opening import Opener
from protocol.recording.verdict import Examiner
from protocol.table import escape_text

blueprint = Blueprint("playback", __name__)

_ONE_RESIZE_MS = 1000
_LOOKED_AHEAD = 8
_COLUMNS_APART, _ROWS_APART = 10, 5

_NO_KEY = "This recording cannot be opened: the controller does not have the key that it is locked with."
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?", re.ASCII)


@blueprint.get("/web/sessions/<session>/index")
def index(session: str) -> Response:
    """Say how long the recording is, which of its records begins when, and what is marked.

    Of a long recording it says as much as was gone through by now; ``read`` and ``size`` are how much that is.
    """
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    survey = _survey(stored)
    if survey.opener is None:
        return refusal.answer(409, _NO_KEY)
    report_reading(stored, "web")
    survey.advance(_reader(stored), stored.entry.size)
    columns, rows = bounded(*survey.size)
    return jsonify(
        {
            **_extent(stored, survey),
            "columns": columns,
            "rows": rows,
            "fault": str(survey.fault) if survey.fault else "",
            "stretches": [[each.position.number, each.begin / 1000] for each in survey.stretches],
            "marks": [[mark.time / 1000, mark.kind, escape_text(mark.text)] for mark in worth_a_stop(survey)],
            "marked": survey.marked / 1000,
        }
    )


@blueprint.get("/web/sessions/<session>/segment")
def segment(session: str) -> Response:
    """Hand out the events of the records from one on."""
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    number = _number("record", NUMBER_END, 0)
    most = _number("count", PASSAGE_RECORDS, PASSAGE_RECORDS) or 1
    report_reading(stored, "web")
    survey = _survey(stored)
    survey.advance(_reader(stored), stored.entry.size)
    found = passage(survey, _reader(stored), number, most)
    return jsonify(
        {
            **_extent(stored, survey),
            "events": [_told(event) for event in found.events],
            "next": found.following,
            "more": found.more,
            "fault": found.fault,
        }
    )


@blueprint.get("/web/sessions/<session>/screen")
def screen(session: str) -> Response:
    """Hand out the screen as it was at a moment, and the record with which to go on."""
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    time = _moment("at")
    report_reading(stored, "web")
    survey = _survey(stored)
    survey.advance(_reader(stored), stored.entry.size)
    try:
        found = still(survey, _reader(stored), time)
    except RecordingError as err:
        return refusal.answer(409, f"The recording cannot be played from there: {err}")
    columns, rows = found.size
    return jsonify({"columns": columns, "rows": rows, "text": found.text, "record": found.number})


@blueprint.get("/web/sessions/<session>/cast")
def cast(session: str) -> Response:
    """Hand out the recording as asciicast, for any player of it."""
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    try:
        key = visit.services().recordings.key(stored.entry.session)
        Opener(stored.header, key.key)  # now: later there is no way left to refuse
    except (AuthorityError, RecordingError):
        return refusal.answer(409, _NO_KEY)
    report(stored, "cast")
    out = BytesIO()
    export = Export("cast", out, Examiner(key.signer), lambda _: key.key)
    response = Response(
        _streamed(export, _pieces(stored, _reader(stored)), out), content_type="application/x-asciicast"
    )
    response.headers["Content-Disposition"] = f'attachment; filename="{stored.entry.session}.cast"'
    return response


def worth_a_stop(survey: Survey) -> Iterator[Mark]:
    """Yield the marks that one wants to go to.

    The sizes that a terminal goes through within a second, as somebody pulls at a window, are one; one that is nearly
    the size before is none.
    """
    shown, marks = survey.size, tuple(survey.marks)
    for number, mark in enumerate(marks):
        if mark.kind != "resize":
            yield mark
            continue
        later = marks[number + 1 : number + 1 + _LOOKED_AHEAD]
        if any(each.kind == "resize" and each.time - mark.time <= _ONE_RESIZE_MS for each in later):
            continue
        columns, _, rows = mark.text.partition("x")
        size = (int(columns), int(rows))
        if abs(size[0] - shown[0]) >= _COLUMNS_APART or abs(size[1] - shown[1]) >= _ROWS_APART:
            shown = size
            yield mark


def _streamed(export: Export, pieces: Iterator[bytes], out: BytesIO) -> Iterator[bytes]:
    """Yield what an export writes, record by record: no more than one is held, however well it is packed.

    The status has gone out long before a fault is met, so the file itself says that it ends too early.
    """
    for _ in export.steps(pieces):
        if out.tell():
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    if export.fault is not None:
        out.seek(0)
        out.truncate()
        export.mark(f"Skerry: broken from record {export.fault.number}")
        yield out.getvalue()


def _extent(stored: Stored, survey: Survey) -> dict[str, object]:
    """Return how much of the recording there is, and how much of that was gone through."""
    entry = stored.entry
    return {"state": entry.state, "duration": entry.duration / 1000, "read": survey.taken, "size": entry.size}


def _survey(stored: Stored) -> Survey:
    services = visit.services()
    return services.surveys.of(services.recordings, stored)


def _reader(stored: Stored) -> Read:
    recordings, session = visit.services().recordings, stored.entry.session
    return lambda offset, size: recordings.read(session, offset, size)


def _pieces(stored: Stored, read: Read) -> Iterator[bytes]:
    offset = 0
    while offset < stored.entry.size:
        piece = read(offset, min(limits.RECORDING_PIECE_MAX, stored.entry.size - offset))
        if not piece:
            return
        offset += len(piece)
        yield piece


def _told(event: Event) -> list[object]:
    # What is marked is shown by the page, and so written out; what was printed goes to the player's own terminal.
    return [event.time / 1000, event.code, escape_text(event.data) if event.code == "m" else event.data]


def _number(name: str, most: int, otherwise: int) -> int:
    text = request.args.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise MessageError(f"{name}: not a whole number from 0 to {most}")
    return int(text)


def _moment(name: str) -> int:
    text = request.args.get(name, "0")
    if not _SECONDS.fullmatch(text):
        raise MessageError(f"{name}: not a number of seconds")
    return round(float(text) * 1000)
