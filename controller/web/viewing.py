"""Recordings as one person may see them, and what the audit log is told of it.

Whoever may not see a recording is answered as if it were not there. That somebody is given one stands in the audit log
before it is; that somebody tried, too.
"""

from __future__ import annotations

import logging

from controller.audit import AuditError
from controller.policy.viewing import decide_viewing
from controller.recordings import Stored
from controller.web import visit
from protocol import events, names
from protocol.decision import Granted, Refused
from protocol.events import Json
from protocol.names import BadNameError, SessionId

_log = logging.getLogger("WEB")


def session_named(text: str) -> SessionId | None:
    """Return the session's id that `text` is, a part of an address; None where it is none."""
    try:
        return names.parse_session_id(text)
    except BadNameError:
        return None


def find_recording(text: str, *, in_passing: bool = False) -> Stored | None:
    """Return the recording, where there is one and this person may see it.

    Args:
        text: the session's id, as it stands in an address.
        in_passing: the person asked for something else, which they may see: the audit log is not told of an attempt.
    """
    session = session_named(text)
    stored = None if session is None else visit.services().recordings.find(session)
    if stored is None:
        return None
    answer = decide_viewing(visit.person(), stored.entry)
    if isinstance(answer, Granted):
        return stored
    if not in_passing:
        _log.warning("%s: %s", answer.check, answer.reason)
        _report_attempt(stored, answer)
    return None


def report_reading(stored: Stored, form: str = "") -> None:
    """Tell the audit log that somebody reads a recording: once where that takes many requests.

    Raises `AuditError`: nothing of it may be handed out then.
    """
    accesses, user, now = visit.services().accesses, visit.person().user, visit.services().clock()
    if not accesses.is_known(user, stored.entry.session, now):
        report(stored, form)
        accesses.note(user, stored.entry.session, now)


def report(stored: Stored, form: str = "") -> None:
    """Tell the audit log that somebody is given a recording, in such a form. Raises `AuditError`."""
    fields = _access(stored)
    if form:
        fields["format"] = form
    visit.services().audit.write(events.RECORDING_ACCESS, fields)


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
