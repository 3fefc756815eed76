"""Who may join a session, and what their keys do there.

Z1  there is such a session here
Z2  it runs as the login that they came in as
Z3  it has a terminal, and their certificate permits one
Z4  the mode is known
Z5  there is room for one more, in the session, beside the places kept for moderators, and of that person
Z6  they ask for a shell, and not to have something else run
Z7  their certificate holds still and opens this node still: a connection is kept for longer than either need be so
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from protocol import limits, names
from protocol.access import AccessTarget, decide_access
from protocol.certificates import UserIdentity
from protocol.decision import Granted, Refused
from protocol.fields import MessageError
from protocol.joining import (
    END_KEY,
    LEAVE_KEY,
    MODE_VARIABLE,
    NEWS_VARIABLE,
    SESSION_VARIABLE,
    JoinMode,
    parse_join_mode,
)
from protocol.names import SessionId

Size = tuple[int, int, int, int]
# Whoever does not type makes no terminal smaller than so many columns and rows.
_WATCHED_MIN = (20, 5)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a channel's variables ask for, not judged yet.

    Attributes:
        session: the session to join, as it was named; None for one of its own.
        mode: how.
        has_news: whether the client understands `protocol.joining.NEWS_REQUEST`.
    """

    session: str | None
    mode: str
    has_news: bool


def read_wish(said: Mapping[bytes, bytes]) -> Wish:
    """Return what a channel's variables ask for."""
    session = said.get(SESSION_VARIABLE.encode())
    mode = said.get(MODE_VARIABLE.encode(), b"observer")
    return Wish(
        session=None if session is None else session.decode("ascii", "replace"),
        mode=mode.decode("ascii", "replace"),
        has_news=said.get(NEWS_VARIABLE.encode()) == b"1",
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What a session that goes on is like: as who it runs, whether on a terminal, and how many take part.

    `own` is how many of them are the person who wants to join.
    """

    login: str
    has_terminal: bool
    parties: int
    own: int = 0


def parse_session(text: str) -> SessionId | None:
    """Return the session that is named; None where that is no session's name."""
    try:
        return names.parse_session_id(text)
    except names.BadNameError:
        return None


def judge_again(identity: UserIdentity, target: AccessTarget, login: str, now: datetime) -> Refused | None:
    """Return why somebody who was let in once may open nothing more (K3, A1-A3); None where they may."""
    if now >= identity.valid_before:
        return Refused(f"the certificate expired at {identity.valid_before:%Y-%m-%dT%H:%M:%SZ}: connect anew", "K3")
    access = decide_access(identity, target, login)
    return access if isinstance(access, Refused) else None


def decide_join(
    standing: Standing | None,
    wish: Wish,
    login: str,
    *,
    is_shell: bool,
    permits_terminal: bool,
    barred: Refused | None,
) -> Granted[JoinMode] | Refused:
    """Decide whether somebody who came in as `login` may join a session.

    Args:
        standing: the session; None where it is not here.
        wish: what they ask for.
        login: as whom they came in.
        is_shell: whether they ask for a shell.
        permits_terminal: whether their certificate does.
        barred: what `judge_again` says.
    """
    if barred:
        return Refused(barred.reason, "Z7")
    if not is_shell:
        return Refused("whoever joins a session runs nothing beside it", "Z6")
    refused = _judge_session(standing, login)
    if refused:
        return refused
    if not permits_terminal:
        return Refused("the certificate permits no terminal", "Z3")
    try:
        mode = parse_join_mode(wish.mode)
    except MessageError:
        return Refused("the mode is neither observer, peer nor moderator", "Z4")
    return (standing and _judge_room(standing, mode)) or Granted(mode)


def _judge_session(standing: Standing | None, login: str) -> Refused | None:
    if standing is None:
        return Refused("no such session", "Z1")
    if standing.login != login:
        return Refused(f"the session runs as {standing.login}, not as {login}", "Z2")
    if not standing.has_terminal:
        return Refused("the session has no terminal", "Z3")
    return None


def _judge_room(standing: Standing, mode: JoinMode) -> Refused | None:
    if standing.own >= limits.PARTIES_PER_USER:
        return Refused(f"the same person takes part {standing.own} times already", "Z5")
    kept = 0 if mode == "moderator" else limits.PARTIES_KEPT_FOR_MODERATORS
    if standing.parties >= limits.PARTIES_PER_SESSION - kept:
        is_full = standing.parties >= limits.PARTIES_PER_SESSION
        beside = "" if is_full else ", and the places left are for moderators"
        return Refused(f"{standing.parties} people take part already{beside}", "Z5")
    return None


def counted(size: Size | None, mode: JoinMode) -> Size | None:
    """Return a party's size as it counts for the terminal's."""
    columns, rows = _WATCHED_MIN
    if mode == "peer" or not size or not size[0] or not size[1] or (size[0] >= columns and size[1] >= rows):
        return size
    return max(size[0], columns), max(size[1], rows), 0, 0


def smallest(sizes: Iterable[Size | None]) -> Size | None:
    """Return the size of a terminal that all can show; None where nobody has one.

    Its pixels are those of whoever has exactly that many columns and rows, and unknown where nobody has.
    """
    found = [size for size in sizes if size and size[0] and size[1]]
    if not found:
        return None
    columns, rows = min(size[0] for size in found), min(size[1] for size in found)
    return next((size for size in found if size[:2] == (columns, rows)), (columns, rows, 0, 0))


class Key(Enum):
    """What somebody who only looks on has asked for with a key."""

    LEAVE = "leave"
    END = "end"


def read_keys(mode: JoinMode, data: bytes) -> Key | None:
    """Return what the keys of an observer or a moderator ask for.

    A terminal answers what a program asks it, and some answers end like `END_KEY`: only that key by itself counts.
    """
    if LEAVE_KEY in data:
        return Key.LEAVE
    if mode == "moderator" and data and not data.strip(END_KEY):
        return Key.END
    return None
