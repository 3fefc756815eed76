"""What every body looks like: the schema of each dataclass that travels, as `to_dict` writes and `from_dict` reads it.

A test holds this table against the dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.accounts.records import SessionKind
from controller.audit_verifier import State as ChainState
from controller.audit_verifier import Verification
from controller.home import Home
from controller.policy.alert import Alert, Severity
from controller.presence.history import NodeHistory
from controller.web.v1.schema import (
    Schema,
    anything,
    asked,
    flag,
    instant,
    items,
    labels,
    matching,
    name,
    one_of,
    or_null,
    record,
    ref,
    secret,
    text,
    whole,
)
from protocol import limits
from protocol.access import PRESET_ROLES
from protocol.audit_pages import AuditEvents
from protocol.endorsement import Endorsed, EndorsedKind
from protocol.fleet_sessions import SessionEntry, SessionList
from protocol.join_tokens import (
    EPHEMERAL_SECONDS_MAX,
    EPHEMERAL_SECONDS_MIN,
    TTL_SECONDS_MAX,
    USES_MAX,
    JoinTokenEntry,
    JoinTokenList,
    MadeJoinToken,
    NewJoinToken,
)
from protocol.joining import JoinMode
from protocol.live_sessions import LiveParty
from protocol.lock_orders import TTL_SECONDS_MAX as LOCK_SECONDS_MAX
from protocol.lock_orders import LockList, NewLock
from protocol.locks import Lock, LockKind
from protocol.messages import (
    ErrorReply,
    JoinReply,
    JoinRequest,
    NodeEntry,
    NodeStatus,
    Ping,
    PresenceState,
    SignInReply,
    SignInRequest,
    TunnelState,
)
from protocol.node_details import NodeDetail, NodeLabels, NodePage
from protocol.people import (
    INVITE_SECONDS_MAX,
    LOGINS_MAX,
    RESET_SECONDS_MAX,
    FactorEntry,
    FactorList,
    FactorOffer,
    NewFactor,
    NewReset,
    NewUser,
    OneTimeCode,
    PasswordChange,
    Profile,
    SignInEntry,
    SignInList,
    UserChange,
    UserEntry,
    UserLink,
    UserList,
    UserStatus,
)
from protocol.recordings import Mode, RecordingEntry, RecordingKey, RecordingList, RecordingTerms, State
from protocol.renewals import Challenge, ChallengeRequest, RenewRequest
from protocol.session_details import RecordingCheck, SessionTimeline, TimelineMoment

AUDIT_CURSOR = r"^\d{4}-\d{2}-\d{2}\.\d{1,15}(~\d{4}-\d{2}-\d{2}\.\d{1,15})?$"
CURSOR = "^(?:[0-9a-f]{2}){1,256}$"

_UUID = name("uuid")
_NEXT = or_null(matching(CURSOR, "The cursor of the next page; null on the last"))
_LABELS = labels(limits.LABELS_MAX)
_ROLES: Schema = items({"type": "string", "enum": list(PRESET_ROLES)}, least=1, unique=True)
_HELD_ROLES = items(name("role"))
_LOGINS = items(name("login"), LOGINS_MAX, unique=True)
_HELD_LOGINS = items(name("login"))
_LINES = items(text())
_MEASURES = items({"type": ["number", "null"]})
_COUNTS = items({"type": ["integer", "null"]})

_NODE: dict[str, Schema] = {
    "node_id": _UUID,
    "name": name("node"),
    "address": text(),
    "labels": _LABELS,
    "status": one_of(NodeStatus),
    "since": or_null(instant("When that last changed")),
    "tunnel": one_of(TunnelState),
    "presence": one_of(PresenceState),
    "reason": text(says="Why it is offline; empty where it is not, or nobody knows"),
    "last_seen": or_null(instant("When it was last heard of")),
    "version": text(),
}
_LOCK: dict[str, Schema] = {
    "id": _UUID,
    "kind": one_of(LockKind),
    "value": text(says="The user's name, the login, or the node's id"),
    "message": text(limits.LOCK_MESSAGE_MAX_CHARS, says="Why; who is locked out reads it"),
    "expires": or_null(instant("The first moment at which it holds no more; null for never")),
    "created": instant(),
    "created_by": text(says="Who put it on"),
}
_TOKEN: dict[str, Schema] = {
    "id": text(says="What names it: it may be removed by that, and lets nobody join"),
    "token": text(says="Its last four characters, all that is shown of it"),
    "uses": or_null(whole(says="How many may join still; null for any number")),
    "expires": or_null(instant("The first moment at which it is good for none; null for never")),
    "labels": _LABELS,
    "claimable": or_null(items(name("label_name"))),
    "approve": flag("Whether each device waits until an admin lets it in"),
    "ephemeral_seconds": or_null(whole(says="After so long offline its devices are removed; null for never")),
}
_SESSION: dict[str, Schema] = {
    "node_id": _UUID,
    "name": name("node"),
    "may_join": flag("Whether the person who asks may join it"),
    "session": _UUID,
    "login": name("login"),
    "command": text(limits.RECORDING_COMMAND_LISTED, says="Empty for a shell"),
    "started": instant(),
    "size": or_null(items(whole(1), 2, least=2)),
    "recorded": flag(),
    "parties": items(ref(LiveParty), limits.PARTIES_PER_SESSION),
}


def _new_lock(kind: LockKind, value: Schema) -> Schema:
    return asked(
        {
            "kind": {"type": "string", "const": kind},
            "value": value,
            "message": text(limits.LOCK_MESSAGE_MAX_CHARS, says="One line; who is locked out reads it"),
            "ttl_seconds": whole(1, LOCK_SECONDS_MAX, "For how long; until it is removed where that is left out"),
        },
        ("message", "ttl_seconds"),
        f"A lock on a {kind}",
    )


SHAPES: Mapping[type, Schema] = {
    ErrorReply: record(
        {
            "error": record(
                {
                    "message": text(says="Why, in words for a person"),
                    "field": text(says="What in the body has to be another, where it is one thing"),
                },
                ("field",),
            )
        }
    ),
    Ping: record(
        {
            "cluster_name": name("cluster"),
            "server_version": text(),
            "ssh_address": text(says="HOST:PORT; an empty HOST is the one that was asked"),
            "tunnel_address": text(),
            "api_address": text(),
            "mqtt_address": text(says="Empty where there is no broker"),
        }
    ),
    SignInRequest: asked(
        {
            "user": name("user"),
            "password": secret(),
            "otp": secret(),
            "public_key": text(says="What is to be certified, OpenSSH one-line form"),
            "ttl_seconds": whole(says="For how long; no longer than a certificate may live"),
            "client": text(says="What the program is called, for the audit log"),
        },
        ("client",),
    ),
    SignInReply: record(
        {
            "user": name("user"),
            "cluster_name": name("cluster"),
            "roles": _HELD_ROLES,
            "logins": _HELD_LOGINS,
            "certificate": text(says="OpenSSH user certificate, one line"),
            "host_authorities": _LINES,
            "session_token": secret(),
            "valid_until": whole(says="The end of certificate and token; seconds since 1970"),
            "ssh_address": text(),
        }
    ),
    JoinRequest: asked(
        {
            "token": name("token"),
            "name": name("node"),
            "labels": _LABELS,
            "ssh_public_key": text(),
            "tls_request": text(),
            "proof": text(),
            "version": text(),
        },
        ("version",),
    ),
    JoinReply: record(
        {
            "node_id": _UUID,
            "name": name("node"),
            "cluster_name": name("cluster"),
            "labels": _LABELS,
            "host_certificate": text(),
            "tls_certificate": text(),
            "user_authorities": _LINES,
            "host_authorities": _LINES,
            "tls_authorities": _LINES,
            "tunnel_address": text(),
            "api_address": text(),
            "recording": or_null(ref(RecordingTerms)),
            "mqtt_address": text(),
            "generation": whole(),
            "pending": flag(),
            "policy": or_null(ref(Endorsed)),
            "node": or_null(ref(Endorsed)),
        }
    ),
    Endorsed: record(
        {"kind": one_of(EndorsedKind), "body": text(limits.POLICY_MAX), "key": text(), "signature": text()}
    ),
    RecordingTerms: record(
        {"mode": one_of(Mode), "record_input": flag(), "key_id": _UUID, "public_key": text(), "time": instant()}
    ),
    ChallengeRequest: asked({"node_id": _UUID}),
    Challenge: record({"challenge": text(), "time": instant()}),
    RenewRequest: asked(
        {
            "node_id": _UUID,
            "generation": whole(),
            "attempt": matching("^[0-9a-f]{32}$"),
            "challenge": text(),
            "tls_request": text(),
            "proof": text(),
            "version": text(),
            "certificate": text(),
        },
        ("version", "certificate"),
    ),
    NodeEntry: record(_NODE),
    NodePage: record({"nodes": items(ref(NodeEntry), limits.NODES_PAGE_MAX), "next": _NEXT}, ("next",)),
    NodeDetail: record(
        _NODE
        | {
            "joined": instant("When it joined, or asked to"),
            "renewed": or_null(instant("When it was last certified after that")),
            "tunnel_since": or_null(instant("Since when its tunnel is as it is")),
            "generation": whole(says="Of its certificates; 0 while it has none"),
            "certificate_expires": or_null(instant()),
            "token": text(says="The join token that it came with, as it is shown"),
            "ephemeral_seconds": or_null(whole(says="After so long offline it is removed; null for never")),
            "host_key": text(says="The fingerprint of its SSH host key"),
            "lock": or_null(_UUID),
            "heartbeat": or_null(anything()),
            "device": or_null(anything()),
        }
    ),
    NodeHistory: record(
        {
            "begin": instant("When the first step began"),
            "step": whole(1, says="Seconds"),
            "load": _MEASURES,
            "memory_free": _MEASURES | {"description": "Available, KiB"},
            "temperature": _MEASURES | {"description": "Degrees Celsius"},
            "round_trip": _MEASURES | {"description": "Of the link to the controller, milliseconds"},
            "round_trip_worst": _MEASURES,
            "reconnects": _COUNTS,
            "offline": _COUNTS | {"description": "How often it went offline"},
            "spool_bytes": _MEASURES | {"description": "Recordings that waited to be uploaded"},
            "sessions": _COUNTS,
        }
    ),
    NodeLabels: asked({"labels": _LABELS}),
    LiveParty: record(
        {"user": name("user"), "mode": one_of(JoinMode), "since": instant(), "remote": text(says="HOST:PORT")}
    ),
    SessionEntry: record(_SESSION),
    SessionList: record({"sessions": items(ref(SessionEntry))}),
    RecordingEntry: record(
        {
            "session": _UUID,
            "kind": text(),
            "participants": items(text()),
            "login": text(),
            "node": _UUID,
            "hostname": name("node"),
            "command": text(),
            "interactive": flag(),
            "started": instant(),
            "duration": whole(says="Milliseconds on record"),
            "size": whole(says="Bytes that the controller holds"),
            "state": one_of(State),
        }
    ),
    RecordingList: record(
        {
            "recordings": items(ref(RecordingEntry), limits.RECORDINGS_LISTED_MAX),
            "is_cut": flag("Whether there may be more of what was asked for"),
        }
    ),
    RecordingKey: record(
        {
            "key": or_null(text(says="What opens it, base64; null where it is not encrypted")),
            "signer": text(says="The node's Ed25519 public key, base64"),
        }
    ),
    TimelineMoment: record({"time": instant(), "text": text()}),
    SessionTimeline: record(
        {
            "session": _UUID,
            "user": text(says="Who began it; what is not known is empty"),
            "login": text(),
            "node": text(),
            "hostname": text(),
            "roles": items(text()),
            "remote": text(says="HOST:PORT that the person came from"),
            "command": text(),
            "began": or_null(instant()),
            "is_live": flag("Whether it goes on"),
            "participants": items(text()),
            "moments": items(ref(TimelineMoment)),
        }
    ),
    RecordingCheck: record(
        {
            "outcome": text(says="`checking` while it is being checked: ask again; else what it is worth"),
            "line": text(says="The same in a sentence"),
            "done": whole(says="Bytes that were checked"),
            "size": whole(),
            "signer_known": flag("Whether somebody else than the recording says whose key sealed it"),
            "records": whole(),
            "sealed": whole(),
            "fault_at": or_null(whole(says="The record at which it does not fit")),
        }
    ),
    AuditEvents: record(
        {
            "events": items(anything(), limits.AUDIT_PAGE_MAX),
            "next": or_null(matching(AUDIT_CURSOR, "The cursor of what is older; null where there is no more")),
            "examined": whole(says="How many lines were looked at; no more are in one question"),
        }
    ),
    Verification: record(
        {
            "state": one_of(ChainState),
            "lines": whole(),
            "days": whole(),
            "last_hash": text(),
            "problem": text(says="What does not fit, and where"),
            "at": text() | {"format": "date-time"},
            "checked": whole(says="Bytes, while it is being checked"),
            "total": whole(),
            "recovered": whole(says="How often a crash tore a line"),
        }
    ),
    Home: record(
        {
            "nodes": {"type": "object", "additionalProperties": whole(), "description": "How many in each status"},
            "sessions": whole(says="How many are going on"),
            "uploads": record({"nodes": whole(), "files": whole(), "bytes": whole()}),
            "alerts": items(ref(Alert)),
            "changes": or_null(
                record(
                    {
                        "cut": flag("Whether there was more than was counted"),
                        "of": items(record({"subject": text(), "count": whole(), "newest": items(anything())})),
                    }
                )
            ),
            "beginning": or_null(record({"token": flag(), "device": flag(), "session": flag()})),
        }
    ),
    Alert: record(
        {
            "subject": text(),
            "severity": one_of(Severity),
            "text": text(says="What is wrong"),
            "advice": text(says="What to do next"),
            "command": text(),
            "count": whole(),
            "nodes": items(name("node")),
        }
    ),
    UserEntry: record(
        {
            "name": name("user"),
            "roles": _HELD_ROLES,
            "logins": _HELD_LOGINS,
            "status": one_of(UserStatus),
            "locked_until": or_null(instant("Until when failed sign-ins keep the password locked")),
            "lock": or_null(_UUID),
            "factors": whole(says="How many second factors there are"),
            "created": instant(),
        }
    ),
    UserList: record({"users": items(ref(UserEntry), limits.USERS_PAGE_MAX), "next": _NEXT}),
    NewUser: asked(
        {
            "name": name("user"),
            "logins": _LOGINS,
            "roles": _ROLES,
            "ttl_seconds": whole(1, INVITE_SECONDS_MAX, "How long the link is good"),
        },
        ("logins", "roles", "ttl_seconds"),
        "Somebody to invite. Whoever has the role access needs at least one login.",
    ),
    UserChange: asked({"roles": _ROLES, "logins": _LOGINS}, ("roles", "logins"), "What is left out stays as it is."),
    NewReset: asked({"ttl_seconds": whole(1, RESET_SECONDS_MAX, "How long the link is good")}, ("ttl_seconds",)),
    UserLink: record({"name": name("user"), "url": secret(), "expires": instant()}),
    JoinTokenEntry: record(_TOKEN),
    JoinTokenList: record({"tokens": items(ref(JoinTokenEntry), limits.TOKENS_PAGE_MAX), "next": _NEXT}),
    NewJoinToken: asked(
        {
            "uses": {"anyOf": [whole(1, USES_MAX), {"type": "string", "const": "unlimited"}]},
            "ttl_seconds": whole(1, TTL_SECONDS_MAX),
            "labels": _LABELS,
            "claimable": items(name("label_name"), limits.LABELS_MAX, unique=True),
            "approve": flag(),
            "ephemeral_seconds": whole(EPHEMERAL_SECONDS_MIN, EPHEMERAL_SECONDS_MAX),
        },
        ("uses", "ttl_seconds", "labels", "claimable", "approve", "ephemeral_seconds"),
    ),
    MadeJoinToken: record(
        _TOKEN
        | {
            "token": secret(),
            "shown_as": text(),
            "controller": text(says="HOST:PORT to give to the device"),
            "ca_pins": _LINES,
            "install": text(),
        }
    ),
    Lock: record(_LOCK),
    LockList: record({"locks": items(ref(Lock), limits.LOCKS_MAX)}),
    NewLock: {"oneOf": [_new_lock("user", name("user")), _new_lock("login", name("login")), _new_lock("node", _UUID)]},
    Profile: record(
        {
            "user": name("user"),
            "roles": _HELD_ROLES,
            "logins": _HELD_LOGINS,
            "created": instant(),
            "sees_audit": flag(),
            "administers": flag(),
            "signed_in": instant("Since when this sign-in is in force"),
            "expires": instant("When it ends"),
        }
    ),
    PasswordChange: asked({"old": secret(), "new": secret(), "otp": secret()}),
    FactorEntry: record(
        {"id": text(), "name": text(), "type": {"type": "string", "const": "totp"}, "added": instant()}
    ),
    FactorList: record({"factors": items(ref(FactorEntry), limits.FACTORS_PER_USER)}),
    FactorOffer: record({"handle": secret(), "secret": secret(), "uri": secret()}),
    NewFactor: asked(
        {
            "handle": secret(),
            "name": text(limits.FACTOR_NAME_MAX_CHARS, least=1),
            "otp": secret(),
            "approval": secret() | {"description": "A code of an app that is there already"},
        },
    ),
    OneTimeCode: asked({"otp": secret()}),
    SignInEntry: record(
        {
            "id": text(),
            "kind": one_of(SessionKind),
            "since": instant(),
            "used": instant("Its last use, to a minute or ten"),
            "expires": instant(),
            "remote": text(says="HOST:PORT it was begun from; empty where that was not noted"),
            "client": text(),
            "is_current": flag("Whether it is the one that asks"),
        }
    ),
    SignInList: record({"sign_ins": items(ref(SignInEntry))}),
}
