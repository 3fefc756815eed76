"""Joining somebody's session: what is asked of the node, and what the person reads of the keys they have there."""

from __future__ import annotations

from protocol.joining import MODE_VARIABLE, NO_SUCH_SESSION, SESSION_VARIABLE, JoinMode
from protocol.names import SessionId
from tsh.plan import Joining

_LEAVE = ("CTRL-C", "Leave the session")
_END = ("t", "Forcefully terminate the session, for all")
_CUT = ("~.", "Leave the session (at the beginning of a line)")
# With the last who may type, the session ends: whether another does is not known here.
_FAREWELL: dict[JoinMode, str] = {
    "observer": "You left; the session goes on.",
    "moderator": "You left; the session goes on.",
    "peer": "You left; the session goes on as long as somebody else may type in it.",
}
# The node heeds the keys of the first two; an observer's others do nothing, and a peer's are the program's.
_CONTROLS: dict[JoinMode, tuple[tuple[str, str], ...]] = {
    "observer": (_LEAVE, _CUT),
    "moderator": (_LEAVE, _END, _CUT),
    "peer": (_CUT,),
}


def plan_joining(session: SessionId, mode: JoinMode) -> Joining:
    """Return how a session is joined."""
    lines = [f"You are here as {mode}:", *(f" {key:<6} - {what}" for key, what in _CONTROLS[mode])]
    return Joining(
        session=session,
        mode=mode,
        variables={SESSION_VARIABLE: session, MODE_VARIABLE: mode},
        help="".join(f"{line}\r\n" for line in lines).encode(),
        farewell=_FAREWELL[mode],
        words=NO_SUCH_SESSION.encode(),
        advice=(
            f"session {session} was not joined: `tsh sessions ls` lists those going on, and if it is over, its "
            f"recording is: tsh play {session}"
        ),
    )


def describe_joining(joining: Joining, name: str, login: str) -> str:
    """Return the lines before a session is joined.

    Args:
        joining: the session, and as what it is joined.
        name: the node's name.
        login: the account there.
    """
    lines = [f"Skerry > Joining {joining.session} on {name} ({login}) as {joining.mode}", "Skerry > Controls"]
    return "\n".join([*lines, *(f"  - {key}: {what}" for key, what in _CONTROLS[joining.mode])]) + "\n"
