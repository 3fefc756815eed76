"""The sessions that are going on, asked of the web door, and the one that a person means."""

from __future__ import annotations

from collections.abc import Sequence

from protocol import limits, names
from protocol.endpoints import SESSIONS
from protocol.fleet_sessions import SessionEntry, SessionList
from protocol.session_ids import BEGINNING_MIN, is_beginning
from protocol.table import escape_text
from tsh.archive import Archive, NotFoundError
from tsh.entrance import Entrance
from tsh.error import TshError
from tsh.setting import Settings

_SEE = "`tsh sessions ls` lists those going on"
_SHOWN_MAX = 5


def list_sessions(settings: Settings) -> Sequence[SessionEntry]:
    """Return the live sessions that the person may see, the newest first. Raises `NotSignedInError` or `TshError`."""
    return Entrance(settings).ask(SESSIONS, SessionList.from_dict, doing="listing the sessions").sessions


def parse_prefix(text: str) -> str:
    """Return `text` as a session's id or the beginning of one, in small letters. Raises `TshError`."""
    prefix = text.lower()
    if not is_beginning(prefix):
        raise TshError(
            f"{escape_text(text)!r} is no session's ID, nor its first {BEGINNING_MIN} characters or more; {_SEE}"
        )
    return prefix


def find_session(settings: Settings, text: str) -> SessionEntry:
    """Return the session that `text` names and that may be joined.

    Raises:
        NotSignedInError: nobody is signed in.
        TshError: there is none, or more than one, or it cannot be joined; the text says what to do.
    """
    prefix = parse_prefix(text)
    found = [entry for entry in list_sessions(settings) if entry.live.session.startswith(prefix)]
    if not found:
        raise TshError(_explain_absence(settings, prefix))
    if len(found) > 1:
        raise TshError(_describe_ambiguous(prefix, found))
    (entry,) = found
    if not entry.may_join:
        raise TshError(_explain_refusal(entry))
    return entry


def _explain_absence(settings: Settings, prefix: str) -> str:
    """Say what has become of a session that is not going on, as far as the recordings tell."""
    unknown = f"no session that you may see begins with {prefix}; {_SEE}"
    if not names.is_uuid(prefix):
        return unknown
    session = names.parse_session_id(prefix)
    archive = Archive(settings)
    try:
        entry = archive.entry(session)
    except NotFoundError:
        return f"there is no session {session} that you may see; {_SEE}"
    finally:
        archive.close()
    if entry.state == "arriving":
        state = "is not known to be going on; what has come of its recording is"
        return f"session {session} on {escape_text(entry.hostname)} {state}: tsh play {session}"
    return f"session {session} on {escape_text(entry.hostname)} is over; its recording is: tsh play {session}"


def _describe_ambiguous(prefix: str, found: Sequence[SessionEntry]) -> str:
    shown = [f"  {entry.live.session} on {entry.name} ({entry.live.login})" for entry in found[:_SHOWN_MAX]]
    more = [f"  and {len(found) - _SHOWN_MAX} more"] if len(found) > _SHOWN_MAX else []
    return "\n".join([f"{len(found)} sessions begin with {prefix}; name one of them by more of its ID:", *shown, *more])


def _explain_refusal(entry: SessionEntry) -> str:
    live = entry.live
    begin = f"cannot join session {live.session} on {entry.name}"
    if live.size is None:
        watch = f"; its recording can be watched as it comes: tsh play {live.session}" if live.recorded else ""
        return f"{begin}: it has no terminal, and there is nothing to join{watch}"
    if len(live.parties) >= limits.PARTIES_PER_SESSION:
        return f"{begin}: {len(live.parties)} are in it, and no more fit"
    return (
        f"{begin}: you may not log in there as {live.login}. Who may is told by your administrator; "
        "`tsh status` shows your logins"
    )
