"""The audit events: one table of names, codes and fields. What is not in it cannot be written.

Names, codes and field names are Teleport's where Teleport has the event. Codes that begin with ``SK``
are our own. The last letter of a code is its severity: I information, W warning, E error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol import limits

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of audit event.

    Attributes:
        name: what happened, subject first, such as ``user.login``.
        code: the code that tells success from failure.
        fields: names that must be there beside the common ones.
        optional: names that may be there.
        from_node: whether an agent may report it; every other kind is the controller's own.
    """

    name: str
    code: str
    fields: frozenset[str]
    optional: frozenset[str]
    from_node: bool


class BadEventError(ValueError):
    """An event is not of a known kind, or its fields are not that kind's."""


def _kind(name: str, code: str, fields: str = "", optional: str = "", *, from_node: bool = False) -> EventKind:
    return EventKind(name, code, frozenset(fields.split()), frozenset(optional.split()), from_node)


_SESSION = "user login sid server_id server_hostname addr.remote"

USER_LOGIN = _kind("user.login", "T1000I", "user method success addr.remote", "client")
USER_LOGIN_FAILED = _kind("user.login", "T1000W", "user method success error addr.remote", "client check")
USER_LOCKED = _kind("user.locked", "SK001W", "user expires", "addr.remote")
USER_LOGOUT = _kind("user.logout", "SK002I", "user", "addr.remote client")
USER_CREATE = _kind("user.create", "T1002I", "user name roles logins connector expires")
USER_DELETE = _kind("user.delete", "T1004I", "user name")
USER_PASSWORD_CHANGE = _kind("user.password_change", "T1005I", "user", "addr.remote")
INVITE_REFUSED = _kind("user.invite", "SK003W", "success error addr.remote", "user name")
MFA_ADD = _kind("mfa.add", "T1006I", "user mfa_device_name mfa_device_type mfa_device_uuid", "addr.remote")
MFA_DELETE = _kind("mfa.delete", "T1007I", "user mfa_device_name mfa_device_type mfa_device_uuid", "addr.remote")
USER_UPDATE = _kind("user.update", "T1003I", "user name roles logins", "before")
PASSWORD_CHANGE_FAILED = _kind("user.password_change", "SK004W", "user success error addr.remote", "check")
MFA_FAILED = _kind("mfa.add", "SK005W", "user success error addr.remote", "check mfa_device_name")
MFA_DELETE_FAILED = _kind("mfa.delete", "SK008W", "user success error addr.remote", "check mfa_device_name")
USER_SIGN_IN_ENDED = _kind("user.sign_in_ended", "SK006I", "user name", "addr.remote client")
# Somebody signed in asked for what only an admin or auditor may have.
ACCESS_DENIED = _kind("access.denied", "SK007W", "user success error addr.remote", "method path check count")
AUDIT_EXPORT = _kind("audit.export", "SK022I", "user count", "addr.remote filter")
RESET_CREATE = _kind("reset_password_token.create", "T6000I", "user name ttl")
CERT_CREATE = _kind("cert.create", "TC000I", "user cert_type serial expires", "roles logins addr.remote")
JOIN_TOKEN_CREATE = _kind(
    "join_token.create", "TJT00I", "user roles join_method expires token", "labels uses approve ephemeral"
)
JOIN_TOKEN_DELETE = _kind("join_token.delete", "SK010I", "user token")
INSTANCE_JOIN = _kind(
    "instance.join",
    "TJ002I",
    "success host_id node_name role method token addr.remote",
    "labels version generation repeated",
)
INSTANCE_JOIN_FAILED = _kind("instance.join", "TJ002E", "success error addr.remote", "node_name token check")
NODE_DELETE = _kind("node.delete", "SK013I", "user name server_id server_hostname", "reason")
NODE_PENDING = _kind("node.pending", "SK014I", "host_id node_name token addr.remote", "labels version repeated")
NODE_APPROVE = _kind("node.approve", "SK015I", "user server_id server_hostname")
NODE_REJECT = _kind("node.reject", "SK016I", "user server_id server_hostname")
NODE_LABEL = _kind("node.label", "SK017I", "user server_id server_hostname labels", "before")
NODE_ONLINE = _kind("node.online", "SK040I", "server_id server_hostname", "offline_since version count")
NODE_OFFLINE = _kind("node.offline", "SK041I", "server_id server_hostname reason", "last_seen count")
NODE_RENEW = _kind(
    "node.renew", "SK043I", "server_id server_hostname generation expires addr.remote", "version repeated expected"
)
NODE_RENEW_FAILED = _kind(
    "node.renew", "SK043W", "success error addr.remote", "server_id server_hostname generation check"
)
# Two devices with one identity: a copied disk.
CERT_GENERATION_MISMATCH = _kind(
    "cert.generation_mismatch", "TCB03W", "server_id server_hostname reason", "generation expected addr.remote lock"
)
LOCK_CREATED = _kind("lock.created", "TLK00I", "user name target", "message expires")
LOCK_DELETED = _kind("lock.deleted", "TLK01I", "user name target")
CA_ROTATE = _kind("cert_authority.rotate", "SK048I", "user type phase", "before key_id")
POLICY_UPDATE = _kind("policy.update", "SK044I", "version changed")
# What a node sent over MQTT was not taken: told once, and then counted.
PRESENCE_REFUSED = _kind("presence.refused", "SK045W", "server_id success error", "server_hostname check count")
BROKER_DOWN = _kind("broker.down", "SK046W", "error")
BROKER_UP = _kind("broker.up", "SK047I", "", "down_since")
CLUSTER_CREATE = _kind("cluster.create", "SK020I", "cluster_name ca_pin")
# All that the controller needs to go on elsewhere was copied; and a controller goes on from such a copy.
CONTROLLER_BACKUP = _kind("controller.backup", "SK050I", "user path recordings")
CONTROLLER_RESTORE = _kind("controller.restore", "SK051W", "user made")
# One of the controller's processes did not answer any more: it was ended, and started anew.
CONTROLLER_HUNG = _kind("controller.hung", "SK052E", "process seconds")
# A crash in the middle of a write left part of a line. It was ended where it was, and stands before this event.
AUDIT_RECOVERED = _kind("audit.recovered", "SK021W", "file bytes after")
SESSION_CONNECT = _kind("session.connect", "T2010I", "user server_id server_hostname addr.remote", "target")
SESSION_REJECTED = _kind("session.rejected", "T1006W", "user reason addr.remote", "server_id target check")
# A cluster that requires recording, and a device that cannot: nothing was done.
SESSION_UNRECORDABLE = _kind(
    "session.rejected",
    "SK037W",
    "user login sid server_id server_hostname addr.remote reason check",
    from_node=True,
)
SESSION_START = _kind("session.start", "T2000I", _SESSION, "size initial_command interactive", from_node=True)
SESSION_JOIN = _kind("session.join", "T2001I", f"{_SESSION} mode participants", "owner size", from_node=True)
SESSION_JOIN_FAILED = _kind("session.join", "SK038W", f"{_SESSION} success error check", "mode", from_node=True)
SESSION_LEAVE = _kind("session.leave", "T2003I", f"{_SESSION} mode participants", "owner reason", from_node=True)
SESSION_END = _kind(
    "session.end",
    "T2004I",
    f"{_SESSION} interactive participants session_start session_stop",
    "exitCode exitSignal reason",
    from_node=True,
)
# The controller was told to end a session; whether it did, the node tells.
SESSION_END_ORDERED = _kind(
    "session.end_ordered", "SK049I", "user sid login server_id server_hostname", "addr.remote participants"
)
EXEC = _kind("exec", "T3002I", f"{_SESSION} command exitCode", "exitError", from_node=True)
EXEC_FAILED = _kind("exec", "T3002E", f"{_SESSION} command exitError", "exitCode", from_node=True)
SUBSYSTEM = _kind("subsystem", "T3001I", f"{_SESSION} name exitCode", "exitError", from_node=True)
SUBSYSTEM_FAILED = _kind("subsystem", "T3001E", f"{_SESSION} name exitError", "exitCode", from_node=True)
PORT_FORWARD = _kind(
    "port", "T3003I", "user login server_id server_hostname addr addr.remote success", "sid", from_node=True
)
PORT_FORWARD_FAILED = _kind(
    "port", "T3003E", "user login server_id server_hostname addr addr.remote success error", "sid", from_node=True
)
AUTH_FAILED = _kind(
    "auth", "T3007W", "success error addr.remote", "user login server_id server_hostname door check", from_node=True
)
# A file that a person moved in the browser, by the controller's own hand.
FILE_UPLOAD = _kind("scp", "T3005I", "user login server_id server_hostname action path", "bytes sid addr.remote")
FILE_UPLOAD_FAILED = _kind(
    "scp", "T3005E", "user login server_id server_hostname action path error", "bytes sid addr.remote check"
)
FILE_DOWNLOAD = _kind("scp", "T3004I", "user login server_id server_hostname action path", "bytes sid addr.remote")
FILE_DOWNLOAD_FAILED = _kind(
    "scp", "T3004E", "user login server_id server_hostname action path error", "bytes sid addr.remote check"
)
# The browser's terminal was not opened: what the ticket or the page it came from was lacking.
TERMINAL_REFUSED = _kind("session.rejected", "SK039W", "user reason addr.remote", "server_id target check count")
NODE_EVENT_REFUSED = _kind("node.event", "SK011W", "server_id success error", "addr.remote count")
NODE_EVENTS_LOST = _kind("node.events_lost", "SK012W", "server_id server_hostname count", "", from_node=True)

