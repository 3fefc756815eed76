"""Every size and every window of time, in one place, derived from each other where they depend.

Sizes are bytes unless a name says otherwise; times are `timedelta`. A window that guards another is
computed from it, so that nobody can change one and forget the other.
"""

from __future__ import annotations

from datetime import timedelta

# --- clocks -----------------------------------------------------------------------------------------------------
# How far two clocks in one cluster may differ before certificates are judged wrongly.
CLOCK_LEEWAY = timedelta(minutes=1)
# A device's clock so far behind has no battery.
CLOCK_FAR = timedelta(days=1)
# The last good time is written to the device's disk again after so long.
CLOCK_KEEP = timedelta(minutes=15)
# The clock and the time that passed differ by more than this: somebody set the clock, or the machine slept.
CLOCK_JUMP = timedelta(seconds=5)
MILLISECOND = timedelta(milliseconds=1)

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
# Authenticator apps of one person, and how long one that is being set up may take.
FACTORS_PER_USER = 10
FACTOR_NAME_MAX_CHARS = 40
FACTOR_SETUP_TTL = timedelta(minutes=15)

# --- devices ----------------------------------------------------------------------------------------------------
JOIN_TOKEN_TTL = timedelta(minutes=30)
JOIN_TOKEN_TTL_MAX = timedelta(days=30)
# How long a join token is remembered once it is good for nothing, so that the audit log can say why.
JOIN_TOKEN_MEMORY = timedelta(days=1)
HOST_CERTIFICATE_TTL = timedelta(days=30)
# A certificate is renewed when so much of its life is over; nodes spread it over the time that follows.
RENEW_AFTER = 2 / 3
RENEW_SPREAD = timedelta(hours=6)
# In a rotation, all nodes renew at once: within this.
ROTATION_SPREAD = timedelta(minutes=2)
RENEW_RETRY_MAX = timedelta(hours=1)
# A challenge is good once, and for so long.
CHALLENGE_TTL = timedelta(minutes=2)
# How often a node that waits for approval asks.
PENDING_RETRY = timedelta(seconds=15)
PENDING_NODES_MAX = 1000
# TLS certificates of one node that have not expired: each is kept in mind, to be revoked with the node.
TLS_CERTIFICATES_MAX = 64
# When all these places are taken, the oldest is given away so often, since answers get lost: an honest node that asks
# again every hour goes on, and one that asks without end fills no list of certificates that are taken back.
TLS_CERTIFICATE_PLACE = RENEW_RETRY_MAX / 3
# A spent challenge is remembered for longer than any clock here could still accept it.
CHALLENGE_MEMORY = CHALLENGE_TTL + 2 * CLOCK_LEEWAY
# What the controller made of a clone is not done again within this, however many of its doors see the two.
CLONE_MEMORY = timedelta(minutes=1)
# A broker that is not ours may have made up the signs of a clone: nobody is locked, and it is told again after so long.
CLONE_ALARM_AGAIN = timedelta(hours=1)
# How long the key of a node that was removed is remembered: longer than a token that it spent can live.
REMOVED_KEY_MEMORY = JOIN_TOKEN_TTL_MAX + CLOCK_LEEWAY
EPHEMERAL_MIN = timedelta(minutes=5)
EPHEMERAL_MAX = timedelta(days=365)
CA_CERTIFICATE_TTL = timedelta(days=3650)
WEB_CERTIFICATE_TTL = timedelta(days=90)
# In a rotation of the TLS CA, the key that takes over is signed by the other: who knows that one alone is led for so
# long. A node that was away for longer comes home by the host CA. Back to the old key, for those who came meanwhile.
CROSS_CERTIFICATE_TTL = HOST_CERTIFICATE_TTL
CROSS_BACK_TTL = timedelta(days=7)
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

