"""The audit log, for programs of who may read it."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request

from controller.audit_reader import BadCursorError, Wanted
from controller.web import visit
from controller.web.audit import FORMATS, hand_out
from controller.web.v1 import question
from protocol import endpoints, events, limits, names
from protocol.audit_pages import AuditEvents
from protocol.fields import MessageError

blueprint = Blueprint("v1_audit", __name__)

_KINDS_MAX = 32
_NAMES = frozenset(kind.name for kind in events.KINDS)


@blueprint.get(endpoints.AUDIT.path)
def audit() -> Response:
    """List events, the newest first."""
    wanted, most = _wanted(), question.number("limit", 1, limits.AUDIT_PAGE_MAX) or limits.AUDIT_PAGE
    try:
        found = visit.services().ledger.page(wanted, question.words("cursor"), most)
    except BadCursorError as err:
        raise MessageError(f"cursor: {err}") from None
    return jsonify(AuditEvents(found.events, found.next, found.examined).to_dict())


@blueprint.get(endpoints.AUDIT_EXPORT.path)
def export() -> Response:
    """Hand out all events that are wanted, a line each; the audit log knows of it before."""
    form = question.read("format", _format) or "jsonl"
    said = [(name, value) for name, value in request.args.items(multi=True) if name != "format"]
    return hand_out(_wanted(), urlencode(said), form)


@blueprint.get(endpoints.AUDIT_VERIFICATION.path)
def verification() -> Response:
    """Check the log's chain, as far as it was not checked before, and say what it is like."""
    return jsonify(visit.services().ledger.verification().to_dict())


def _wanted() -> Wanted:
    return Wanted(
        kinds=question.every("event", _kind, _KINDS_MAX),
        codes=question.every("code", _code, _KINDS_MAX),
        user=question.words("user"),
        node=question.words("node"),
        session=question.read("session", names.parse_session_id),
        since=question.instant("since"),
        until=question.instant("until"),
        text=question.words("text") or "",
    )


def _format(text: str) -> str:
    if text not in FORMATS:
        raise MessageError(f"not one of {', '.join(FORMATS)}")
    return text


def _kind(text: str) -> str:
    if text not in _NAMES:
        raise MessageError("no kind of event that is known here")
    return text


def _code(text: str) -> str:
    if text not in events.BY_CODE:
        raise MessageError("no code of an event that is known here")
    return text
