"""The HTTPS endpoints for programs: path and method of each, in one table for those who ask and those who answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its method and its path."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str


# On the web door (3080).
PING = Endpoint("GET", "/v1/ping")
AUTHORITIES = Endpoint("GET", "/v1/authorities")
SIGN_IN = Endpoint("POST", "/v1/sign-in")
SIGN_OUT = Endpoint("POST", "/v1/sign-out")
NODES = Endpoint("GET", "/v1/nodes")
JOIN = Endpoint("POST", "/v1/join")
RENEW_CHALLENGE = Endpoint("POST", "/v1/renew/challenge")
RENEW = Endpoint("POST", "/v1/renew")
RECORDINGS = Endpoint("GET", "/v1/recordings")
RECORDING = Endpoint("GET", "/v1/recordings/{session}")
RECORDING_KEY = Endpoint("POST", "/v1/recordings/{session}/key")
RECORDING_CONTENT = Endpoint("GET", "/v1/recordings/{session}/content")
RECORDING_TIMELINE = Endpoint("GET", "/v1/recordings/{session}/timeline")
RECORDING_VERIFICATION = Endpoint("GET", "/v1/recordings/{session}/verification")
RECORDING_CAST = Endpoint("GET", "/v1/recordings/{session}/cast")
OPENAPI = Endpoint("GET", "/v1/openapi.json")
OVERVIEW = Endpoint("GET", "/v1/overview")
NODE = Endpoint("GET", "/v1/nodes/{node}")
NODE_HISTORY = Endpoint("GET", "/v1/nodes/{node}/history")
NODE_LABELS = Endpoint("PUT", "/v1/nodes/{node}/labels")
NODE_APPROVE = Endpoint("POST", "/v1/nodes/{node}/approve")
NODE_REJECT = Endpoint("POST", "/v1/nodes/{node}/reject")
NODE_REMOVE = Endpoint("DELETE", "/v1/nodes/{node}")
# Sessions that are going on (`live_sessions`), as `fleet_sessions.SessionEntry` each.
SESSIONS = Endpoint("GET", "/v1/sessions")
SESSION_END = Endpoint("POST", "/v1/sessions/{session}/end")
AUDIT = Endpoint("GET", "/v1/audit")
AUDIT_EXPORT = Endpoint("GET", "/v1/audit/export")
AUDIT_VERIFICATION = Endpoint("GET", "/v1/audit/verification")
USERS = Endpoint("GET", "/v1/users")
USER_ADD = Endpoint("POST", "/v1/users")
USER = Endpoint("GET", "/v1/users/{user}")
USER_UPDATE = Endpoint("PATCH", "/v1/users/{user}")
USER_RESET = Endpoint("POST", "/v1/users/{user}/reset")
USER_REMOVE = Endpoint("DELETE", "/v1/users/{user}")
TOKENS = Endpoint("GET", "/v1/tokens")
TOKEN_ADD = Endpoint("POST", "/v1/tokens")
TOKEN_REMOVE = Endpoint("DELETE", "/v1/tokens/{token}")
LOCKS = Endpoint("GET", "/v1/locks")
LOCK_ADD = Endpoint("POST", "/v1/locks")
LOCK_REMOVE = Endpoint("DELETE", "/v1/locks/{lock}")
ME = Endpoint("GET", "/v1/me")
MY_PASSWORD = Endpoint("POST", "/v1/me/password")
MY_FACTORS = Endpoint("GET", "/v1/me/factors")
MY_FACTOR_BEGIN = Endpoint("POST", "/v1/me/factor-offers")
MY_FACTOR_ADD = Endpoint("POST", "/v1/me/factors")
MY_FACTOR_REMOVE = Endpoint("DELETE", "/v1/me/factors/{factor}")
MY_SIGN_INS = Endpoint("GET", "/v1/me/sign-ins")
MY_SIGN_IN_END = Endpoint("DELETE", "/v1/me/sign-ins/{sign_in}")
# On the machine API (3025), with a node's client certificate.
EVENTS = Endpoint("POST", "/v1/events")
RECORDING_TERMS = Endpoint("GET", "/v1/recording-terms")
# The policy document (`endorsement.Endorsed`), for a node that does not reach the broker.
POLICY = Endpoint("GET", "/v1/policy")
# Uploads of recordings, tus 1.0: creation here, and each upload under this path and the session's id.
UPLOADS = "/v1/uploads"
