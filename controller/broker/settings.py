"""What mosquitto is told: its configuration and its access list (mosquitto.conf(5)). Texts alone; nothing is written.

Mosquitto 2.0 grants every subscription and filters what is delivered by the ``read`` lines, so a wildcard beyond a
node's rights is answered with success and brings nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.config import Address
from protocol import limits, topics
from protocol.names import NodeId

CONFIGURATION = "mosquitto.conf"
ACCESS = "acl"
AUTHORITIES = "authorities.crt"
REVOKED = "revoked.crl"
CERTIFICATE = "server.crt"
KEY = "server.key"

# A packet is its payload, a topic and a few bytes. What is longer ends the connection before it is taken into memory.
_PACKET_MAX = limits.MQTT_MESSAGE_MAX + 1024
# The states of a whole fleet come to the controller at once when it subscribes: what does not fit in here is dropped.
_QUEUED_MAX = 50_000
_QUEUED_BYTES_MAX = 32 * 1024 * 1024
# Room beside twice the fleet: a device that comes back may be there twice for a while. Idle strangers are in it as
# well, who are put out after 90 s, and cost some 50 KB each, which mosquitto does not give back.
_CONNECTIONS_SPARE = 1_000
_FLEET_MIN = 512
# Of a broker that somebody else runs, we do not know how large it has been made.
_CONNECTIONS_ELSEWHERE = 20_000
_ANY_IPV6 = "::"

_CONFIGURATION = """\
# Written by the Skerry controller. What is changed here is overwritten.
listener {listener}
max_connections {connections}

# Who is there: the common name of a certificate of the cluster's TLS authority, which is a node's id.
cafile {authorities}
certfile {certificate}
keyfile {key}
crlfile {revoked}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {access}

# How much.
max_packet_size {packet}
max_inflight_messages 100
max_queued_messages {queued}
max_queued_bytes {queued_bytes}
persistent_client_expiration 60d
set_tcp_nodelay true

# What is retained and queued is written after so many changes, and at the end; heartbeats are neither.
persistence true
persistence_location {location}
autosave_on_changes true
autosave_interval {changes}

log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
connection_messages false
sys_interval 10
"""

_PATTERNS = f"""\
pattern write {topics.NODE_STATE_PATTERN}
pattern write {topics.NODE_BEAT_PATTERN}
pattern write {topics.NODE_LIVE_PATTERN}
pattern read {topics.POLICY}
pattern read {topics.PULSE}
pattern read {topics.NODE_DOCUMENT_PATTERN}
"""


_EXTERNAL = """\
# For a broker of your own, to stand as its mosquitto.conf. The controller, which has `mqtt.broker: external` and its
# `mqtt.url`, keeps {access}, {authorities}, {revoked}, {certificate} and {key} in the directory broker of its data_dir.
# Bring them to {directory} whenever they change, readable for the user mosquitto alone, and reload it
# (systemctl reload mosquitto); where {authorities} has changed, restart it. The controller logs a line each time.
# The directory {memory} has to be there and belong to the user mosquitto: it keeps there what is to outlive a restart.
"""


def external_text(listen: Address, directory: str, memory: str) -> str:
    """Return mosquitto.conf for a broker that somebody else runs, with how to keep it.

    Args:
        listen: a numeric address and a port.
        directory: where the files that the controller makes are brought to, ending in a slash.
        memory: where it keeps what is retained and queued, ending in a slash.
    """
    head = _EXTERNAL.format(
        access=ACCESS,
        authorities=AUTHORITIES,
        revoked=REVOKED,
        certificate=CERTIFICATE,
        key=KEY,
        directory=directory,
        memory=memory,
    )
    text = configuration_text(listen, directory, memory, connections=_CONNECTIONS_ELSEWHERE)
    return head + text.partition("\n")[2]


def changes_to_a_save(nodes: int) -> int:
    """Return after how many changes the broker of so many nodes writes all that it keeps, and waits for the disk.

    After every one, 5,000 nodes that come back would wait for a minute: a save takes 10 ms and more. A power cut costs
    the last hundredth of a fleet's changes, and those nodes tell their state again when they come back.
    """
    changes: int = 10 ** max(0, len(str(nodes)) - 3)
    return changes


def connections_max(nodes: int) -> int:
    """Return how many connections the broker of so many nodes takes: twice the next power of two, and some to spare.

    By such steps, for mosquitto reads it at the start alone: a fleet that doubles restarts it once.
    """
    size: int = 1 << max(0, nodes - 1).bit_length()
    return 2 * max(_FLEET_MIN, size) + _CONNECTIONS_SPARE


def configuration_text(
    listen: Address, directory: str = "", memory: str = "./", *, changes: int = 1, connections: int = connections_max(0)
) -> str:
    """Return mosquitto.conf for a broker that listens there.

    Args:
        listen: a numeric address and a port.
        directory: where the files lie, ending in a slash; empty for the directory that mosquitto is started in.
        memory: where it keeps what is retained and queued, ending in a slash.
        changes: after how many it is written.
        connections: how many are taken, those of strangers among them.
    """
    host, port = listen
    return _CONFIGURATION.format(
        # Without an address mosquitto listens on IPv4 and IPv6 alike, as our own doors do on this one.
        listener=str(port) if host == _ANY_IPV6 else f"{port} {host}",
        connections=connections,
        authorities=directory + AUTHORITIES,
        certificate=directory + CERTIFICATE,
        key=directory + KEY,
        revoked=directory + REVOKED,
        access=directory + ACCESS,
        packet=_PACKET_MAX,
        queued=_QUEUED_MAX,
        queued_bytes=_QUEUED_BYTES_MAX,
        location=memory,
        changes=changes,
    )


def access_text(denied: Iterable[NodeId], silenced: Iterable[NodeId] = ()) -> str:
    """Return the access list: what the controller may, what a node may, and who may less.

    Args:
        denied: may nothing.
        silenced: may say nothing; they hear what holds, or nobody could tell them that a lock is off.
    """
    ours = f"user {topics.CONTROLLER}\ntopic readwrite #\ntopic read $SYS/#\n"
    theirs = "".join(f"user {node_id}\ntopic deny #\n" for node_id in sorted(denied))
    hushed = "".join(
        f"user {node_id}\n" + "".join(f"topic deny {topic}\n" for topic in topics.written_by(node_id))
        for node_id in sorted(frozenset(silenced).difference(denied))
    )
    return f"{ours}{theirs}{hushed}{_PATTERNS}"
