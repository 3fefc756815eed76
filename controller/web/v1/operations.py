"""What every endpoint under /v1 is for, what it is asked with and what it answers: the table behind the document.

Who may ask it, and the refusals that follow from that, stand in `controller.web.permissions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.audit_verifier import Verification
from controller.home import Home
from controller.presence.history import NodeHistory
from controller.web.audit import FORMATS
from controller.web.recordings import LAST_MAX
from controller.web.v1.schema import Schema, chosen, instant, matching, name, one_of, text, whole
from controller.web.v1.shapes import AUDIT_CURSOR, CURSOR
from protocol import endpoints, events, limits
from protocol.audit_pages import AuditEvents
from protocol.endpoints import Endpoint
from protocol.fleet_sessions import SessionList
from protocol.join_tokens import JoinTokenList, MadeJoinToken, NewJoinToken
from protocol.lock_orders import LockList, NewLock
from protocol.locks import Lock
from protocol.messages import JoinReply, JoinRequest, NodeStatus, Ping, SignInReply, SignInRequest
from protocol.names import PATTERNS
from protocol.node_details import NodeDetail, NodeLabels, NodePage
from protocol.people import (
    FactorEntry,
    FactorList,
    FactorOffer,
    NewFactor,
    NewReset,
    NewUser,
    OneTimeCode,
    PasswordChange,
    Profile,
    SignInList,
    UserChange,
    UserEntry,
    UserLink,
    UserList,
)
from protocol.recordings import RecordingEntry, RecordingKey, RecordingList, State
from protocol.renewals import Challenge, ChallengeRequest, RenewRequest
from protocol.session_details import RecordingCheck, SessionTimeline


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes where all is well.

    Attributes:
        shape: the body's dataclass, or its schema; None for none.
        media: its media type.
        headers: of the answer, beside those that all have.
        also: the other media types that it comes in.
    """

    says: str
    shape: type | Schema | None = None
    media: str = "application/json"
    headers: Mapping[str, Schema] = field(default_factory=dict)
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint.

    Attributes:
        name: unique, for generated clients.
        tag: what it is about.
        says: one line.
        answers: by their status.
        asks: the body's dataclass; None for none.
        query: the parameters that may be sent, by name; a list of what may be repeated.
        refusals: what it may refuse with, and when, beside what follows from the rest.
    """

    name: str
    tag: str
    says: str
    answers: Mapping[int, Answer]
    asks: type | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    refusals: Mapping[int, str] = field(default_factory=dict)


# What stands in paths, by name.
PATH_NAMES: Mapping[str, Schema] = {
    "node": name("uuid", "The node's id"),
    "session": name("uuid", "The session's id"),
    "user": name("user", "The user's name"),
    "token": matching(
        "^(?:[0-9a-f]{12}|\\*{4}[A-Za-z0-9_-]{4}|[A-Za-z0-9_-]{16,128})$",
        "The token: its id, whole, or its last characters as they are listed",
    ),
    "lock": name("uuid", "The lock's id"),
    "factor": name("uuid", "The second factor's id"),
    "sign_in": matching("^[0-9a-f]{8,64}$", "The sign-in's id, as it is listed"),
}

_FINE = "Done"
_NOTHING: Mapping[int, Answer] = {204: Answer(_FINE)}
_CURSOR = matching(CURSOR, "Where the page begins: `next` of the page before")
_SINCE, _UNTIL = instant("From when on"), instant("Until when")
_TWO_STATES = {409: "It does not fit what is there; the message says why"}
_REFUSED = "Refused; why is in the audit log alone"


def _page(most: int) -> dict[str, Schema]:
    return {"limit": whole(1, most, "How many, at most"), "cursor": _CURSOR}


def _list(schema: Schema, says: str) -> Schema:
    return {"type": "array", "items": schema, "maxItems": 32, "description": says}


def _one(shape: type, says: str = _FINE) -> Mapping[int, Answer]:
    return {200: Answer(says, shape)}


def _made(shape: type) -> Mapping[int, Answer]:
    return {201: Answer("Made", shape)}


_ANCHORS: Schema = {
    "type": "object",
    "properties": {"anchors": text(64 * 1024)},
    "required": ["anchors"],
}
_PENDING: Schema = {"type": "object", "properties": {"pending": {"type": "boolean"}}, "required": ["pending"]}

_EVENTS: dict[str, Schema] = {
    "event": _list(chosen(sorted({kind.name for kind in events.KINDS})), "Only such events"),
    "code": _list(chosen(sorted(events.BY_CODE)), "Only events with such a code"),
    "user": text(128, says="Who did it, or took part"),
    "node": text(128, says="A node's id or name"),
    "session": name("uuid", "A session's id"),
    "since": _SINCE,
    "until": _UNTIL,
    "text": text(128, says="Stands somewhere in it, in capitals or not"),
}

OPERATIONS: Mapping[Endpoint, Operation] = {
    endpoints.OPENAPI: Operation(
        "document", "about", "This document", {200: Answer("OpenAPI 3.1", {"type": "object"})}
    ),
    endpoints.PING: Operation("ping", "about", "What anyone may know of this controller", _one(Ping)),
    endpoints.AUTHORITIES: Operation(
        "authorities", "about", "The trust anchors, PEM", {200: Answer("To be held against a pin", _ANCHORS)}
    ),
    endpoints.SIGN_IN: Operation(
        "signIn",
        "sign-in",
        "Sign in: password and one-time code for a certificate and a bearer token",
        _one(SignInReply),
        SignInRequest,
        refusals={401: "The user name, the password or the code is wrong, or a lock is in force"},
    ),
    endpoints.SIGN_OUT: Operation(
        "signOut", "sign-in", "End the sign-in of the bearer token", {200: Answer(_FINE, {"type": "object"})}
    ),
    endpoints.JOIN: Operation(
        "join", "devices", "A device becomes a node", _one(JoinReply), JoinRequest, refusals={403: _REFUSED}
    ),
    endpoints.RENEW_CHALLENGE: Operation(
        "renewalChallenge", "devices", "What a node is to sign to renew", _one(Challenge), ChallengeRequest
    ),
    endpoints.RENEW: Operation(
        "renew",
        "devices",
        "A node renews its certificates",
        {
            200: Answer(_FINE, JoinReply),
            202: Answer("It waits for an admin's approval", _PENDING, headers={"Retry-After": whole()}),
        },
        RenewRequest,
        refusals={403: _REFUSED, 409: "The challenge is spent: ask for another"},
    ),
    endpoints.OVERVIEW: Operation(
        "getOverview", "about", "How the fleet is, what to look at, and what changed in the last day", _one(Home)
    ),
    endpoints.NODES: Operation(
        "listNodes",
        "nodes",
        "The nodes that one may open; without any parameter all of them at once",
        _one(NodePage),
        query={
            "all": {
                "type": "boolean",
                "description": "Every node, those that wait for approval among them: for admins and auditors",
            },
            "search": text(128, says="Part of a node's name or id"),
            "label": {
                "type": "array",
                "items": matching(f"{PATTERNS['label_name'][:-1]}={PATTERNS['label_value'][1:]}"),
                "maxItems": limits.LABELS_MAX,
                "description": "A label that a node must have, such as env=prod",
            },
            "status": one_of(NodeStatus),
            **_page(limits.NODES_PAGE_MAX),
        },
    ),
    endpoints.NODE: Operation("getNode", "nodes", "All that is known of one node", _one(NodeDetail)),
    endpoints.NODE_HISTORY: Operation(
        "getNodeHistory", "nodes", "A node's last day, in steps; null where nothing was heard", _one(NodeHistory)
    ),
    endpoints.NODE_LABELS: Operation(
        "setNodeLabels",
        "nodes",
        "Give a node these labels, and no others",
        _one(NodeDetail),
        NodeLabels,
        refusals=_TWO_STATES,
    ),
    endpoints.NODE_APPROVE: Operation(
        "approveNode", "nodes", "Let a node in that waits for approval", _one(NodeDetail), refusals=_TWO_STATES
    ),
    endpoints.NODE_REJECT: Operation(
        "rejectNode", "nodes", "Turn a node away that waits for approval", _NOTHING, refusals=_TWO_STATES
    ),
    endpoints.NODE_REMOVE: Operation("removeNode", "nodes", "Remove a node: its certificates are void", _NOTHING),
    endpoints.SESSIONS: Operation(
        "listSessions", "sessions", "The sessions that are going on, the newest first", _one(SessionList)
    ),
    endpoints.SESSION_END: Operation(
        "endSession", "sessions", "End a session for all who take part", _NOTHING, refusals=_TWO_STATES
    ),
    endpoints.RECORDINGS: Operation(
        "listRecordings",
        "recordings",
        "The recordings that one may see, the newest first",
        _one(RecordingList),
        query={
            "since": _SINCE,
            "until": _UNTIL,
            "last": whole(1, LAST_MAX, "Of so many seconds"),
            "user": text(128, says="Who took part"),
            "node": text(128, says="Part of a node's name, or its id"),
            "state": one_of(State),
            "limit": whole(1, limits.RECORDINGS_LISTED_MAX, "How many, at most"),
        },
    ),
    endpoints.RECORDING: Operation("getRecording", "recordings", "One recording", _one(RecordingEntry)),
    endpoints.RECORDING_KEY: Operation(
        "openRecording",
        "recordings",
        "What opens a recording; the audit log is told",
        _one(RecordingKey),
        refusals={409: "The controller does not have the key"},
    ),
    endpoints.RECORDING_CONTENT: Operation(
        "readRecording",
        "recordings",
        "A piece of a recording, sealed, as it is kept",
        {
            200: Answer(
                "The bytes",
                {},
                "application/octet-stream",
                {"Skerry-Recording-State": text(), "Skerry-Recording-Size": whole()},
            )
        },
        query={
            "offset": whole(0, limits.RECORDING_MAX, "From which byte on"),
            "size": whole(1, limits.RECORDING_PIECE_MAX, "How many bytes, at most"),
        },
        refusals={416: "The recording does not have so many bytes yet"},
    ),
    endpoints.RECORDING_TIMELINE: Operation(
        "getTimeline", "recordings", "What happened in a session, recorded or going on", _one(SessionTimeline)
    ),
    endpoints.RECORDING_VERIFICATION: Operation(
        "verifyRecording",
        "recordings",
        "What a recording is worth; a long one takes several questions",
        _one(RecordingCheck),
    ),
    endpoints.RECORDING_CAST: Operation(
        "getCast",
        "recordings",
        "A recording as asciicast; the audit log is told",
        {200: Answer("The recording", {}, "application/x-asciicast")},
        refusals={409: "The controller does not have the key"},
    ),
    endpoints.AUDIT: Operation(
        "listEvents",
        "audit",
        "The audit log, the newest first",
        _one(AuditEvents),
        query={
            **_EVENTS,
            "limit": whole(1, limits.AUDIT_PAGE_MAX, "How many, at most"),
            "cursor": matching(AUDIT_CURSOR, "Where the page begins: `next` of the page before"),
        },
    ),
    endpoints.AUDIT_EXPORT: Operation(
        "exportEvents",
        "audit",
        "All events that are wanted, a line each; the audit log is told",
        {200: Answer("JSON lines, or CSV", {}, FORMATS["jsonl"], also=("text/csv",))},
        query={**_EVENTS, "format": chosen(FORMATS) | {"description": "JSON lines where it is not said"}},
    ),
    endpoints.AUDIT_VERIFICATION: Operation(
        "verifyAudit", "audit", "Whether the audit log is as it was written", _one(Verification)
    ),
    endpoints.USERS: Operation(
        "listUsers",
        "users",
        "People, by name",
        _one(UserList),
        query={
            "search": text(128, says="Words, each a part of somebody's name, status, or one of their roles or logins"),
            **_page(limits.USERS_PAGE_MAX),
        },
    ),
    endpoints.USER_ADD: Operation(
        "addUser",
        "users",
        "Invite somebody; the link is shown this once",
        _made(UserLink),
        NewUser,
        refusals=_TWO_STATES,
    ),
    endpoints.USER: Operation("getUser", "users", "One person", _one(UserEntry)),
    endpoints.USER_UPDATE: Operation(
        "updateUser", "users", "Give somebody other roles or logins", _one(UserEntry), UserChange, refusals=_TWO_STATES
    ),
    endpoints.USER_RESET: Operation(
        "resetUser",
        "users",
        "Void somebody's password and second factors; the link to set new ones is shown this once",
        _one(UserLink),
        NewReset,
        refusals=_TWO_STATES,
    ),
    endpoints.USER_REMOVE: Operation(
        "removeUser", "users", "Remove somebody: what they hold is void", _NOTHING, refusals=_TWO_STATES
    ),
    endpoints.TOKENS: Operation(
        "listTokens",
        "tokens",
        "Join tokens, soonest to expire first",
        _one(JoinTokenList),
        query=_page(limits.TOKENS_PAGE_MAX),
    ),
    endpoints.TOKEN_ADD: Operation(
        "addToken",
        "tokens",
        "Make a join token; it is shown whole this once",
        _made(MadeJoinToken),
        NewJoinToken,
        refusals=_TWO_STATES,
    ),
    endpoints.TOKEN_REMOVE: Operation("removeToken", "tokens", "Remove a join token", _NOTHING, refusals=_TWO_STATES),
    endpoints.LOCKS: Operation("listLocks", "locks", "The locks in force, the oldest first", _one(LockList)),
    endpoints.LOCK_ADD: Operation(
        "addLock",
        "locks",
        "Lock a person, a login or a node out: sessions end at once",
        _made(Lock),
        NewLock,
        refusals=_TWO_STATES,
    ),
    endpoints.LOCK_REMOVE: Operation("removeLock", "locks", "Take a lock off", _NOTHING),
    endpoints.ME: Operation("getMe", "me", "Who one is, and until when", _one(Profile)),
    endpoints.MY_PASSWORD: Operation(
        "changePassword",
        "me",
        "Set a new password: every other sign-in ends, and certificates from before are void",
        _NOTHING,
        PasswordChange,
        refusals=_TWO_STATES,
    ),
    endpoints.MY_FACTORS: Operation("listFactors", "me", "One's second factors, the oldest first", _one(FactorList)),
    endpoints.MY_FACTOR_BEGIN: Operation(
        "beginFactor", "me", "What a new authenticator app is to be given", _one(FactorOffer)
    ),
    endpoints.MY_FACTOR_ADD: Operation(
        "addFactor", "me", "Add an authenticator app", _made(FactorEntry), NewFactor, refusals=_TWO_STATES
    ),
    endpoints.MY_FACTOR_REMOVE: Operation(
        "removeFactor",
        "me",
        "Remove an authenticator app; the last one cannot go",
        _NOTHING,
        OneTimeCode,
        refusals=_TWO_STATES,
    ),
    endpoints.MY_SIGN_INS: Operation("listSignIns", "me", "One's sign-ins, this one first", _one(SignInList)),
    endpoints.MY_SIGN_IN_END: Operation("endSignIn", "me", "End one of one's sign-ins", _NOTHING),
}