SESSION_UPLOAD = _kind(
    "session.upload",
    "T2005I",
    "sid server_id server_hostname session_start size state",
    "user participants addr.remote hash signer",
)
RECORDING_ACCESS = _kind("session.recording.access", "T2012I", "user sid", "server_hostname addr.remote format name")
# Somebody asked for a recording that is there, and may not see it; they are told that it is not.
RECORDING_ACCESS_REFUSED = _kind(
    "session.recording.access", "SK036W", "user sid success error", "server_hostname addr.remote check"
)
RECORDING_DELETE = _kind("session.recording.delete", "SK032I", "sid size", "user server_id server_hostname name reason")
RECORDING_INTERRUPTED = _kind(
    "recording.interrupted", "SK030W", "sid server_id server_hostname reason", "user participants addr.remote"
)
# Something was done that is not on record: a session, or a part of one.
RECORDING_GAP = _kind(
    "recording.gap", "SK031W", "server_id server_hostname reason", "sid user login bytes count", from_node=True
)
# What a node sent does not fit; what it had sent before that is kept.
RECORDING_REFUSED = _kind(
    "recording.refused", "SK033W", "server_id success error", "sid server_hostname check addr.remote count"
)
# A recording will not be uploaded any more: it stays on the node, put aside.
RECORDING_SET_ASIDE = _kind(
    "recording.set_aside", "SK035W", "sid server_id server_hostname reason", "bytes", from_node=True
)
RECORDING_KEY_ROTATE = _kind("recording_key.rotate", "SK034I", "user key_id")

