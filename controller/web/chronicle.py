"""What is known of one session, put together: who, where, by what right, and what happened when.

It comes from three places: what the node tells of it while it goes on, its recording, and the audit log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from controller.audit_reader import AuditReader, Wanted
from controller.recordings import Stored
from protocol import events, limits
from protocol.access import PRESET_ROLES
from protocol.event_sentences import time_of
from protocol.events import EventKind
from protocol.fleet_sessions import SessionEntry
from protocol.instants import from_milliseconds
from protocol.names import BadNameError, RoleName, SessionId, UserName, parse_node_id, parse_session_id
from protocol.recording.signer import fingerprint
from protocol.session_ids import is_minted_by

# Around a session: what the proxy says just before it, and what its node could only say later.
_BEFORE, _AFTER = timedelta(minutes=5), timedelta(hours=1)
_EVENTS_MAX = 300
_LATER_MAX = 100
_DONE_LATER: tuple[EventKind, ...] = (
    events.SESSION_UPLOAD,
    events.RECORDING_ACCESS,
    events.RECORDING_ACCESS_REFUSED,
    events.RECORDING_INTERRUPTED,
    events.RECORDING_GAP,
    events.RECORDING_REFUSED,
    events.RECORDING_SET_ASIDE,
    events.RECORDING_DELETE,
)
# In what form a recording is handed out, as the audit log has it.
_FORMS: Mapping[str, str] = {"web": "in the browser", "cast": "as a download"}
_READINGS = frozenset({events.RECORDING_ACCESS.code, events.RECORDING_ACCESS_REFUSED.code})
_BEGUN = frozenset({events.SESSION_START.code, events.SESSION_JOIN.code})
_GOOD = frozenset({events.SESSION_START.code, events.SESSION_UPLOAD.code, events.SESSION_JOIN.code})
_STATES: Mapping[str, tuple[str, str]] = {
    "complete": ("The recording goes to the session's end and is sealed", "is-online"),
    "interrupted": ("The recording ends here: the agent was cut off", "is-stale"),
    "stopped": ("The recording ends here: the device could not record any further", "is-stale"),
    "refused": ("The recording ends here: what came after it did not fit", "is-danger"),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened.

    Attributes:
        text: what, in a sentence; empty where `event` says it.
        tone: the class that its dot is coloured by.
        more: what few want to know of it.
        event: what the audit log says of it.
    """

    time: datetime
    text: str
    tone: str = ""
    more: str = ""
    event: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Chronicle:
    """One session.

    Attributes:
        user: who began it; empty where that is not known.
        roles: which of the roles that the person held then let them in.
        remote: ``HOST:PORT`` that the person came from.
        certified: when and whither the certificate was issued that was shown, as far as the audit log says.
        size: columns and rows at the beginning, or now; empty where that is not known, or there is no terminal.
        is_interactive: whether there is a terminal, as far as is known.
        is_over: whether it has ended, as far as is known.
        moments: what happened, in its order.
        is_cut: whether the audit log may well tell of more than was looked at.
    """

    session: SessionId
    user: str = ""
    login: str = ""
    node_id: str = ""
    node: str = ""
    roles: tuple[str, ...] = ()
    remote: str = ""
    certified: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    size: str = ""
    is_interactive: bool = False
    began: datetime | None = None
    lasted: timedelta | None = None
    is_over: bool = False
    participants: tuple[str, ...] = ()
    moments: tuple[Moment, ...] = ()
    is_cut: bool = False

    def since_start(self, moment: Moment) -> str:
        """Return how long after the beginning a moment was, such as ``+1:07``; empty for what came before."""
        if self.began is None or moment.time < self.began:
            return ""
        seconds = int((moment.time - self.began).total_seconds())
        days, minutes = seconds // 86_400, seconds % 86_400 // 60
        clock = (
            f"{minutes // 60}:{minutes % 60:02}:{seconds % 60:02}"
            if seconds >= 3600
            else f"{minutes}:{seconds % 60:02}"
        )
        return f"+{days} d {clock}" if days else f"+{clock}"