# --- presence and control over MQTT -----------------------------------------------------------------------------
HEARTBEAT_INTERVAL = timedelta(seconds=30)
HEARTBEAT_MIN_SECONDS = 5
HEARTBEAT_MAX_SECONDS = 3600
# The broker gives a silent client up after one and a half of what it was told (MQTT 3.1.1 section 3.1.2.10); with the
# five seconds that it takes to look, a link that died silently is told within 45 s.
MQTT_KEEPALIVE = HEARTBEAT_INTERVAL - timedelta(seconds=4)
# What was sent and not acknowledged by the peer's system for so long: the link is dead (TCP_USER_TIMEOUT).
LINK_SILENCE_MAX = timedelta(seconds=20)
# While heartbeats tell that the link lives, the tunnel itself is asked so rarely: its NAT entry must not be forgotten.
TUNNEL_KEEPALIVE_IDLE = timedelta(seconds=150)
# The kernel asks where even that did not come: it has nothing to do while both ends are there.
TUNNEL_TCP_KEEPALIVE = TUNNEL_KEEPALIVE_IDLE + timedelta(seconds=30)
# A tunnel that may be dead, as heartbeats no longer come or go, is asked so often until KEEPALIVE_MISSES are over.
TUNNEL_PROBE = timedelta(seconds=5)
# A node that was not heard of for so many of its intervals is stale, and then offline.
STALE_AFTER_BEATS = 2
OFFLINE_AFTER_BEATS = 4
# A change is told to the audit log when it has lasted so long; of one that flaps, so many within an hour.
PRESENCE_SETTLE = timedelta(seconds=10)
PRESENCE_EVENTS_PER_HOUR = 6
# The controller notes so often that it is watching: who was online then, was seen then.
PRESENCE_WATCH = timedelta(minutes=5)
NODE_STATE_MAX = 1024
BEAT_MAX = 512
# What one node may say; what is more is dropped, and the node muted for a while. Far more than an honest one says
# whose sessions change all the time (LIVE_SESSIONS_GATHER).
MESSAGES_PER_MINUTE = 240
MESSAGES_BURST = 60
MUTE = timedelta(minutes=10)
MQTT_MESSAGE_MAX = 256 * 1024
PULSE_INTERVAL = timedelta(minutes=4)
# A node's view of locks is stale when it has heard nothing from the controller for so long: two pulses and more.
LOCKS_STALE = 2.5 * PULSE_INTERVAL
LOCKS_MAX = 500
# Of those, the controller keeps so many for itself: for nodes of which it finds two.
LOCKS_RESERVED = 20
LOCK_MESSAGE_MAX_CHARS = 200
# All locks together, as they travel in the policy document; what is left of POLICY_MAX is for authorities.
LOCKS_SIZE_MAX = 144 * 1024
# The store is looked at so often for what changes the policy document.
CONTROL_LOOK = timedelta(milliseconds=250)
# Nodes that say they hold a policy above ours make the controller go beyond it so often: each time all nodes are told.
POLICY_OUTRUN_AGAIN = timedelta(hours=1)
# A version further ahead of our clock than this none of our clocks can have given out.
POLICY_AHEAD_MAX = timedelta(minutes=5)
# The policy document, as text; an endorsement of it fits MQTT_MESSAGE_MAX.
POLICY_MAX = 200 * 1024
# What a day of a node's heartbeats is kept as: the average of each of these spans.
HISTORY_STEP = timedelta(minutes=10)
HISTORY_SPAN = timedelta(days=1)

# --- channels ---------------------------------------------------------------------------------------------------
CHANNELS_PER_CONNECTION = 64
FORWARD_TARGET_MAX_CHARS = 253

# --- shared sessions ---------------------------------------------------------------------------------------------
PARTIES_PER_SESSION = 32
# Of these one person may have so many, and the last ones are kept for moderators: nobody can fill their own session so
# that none can watch or end it.
PARTIES_PER_USER = 8
PARTIES_KEPT_FOR_MODERATORS = 4
# One node's message about its live sessions: so many of them, in so many bytes. What is more is counted.
LIVE_SESSIONS_MAX = 64
LIVE_SESSIONS_SIZE_MAX = 32 * 1024
# All nodes together, as the controller keeps and shows them: some 25,000 sessions. Beyond it they are only counted.
LIVE_FLEET_SIZE_MAX = 8 * 1024 * 1024
# Changes of who takes part, and of sizes, are gathered for so long before they are told.
LIVE_SESSIONS_GATHER = timedelta(milliseconds=500)
SESSION_NEWS_MAX = 16 * 1024
# Of what a session printed last, so much is kept for who joins, and for who could not keep up.
SCREEN_TAIL_MAX = 128 * 1024
# What waits for one party; beyond it that one is behind. A peer that is behind holds the program for so long, where
# others are there, and is then given the screen as it is by then; an observer is given that at once.
PARTY_BEHIND = 256 * 1024
PEER_PATIENCE = timedelta(seconds=1)

# --- terminals in the browser ------------------------------------------------------------------------------------
# What the web process shows at the proxy's door for one terminal: good until it is in.
TERMINAL_CERTIFICATE_TTL = USER_CERTIFICATE_MIN
# A ticket opens one WebSocket, once, and for so long.
TICKET_TTL = timedelta(seconds=30)
# What the browser may send in one message, and what may wait for it.
SOCKET_MESSAGE_MAX = 256 * 1024
SOCKET_BEHIND = 1024 * 1024
TERMINALS_PER_USER = 20
TERMINALS_PER_WORKER = 200
# How often an open terminal looks whether its sign-in is still in force.
TERMINAL_CHECK = timedelta(seconds=5)
# What is typed or pasted and not read by the device yet: how much a page sends ahead, and what ends the terminal.
TYPED_AHEAD = 128 * 1024
TYPED_MAX = 1024 * 1024
# A file that goes up or down in the browser.
WEB_FILE_MAX = 512 * 1024 * 1024
STREAMS_PER_WORKER = 500
STREAMS_PER_USER = 30
# How many connections to nodes the web process makes at the same time: to one node, and for one person.
DIALS_PER_NODE = 4
DIALS_PER_USER = 8
# How many requests, of one person and in all, wait at the same time for a device to end a session.
SESSION_ENDS_PER_USER = 2
SESSION_ENDS_PER_WORKER = 4