KINDS: tuple[EventKind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, EventKind))
BY_CODE: Mapping[str, EventKind] = {kind.code: kind for kind in KINDS}

# What the one writer adds to every event, and what a node's events carry beside their kind's fields.
COMMON_FIELDS = frozenset({"event", "code", "time", "uid", "ei", "cluster_name", "prev"})
NODE_FIELDS = frozenset({"device_time", "namespace", "server_labels"})
# What the web, the command line and the doors may say about who asked.
ORIGIN_FIELDS = frozenset({"via"})
_CLIP_DEPTH = 20


def check_event(kind: EventKind, fields: Mapping[str, Json]) -> None:
    """Raise `BadEventError` unless `fields` are all that `kind` needs and nothing it does not know."""
    missing = kind.fields - fields.keys()
    if missing:
        message = f"{kind.name} ({kind.code}) lacks {', '.join(sorted(missing))}"
        raise BadEventError(message)
    unknown = fields.keys() - kind.fields - kind.optional - NODE_FIELDS - ORIGIN_FIELDS
    if unknown:
        message = f"{kind.name} ({kind.code}) does not know {', '.join(sorted(unknown)[:5])}"
        raise BadEventError(message)


def clip(value: Json, depth: int = _CLIP_DEPTH) -> Json:
    """Return `value` with every text cut to `limits.AUDIT_FIELD_MAX_CHARS`, deeply; what nests too deep is left out."""
    if isinstance(value, str):
        return value if len(value) <= limits.AUDIT_FIELD_MAX_CHARS else value[: limits.AUDIT_FIELD_MAX_CHARS] + "…"
    if isinstance(value, list | dict) and not depth:
        return "…"
    if isinstance(value, list):
        return [clip(item, depth - 1) for item in value[:1000]]
    if isinstance(value, dict):
        return {str(key)[:100]: clip(item, depth - 1) for key, item in list(value.items())[:1000]}
    return value
