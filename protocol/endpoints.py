"""The HTTPS endpoints for programs: path and method of each, in one table for those who ask and those who answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its method and its path."""

    method: Literal["GET", "POST"]
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
# On the machine API (3025), with a node's client certificate.
EVENTS = Endpoint("POST", "/v1/events")
RECORDING_TERMS = Endpoint("GET", "/v1/recording-terms")
# The policy document (`endorsement.Endorsed`), for a node that does not reach the broker.
POLICY = Endpoint("GET", "/v1/policy")
# Uploads of recordings, tus 1.0: creation here, and each upload under this path and the session's id.
UPLOADS = "/v1/uploads"
