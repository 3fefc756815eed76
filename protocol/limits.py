"""Every size and every window of time, in one place, derived from each other where they depend.

Sizes are bytes unless a name says otherwise; times are `timedelta`. A window that guards another is
computed from it, so that nobody can change one and forget the other.
"""

from __future__ import annotations

from datetime import timedelta

# --- clocks -----------------------------------------------------------------------------------------------------
# How far two clocks in one cluster may differ before certificates are judged wrongly.
CLOCK_LEEWAY = timedelta(minutes=1)

# --- people -----------------------------------------------------------------------------------------------------
PASSWORD_MIN_CHARS = 12
PASSWORD_MAX_CHARS = 128
USER_CERTIFICATE_MAX = timedelta(hours=12)
USER_CERTIFICATE_MIN = timedelta(minutes=1)
INVITE_TTL = timedelta(hours=1)
INVITE_TTL_MAX = timedelta(hours=48)
RESET_TTL = timedelta(hours=8)
RESET_TTL_MAX = timedelta(hours=24)
SIGN_IN_FAILURES = 5
SIGN_IN_LOCKOUT = timedelta(minutes=20)
WEB_SESSION_IDLE = timedelta(minutes=30)
WEB_SESSION_MAX = timedelta(hours=12)

# --- one-time codes (RFC 6238) -----------------------------------------------------------------------------------
TOTP_PERIOD = timedelta(seconds=30)
TOTP_DIGITS = 6
TOTP_SKEW_STEPS = 1
# A spent code is remembered longer than any clock here could still accept it: every step the skew
# admits, before and after, the leeway between clocks, and one step of margin.
TOTP_MEMORY = TOTP_PERIOD * (2 * TOTP_SKEW_STEPS + 2) + CLOCK_LEEWAY

# --- devices ----------------------------------------------------------------------------------------------------
JOIN_TOKEN_TTL = timedelta(minutes=30)
JOIN_TOKEN_TTL_MAX = timedelta(days=30)
# How long a join token is remembered once it is good for nothing, so that the audit log can say why.
JOIN_TOKEN_MEMORY = timedelta(days=1)
HOST_CERTIFICATE_TTL = timedelta(days=30)
CA_CERTIFICATE_TTL = timedelta(days=3650)
WEB_CERTIFICATE_TTL = timedelta(days=90)
LABELS_MAX = 32

# --- the reverse tunnel -----------------------------------------------------------------------------------------
RECONNECT_FIRST = timedelta(seconds=1)
RECONNECT_MAX = timedelta(seconds=60)
RECONNECT_STABLE = timedelta(seconds=60)
# A link that died silently is noticed by whoever sends: three unanswered keepalives. 3 x 15 s = 45 s.
KEEPALIVE_INTERVAL = timedelta(seconds=15)
KEEPALIVE_MISSES = 2
DIAL_TIMEOUT = timedelta(seconds=20)
# An SSH connection that has not authenticated by then is closed, however it dawdles.
SSH_LOGIN_GRACE = timedelta(seconds=20)
# Opening a channel to a node that holds a tunnel but does not answer.
CHANNEL_OPEN_TIMEOUT = timedelta(seconds=15)
UNAUTHENTICATED_CONNECTIONS = 256
# Of those, from one IPv4 address or one IPv6 network of 64 bits.
UNAUTHENTICATED_PER_NETWORK = 32

# --- channels ---------------------------------------------------------------------------------------------------
CHANNELS_PER_CONNECTION = 64
FORWARD_TARGET_MAX_CHARS = 253

# --- the web and machine doors ----------------------------------------------------------------------------------
HTTP_BODY_MAX = 256 * 1024
HTTP_REPLY_MAX = 64 * 1024 * 1024
HTTP_TIMEOUT = timedelta(seconds=20)
# A request's line, headers and body must have arrived by then.
HTTP_REQUEST_GRACE = timedelta(seconds=10)
REQUESTS_PER_MINUTE = 60
REQUESTS_BURST = 60

# --- audit ------------------------------------------------------------------------------------------------------
AUDIT_LINE_MAX = 64 * 1024
AUDIT_FIELD_MAX_CHARS = 4096
EVENT_BATCH_MAX = 200
# How far the numbers of a node's events may jump ahead of the last one held: an honest node that lost events to
# a full queue jumps by far less, and a dishonest one must not use the numbers up.
EVENT_SEQUENCE_JUMP_MAX = 1_000_000
# A node's word on when something happened is taken within these bounds: see `controller.policy.report`.
EVENT_TIME_BEFORE_JOIN = timedelta(days=1)
EVENT_TIME_AHEAD = timedelta(minutes=5)
# Of one batch; the rest of its refused events are counted.
EVENT_REFUSALS_AUDITED = 10
EVENT_QUEUE_MAX = 10_000
EVENT_QUEUE_MAX_BYTES = 8 * 1024 * 1024
COMMAND_MAX_CHARS = 4096
