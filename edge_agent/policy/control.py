"""Whether what came under the control topics is the controller's word to this node, and newer than what it holds.

E1 to E3 are `protocol.endorsement`'s checks of the signature. Here:

Y1  it is a document at all, and not too large
Y2  it is for this cluster
Y3  its version is not below the one that is held
Y4  the keys in it are keys
Y5  it is about this node
Y6  it came under a topic that is this node's to read
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from protocol import limits
from protocol.control import NodeDocument, PolicyDocument, Pulse
from protocol.decision import Granted, Refused
from protocol.endorsement import Endorsed, EndorsedKind, judge_endorsed, walk
from protocol.fields import MessageError, decode
from protocol.names import ClusterName, NodeId
from protocol.ssh.certificate import BadCertificateError, key_blob

T = TypeVar("T")


def read(payload: bytes) -> Endorsed | Refused:
    """Return the document in a message, not judged yet."""
    if len(payload) > limits.MQTT_MESSAGE_MAX:
        return Refused(f"larger than {limits.MQTT_MESSAGE_MAX} bytes", "Y1")
    try:
        return Endorsed.from_dict(decode(payload))
    except MessageError as err:
        return Refused(f"not a document: {err}", "Y1")


def judge_policy(
    endorsed: Endorsed, *, trusted: Iterable[str], cluster: ClusterName, held: int
) -> Granted[PolicyDocument] | Refused:
    """Judge a policy document. The node may have slept through rotations: the document tells how trust was handed on.

    Args:
        endorsed: what came.
        trusted: the host CA keys that are trusted so far.
        cluster: ours.
        held: the version that is held; 0 for none.
    """
    # What is said of successions is signed itself: it may be read before the document is known to be good.
    policy = _decode(endorsed, PolicyDocument.decode)
    if isinstance(policy, Refused):
        return policy
    known = walk(trusted, policy.successions, cluster)
    answer = judge_endorsed(endorsed, "policy", trusted=known, cluster=cluster)  # E1-E3
    if isinstance(answer, Refused):
        return answer
    if policy.cluster != cluster:
        return Refused(f"for the cluster {policy.cluster}", "Y2")
    if policy.version < held:
        return Refused(f"version {policy.version}, older than version {held} that is held", "Y3")
    try:
        for line in (*policy.user_authorities, *policy.host_authorities):
            key_blob(line)
    except BadCertificateError as err:
        return Refused(str(err), "Y4")
    return Granted(policy)


def judge_pulse(endorsed: Endorsed, *, trusted: Iterable[str], cluster: ClusterName) -> Granted[Pulse] | Refused:
    """Judge a pulse. Arguments as in `judge_policy`."""
    return _judge(endorsed, "pulse", Pulse.decode, trusted, cluster)


def judge_node(
    endorsed: Endorsed, *, trusted: Iterable[str], cluster: ClusterName, node_id: NodeId, held: int
) -> Granted[NodeDocument] | Refused:
    """Judge a node document. Arguments as in `judge_policy`; `node_id` is ours."""
    answer = _judge(endorsed, "node", NodeDocument.decode, trusted, cluster)
    if isinstance(answer, Refused):
        return answer
    if answer.value.node_id != node_id:
        return Refused(f"about the node {answer.value.node_id}", "Y5")
    if answer.value.version < held:
        return Refused(f"version {answer.value.version}, older than version {held} that is held", "Y3")
    return answer


def describe_news(before: PolicyDocument | None, now: PolicyDocument) -> str:
    """Return in words what a policy document changes."""
    if before is None:
        return f"the first it has, with {len(now.locks)} locks"
    found = [word for word, of in _PARTS.items() if of(before) != of(now)]
    if before.locks != now.locks:
        found.insert(0, f"{len(now.locks)} locks, where there were {len(before.locks)}")
    return ", ".join(found) or "nothing else is new"


_PARTS: Mapping[str, Callable[[PolicyDocument], object]] = {
    "user authorities": lambda policy: policy.user_authorities,
    "host authorities": lambda policy: (policy.host_authorities, policy.successions),
    "TLS authorities": lambda policy: policy.tls_authorities,
    "certificates to be renewed": lambda policy: policy.renew,
    "how sessions are recorded": lambda policy: replace(policy.recording, time=0),
    "the locking mode": lambda policy: policy.locking_mode,
    "people's void certificates": lambda policy: policy.void_before,
}


def _judge(
    endorsed: Endorsed, kind: EndorsedKind, parse: Callable[[str], T], trusted: Iterable[str], cluster: ClusterName
) -> Granted[T] | Refused:
    answer = judge_endorsed(endorsed, kind, trusted=frozenset(trusted), cluster=cluster)  # E1-E3
    if isinstance(answer, Refused):
        return answer
    found = _decode(endorsed, parse)
    return found if isinstance(found, Refused) else Granted(found)


def _decode(endorsed: Endorsed, parse: Callable[[str], T]) -> T | Refused:
    try:
        return parse(endorsed.body)
    except (MessageError, UnicodeEncodeError) as err:
        return Refused(f"its contents make no sense: {err}", "Y1")