# --- the web and machine doors ----------------------------------------------------------------------------------
HTTP_BODY_MAX = 256 * 1024
HTTP_REPLY_MAX = 64 * 1024 * 1024
HTTP_TIMEOUT = timedelta(seconds=20)
# A request's line, headers and body must have arrived by then.
HTTP_REQUEST_GRACE = timedelta(seconds=10)
# One page of a listing under /v1; tsh has all nodes at once.
NODES_PAGE_MAX = 1000
USERS_PAGE_MAX = 500
TOKENS_PAGE_MAX = 500
AUDIT_PAGE_MAX = 1000
REQUESTS_PER_MINUTE = 60
REQUESTS_BURST = 60

# --- audit ------------------------------------------------------------------------------------------------------
AUDIT_LINE_MAX = 64 * 1024
AUDIT_FIELD_MAX_CHARS = 4096
# One page of the log, and how many lines one question may look at; the answer says where to go on.
AUDIT_PAGE = 100
AUDIT_EXAMINED_MAX = 20_000
AUDIT_EXPORT_MAX = 100_000
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

# --- recordings -------------------------------------------------------------------------------------------------
# Output is gathered for so long, or up to so much, and becomes one data record.
RECORDING_GATHER = timedelta(seconds=1)
RECORDING_GATHER_MAX = 256 * 1024
# What is recorded is on the device's disk by then: gathered, and synced in the time that is left.
RECORDING_SYNC = timedelta(seconds=1)
RECORDING_LOSS_MAX = RECORDING_GATHER + RECORDING_SYNC
RECORDING_SEAL = timedelta(seconds=10)
# A disk that takes longer over one thing does not answer. What cannot be recorded meanwhile is tried again so often.
RECORDING_STALL = timedelta(seconds=10)
RECORDING_RETRY = timedelta(seconds=5)
# Output that is not compressed yet; beyond it the session is held, as by a client that cannot keep up.
RECORDING_PENDING_MAX = 4 * 1024 * 1024
# One data record, unpacked: what is gathered, each byte of it a control character that JSON writes with six, and more.
RECORDING_FRAME_MAX = 2 * 1024 * 1024
RECORDING_BODY_MAX = RECORDING_FRAME_MAX + 64 * 1024
RECORDING_HEADER_MAX = 16 * 1024
# One recording, whole.
RECORDING_MAX = 16 * 1024 * 1024 * 1024
# One request of an upload or a download carries at most so much of it.
RECORDING_PIECE_MAX = 512 * 1024
# One listing: with every participant, login and command as long as a listing shows them it still fits HTTP_REPLY_MAX.
RECORDINGS_LISTED_MAX = 5000
# Sessions that were going on at some moment are looked for among those that began no longer before it.
RECORDINGS_LOOK_BACK = timedelta(days=7)
# Of a session's command, a listing shows so much.
RECORDING_COMMAND_LISTED = 200
# How many recordings a person's question may have looked at; where there are more, the answer says that it is cut.
RECORDINGS_EXAMINED_MAX = 100_000
# Who goes on reading a recording that needs no key is told to the audit log again after so long.
RECORDING_ACCESS_AGAIN = timedelta(hours=1)
# Who is refused the same thing for want of a role is told to the audit log again after so long, with how often it was.
REFUSAL_AGAIN = timedelta(minutes=10)
# How often a node asks what holds for recordings, beside each time its tunnel comes up.
RECORDING_TERMS_INTERVAL = timedelta(hours=1)
# Retention spares a recording that grew within this: its node may not have heard yet that it is held whole. One that is
# still arriving is given up only when nothing of it has come for the longer time.
RECORDING_SETTLE = timedelta(hours=1)
RECORDING_ARRIVAL_MAX = timedelta(days=7)
# So many recordings are removed in one round of housekeeping; the rest waits for the next.
RETENTION_ROUND = 500
# What one node may have under way on the controller, and what stays free of the controller's disk whoever uploads.
UPLOADS_PER_NODE = 256
UPLOAD_BYTES_PER_NODE = 2 * RECORDING_MAX
UPLOAD_DISK_FREE_MIN = 256 * 1024 * 1024
# How soon to ask again where that leaves no room.
UPLOAD_RETRY = timedelta(minutes=1)
# Refusals of one node's uploads that reach the audit log within an hour; the rest are counted.
UPLOAD_REFUSALS_AUDITED = 20
# So much is unpacked to learn who took part, of one piece and of all that a node sends within a minute: what compresses
# ten thousandfold costs no more. Log text compresses fiftyfold, and a piece full of it comes to less.
UPLOAD_UNPACKED_PER_PIECE = 32 * 1024 * 1024
UPLOAD_UNPACKED_PER_MINUTE = 256 * 1024 * 1024
# How many bytes could be unpacked while one record is opened, and while one place is looked at that may say who joined.
UPLOAD_RECORD_EFFORT = 32 * 1024
UPLOAD_SIGN_EFFORT = 512
# Requests of one node about its uploads that are answered at a time, and how soon it may ask again with one more.
UPLOADS_AT_ONCE = 2
UPLOAD_BUSY_RETRY = timedelta(seconds=1)