def _command(start: Mapping[str, Any]) -> str:
    """Return what was to be run, as it was typed: the event has it as a list, empty for a shell."""
    words = start.get("initial_command")
    return " ".join(map(str, words)) if isinstance(words, list) else str(words or "")


def tell(
    session: SessionId, told: Sequence[Mapping[str, Any]], live: SessionEntry | None, stored: Stored | None
) -> Chronicle:
    """Return the chronicle of a session.

    Args:
        session: which.
        told: its events, in any order.
        live: what its node says of it, while it goes on.
        stored: its recording, where there is one that may be seen.
    """
    ordered = sorted(_credible(told), key=lambda event: (str(event.get("time", "")), int(event.get("ei", 0) or 0)))
    start = next((event for event in ordered if event.get("code") == events.SESSION_START.code), {})
    end = next((event for event in ordered if event.get("code") == events.SESSION_END.code), None)
    parts = live.live.parties if live else ()
    entry = stored.entry if stored else None
    everybody = [*(entry.participants if entry else ()), *(party.user for party in parts), *_taking_part(ordered)]
    began = _began(start, live, stored)
    size = start.get("size") or (f"{live.live.size[0]}:{live.live.size[1]}" if live and live.live.size else "")
    return Chronicle(
        session=session,
        user=str(start.get("user") or (everybody[0] if everybody else "")),
        login=str(start.get("login") or (live.live.login if live else "") or (entry.login if entry else "")),
        node_id=str(start.get("server_id") or (live.node_id if live else "") or (entry.node if entry else "")),
        node=str(start.get("server_hostname") or (live.name if live else "") or (entry.hostname if entry else "")),
        remote=str(start.get("addr.remote") or (parts[0].remote if parts else "")),
        command=_command(start) or (live.live.command if live else "") or (entry.command if entry else ""),
        size=str(size).replace(":", " x "),
        is_interactive=bool(size) or (entry is not None and entry.interactive),
        began=began,
        lasted=_lasted(began, end, stored),
        is_over=live is None,
        participants=tuple(dict.fromkeys(each for each in everybody if each)),
        moments=tuple(sorted([*_moments(ordered), *_of_recording(stored)], key=lambda moment: moment.time)),
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What the audit log tells of a session.

    Attributes:
        events: the newest first.
        is_cut: whether there may well be more, beyond what one question looks at.
    """

    events: list[dict[str, Any]]
    is_cut: bool = False


def events_of(ledger: AuditReader, session: SessionId, began: datetime | None, ended: datetime | None) -> Told:
    """Return a session's events, looking where they must be: around it, and then among the newest.

    Args:
        ledger: the audit log.
        session: which session.
        began: when, as far as is known.
        ended: when; None where it goes on, or that is not known.

    Raises:
        AuditError: the log cannot be read.
    """
    since = began - _BEFORE if began else None
    until = ended + _AFTER if ended else None
    around = ledger.page(Wanted(session=session, since=since, until=until), most=_EVENTS_MAX)
    found = list(around.events)
    if until is not None:
        codes = tuple(kind.code for kind in _DONE_LATER)
        later = ledger.page(Wanted(session=session, codes=codes, since=until), most=_LATER_MAX).events
        found = [*later, *found]
    elif began is not None and around.next is not None:
        first = ledger.page(Wanted(session=session, since=since, until=began + _BEFORE), most=_EVENTS_MAX).events
        found += [event for event in first if event not in found]
    return Told(found, _is_cut(found, around.next, is_over=ended is not None))


def _is_cut(found: Sequence[Mapping[str, Any]], following: str | None, *, is_over: bool) -> bool:
    """Tell whether something is missing: what has both its ends was told of whole, but for what is told much later."""
    codes = {event.get("code") for event in found}
    wanted = {events.SESSION_START.code, events.SESSION_END.code} if is_over else {events.SESSION_START.code}
    return following is not None and (len(found) >= _EVENTS_MAX or not wanted <= codes)


def certificate_of(ledger: AuditReader, user: str, began: datetime) -> Mapping[str, Any]:
    """Return the event that tells of the certificate a person had when a session began; empty where there is none.

    Raises `AuditError`.
    """
    wanted = Wanted(
        codes=(events.CERT_CREATE.code,),
        user=user,
        since=began - limits.USER_CERTIFICATE_MAX,
        until=began + limits.CLOCK_LEEWAY,
    )
    found = ledger.page(wanted, most=5).events
    return next((event for event in found if event.get("user") == user), {})


def authorising(roles: Iterable[object]) -> tuple[str, ...]:
    """Return which of some roles open devices at all."""
    names = [str(role) for role in roles]
    return tuple(name for name in names if name in PRESET_ROLES and PRESET_ROLES[RoleName(name)].own_logins)


def took_part(told: Iterable[Mapping[str, Any]], user: UserName, created: datetime) -> bool:
    """Tell whether the events say that a person took part, since they are a user here."""
    return any(
        event.get("user") == user and time_of(event) >= created - limits.CLOCK_LEEWAY for event in _beginnings(told)
    )


def without_readings(told: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events but for those that tell who looked at the recording."""
    return [event for event in told if event.get("code") not in _READINGS]


def _moments(ordered: Iterable[Mapping[str, Any]]) -> Iterable[Moment]:
    """Yield what the events tell. That the recording was looked at is one moment, however often it was."""
    seen = []
    for event in ordered:
        if event.get("code") == events.RECORDING_ACCESS.code:
            seen.append(event)
            continue
        code = str(event.get("code", ""))
        tone = "is-online" if code in _GOOD else {"W": "is-stale", "E": "is-danger"}.get(code[-1:], "")
        yield Moment(time_of(event), "", tone, event=event)
    if seen:
        last = seen[-1]
        how = _FORMS.get(str(last.get("format", "")), "from a terminal")
        often = "once, " if len(seen) == 1 else f"{len(seen)} times, last "
        yield Moment(time_of(last), f"The recording was seen {often}by {last.get('user') or 'somebody'} {how}")


def _of_recording(stored: Stored | None) -> Iterable[Moment]:
    if stored is None:
        return
    began = from_milliseconds(stored.entry.started)
    key = stored.header.key
    lock = "encrypted with the cluster's key" if key else "not encrypted"
    keys = f"{f'Encrypted with {key.key_id}, sealed' if key else 'Sealed'} by {fingerprint(stored.signer)}"
    yield Moment(began, f"The recording begins, {lock}, sealed by the node's", more=keys)
    if stored.entry.state in _STATES:
        text, tone = _STATES[stored.entry.state]
        reason = f": {stored.refused.reason}" if stored.refused else ""
        yield Moment(began + timedelta(milliseconds=stored.entry.duration), text + reason, tone)


def _taking_part(told: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for event in _beginnings(told):
        yield str(event.get("user", ""))


def _beginnings(told: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Yield what tells that somebody takes part, as far as the session's own node says it."""
    for event in told:
        if event.get("code") in _BEGUN and _is_of_its_node(event):
            yield event


def _credible(told: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Yield events but for those that another node tells of the session."""
    for event in told:
        kind = events.BY_CODE.get(str(event.get("code")))
        if kind is None or not kind.from_node or _is_of_its_node(event):
            yield event


def _is_of_its_node(event: Mapping[str, Any]) -> bool:
    """Tell whether an event names the node that minted its session's id: of no other's sessions can a node tell."""
    try:
        return is_minted_by(parse_session_id(event.get("sid")), parse_node_id(event.get("server_id")))
    except BadNameError:
        return False


def _began(start: Mapping[str, Any], live: SessionEntry | None, stored: Stored | None) -> datetime | None:
    if start:
        return time_of(start)
    if live is not None:
        return from_milliseconds(live.live.started)
    return from_milliseconds(stored.entry.started) if stored else None


def _lasted(began: datetime | None, end: Mapping[str, Any] | None, stored: Stored | None) -> timedelta | None:
    if began is not None and end is not None:
        return max(time_of(end) - began, timedelta())
    return timedelta(milliseconds=stored.entry.duration) if stored else None
