"""The page of one session, going on or recorded, and what is thought of its recording.

Whoever may see neither the session nor its recording is answered as if there were none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from flask import Blueprint, Response, request

from controller.policy.viewing import sees_all
from controller.recordings import Stored
from controller.recordings.finding import Finding, find
from controller.recordings.witness import witness_of_stored
from controller.web import headers, refusal, visit
from controller.web.archive import describe_length
from controller.web.archive import row_of as recording_row
from controller.web.chronicle import (
    Chronicle,
    authorising,
    certificate_of,
    events_of,
    tell,
    took_part,
    without_readings,
)
from controller.web.reply import page
from controller.web.sessions import row_of
from controller.web.viewing import find_recording, session_named
from protocol import access
from protocol.fleet_sessions import SessionEntry
from protocol.instants import from_milliseconds
from protocol.names import SessionId

blueprint = Blueprint("session_page", __name__)

# How an outcome is shown: its dot, and in one word.
_OUTCOMES: dict[str, tuple[str, str]] = {
    "intact": ("is-online", "Intact"),
    "interrupted": ("is-stale", "Interrupted, and good up to there"),
    "stopped": ("is-stale", "Stopped, and good up to there"),
    "unfinished": ("is-stale", "Not finished"),
    "unvouched": ("is-stale", "Whole, but nobody vouches for its key"),
    "broken": ("is-danger", "Broken"),
    "refused": ("is-danger", "Refused from somewhere on"),
}


@dataclass(frozen=True, slots=True)
class Checking:
    """How far a recording was checked.

    Attributes:
        finding: what it is worth; None while it is being checked.
        done, size: bytes.
        signer_known: whether somebody else than the recording says whose key sealed it.
    """

    finding: Finding | None
    done: int
    size: int
    at: datetime
    signer_known: bool = False
    records: int = 0
    sealed: int = 0
    fault_at: int | None = None

    @property
    def tone(self) -> str:
        """The class that the outcome is coloured by."""
        return _OUTCOMES[self.finding.outcome][0] if self.finding else ""

    @property
    def title(self) -> str:
        """The outcome in a few words."""
        return _OUTCOMES[self.finding.outcome][1] if self.finding else "Checking…"


@dataclass(frozen=True, slots=True)
class Subject:
    """A session that somebody may see: while it goes on, recorded, or told of by the audit log alone."""

    session: SessionId
    live: SessionEntry | None
    stored: Stored | None
    chronicle: Chronicle


@blueprint.get("/web/sessions/<session>")
def show_session(session: str) -> Response:
    """Show the page."""
    subject = look(session)
    if subject is None:
        return refusal.answer(404)
    checking = None
    if subject.stored is not None:
        headers.loosen(wasm=True)  # the player has its terminal in it
        checking = check(subject.stored) if "check" in request.args else None
    return page("session.html", shown=_shown(subject), checking=checking, has_ended="ended" in request.args)


@blueprint.get("/web/sessions/<session>/summary")
def show_summary(session: str) -> Response:
    """Return what of the page changes while the session goes on: its head, or the rest."""
    subject = look(session)
    template = "session_head.html" if request.args.get("part") == "head" else "session_summary.html"
    return refusal.answer(404) if subject is None else page(template, shown=_shown(subject))


@blueprint.get("/web/sessions/<session>/verification")
def show_verification(session: str) -> Response:
    """Check the recording, or go on checking it, and say what it is worth.

    With ``again`` it is gone through once more, to its end; others see what was found before until that is over.
    """
    stored = find_recording(session)
    if stored is None:
        return refusal.answer(404)
    checking = check(stored, again="again" in request.args)
    return page("verification.html", checking=checking, session_id=stored.entry.session)


def _shown(subject: Subject) -> dict[str, object]:
    stored = subject.stored
    lasted = subject.chronicle.lasted
    # Ended a moment ago, from here: its node has not said so yet.
    is_ending = subject.live is not None and "ended" in request.args
    return {
        "session_id": subject.session,
        "told": subject.chronicle,
        "row": row_of(subject.live) if subject.live and not is_ending else None,
        "is_ending": is_ending,
        "recording": recording_row(stored.entry) if stored else None,
        "lasted": describe_length(int(lasted.total_seconds() * 1000)) if lasted is not None else "",
    }


def look(text: str) -> Subject | None:
    """Return what there is to show of a session; None where that is nothing, or nothing for this person."""
    session = session_named(text)
    if session is None:
        return None
    services, person = visit.services(), visit.person()
    live = services.live.find(session, person)
    stored = find_recording(text, in_passing=live is not None)
    began, ended = _span(live, stored)
    told = events_of(services.ledger, session, began, ended)
    reads_all = access.sees_audit(person.roles) or sees_all(person)
    is_theirs = reads_all or took_part(told.events, person.user, person.created)
    if live is None and stored is None and not (told.events and is_theirs):
        return None
    chronicle = tell(session, told.events if reads_all else without_readings(told.events), live, stored)
    return Subject(session, live, stored, replace(_authorised(chronicle), is_cut=told.is_cut))


def _authorised(chronicle: Chronicle) -> Chronicle:
    """Return the chronicle with what the audit log says of the certificate that was shown."""
    if not chronicle.user or chronicle.began is None:
        return chronicle
    certificate = certificate_of(visit.services().ledger, chronicle.user, chronicle.began)
    roles = certificate.get("roles")
    return replace(chronicle, certified=certificate, roles=authorising(roles if isinstance(roles, list) else ()))


def _span(live: SessionEntry | None, stored: Stored | None) -> tuple[datetime | None, datetime | None]:
    if live is not None:
        return from_milliseconds(live.live.started), None
    if stored is None:
        return None, None
    began = from_milliseconds(stored.entry.started)
    over = stored.entry.state != "arriving"
    return began, from_milliseconds(stored.entry.started + stored.entry.duration) if over else None


def check(stored: Stored, *, again: bool = False) -> Checking:
    """Do a bounded piece of the checking, or of checking again, the same as `tctl recordings verify` does whole."""
    services, entry = visit.services(), stored.entry
    find_survey = services.surveys.again if again else services.surveys.of
    survey = find_survey(services.recordings, stored)
    done = survey.advance(lambda offset, size: services.recordings.read(entry.session, offset, size), entry.size)
    if not done:
        return Checking(None, survey.taken, entry.size, services.clock())
    if again:
        services.surveys.settle(entry.session, survey)
    witness = witness_of_stored(services.recordings, stored)
    verdict = survey.verdict(witness.signer)
    finding = find(verdict, witness, stored.refused, is_kept=True, arrives=entry.state == "arriving")
    return Checking(
        finding,
        survey.taken,
        entry.size,
        services.clock(),
        signer_known=witness.is_proof,
        records=verdict.records,
        sealed=verdict.sealed,
        fault_at=verdict.fault.number if verdict.fault else None,
    )
