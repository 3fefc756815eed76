"""What the agent goes by right now: its certificates, and whom it trusts. The one place that knows.

The identity on disk is what the controller certified last; the policy document says which authorities hold today. Who
needs either asks here at the moment of use, or is told of a change: nothing else keeps a copy.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.identity import Identity
from protocol.access import AccessTarget
from protocol.control import NodeDocument, PolicyDocument
from protocol.endorsement import plain_key
from protocol.ssh.certificate import key_blob


class Papers:
    """The node's papers.

    Attributes:
        identity: keys, certificates and what was granted with them.
        policy: the policy document in force; None before there ever was one.
        node: what an admin has said of this node since it joined; None where nothing.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.policy: PolicyDocument | None = None
        self.node: NodeDocument | None = None
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, on the loop, after every change."""
        self._listeners.append(listener)

    def renew(self, identity: Identity) -> None:
        """Go by new certificates from now on."""
        self.identity = identity
        self._tell()

    def take_policy(self, policy: PolicyDocument) -> None:
        """Go by a policy document that has been judged."""
        self.policy = policy
        self._tell()

    def take_node(self, node: NodeDocument) -> None:
        """Go by a node document that has been judged."""
        self.node = node
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    @property
    def user_authorities(self) -> frozenset[bytes]:
        """The user CA's keys, SSH wire form."""
        return frozenset(key_blob(line) for line in (self.policy or self.identity.granted).user_authorities)

    @property
    def host_authorities(self) -> tuple[str, ...]:
        """The host CA's keys, one line each, without comments; the one that signs today first."""
        return tuple(plain_key(line) for line in (self.policy or self.identity.granted).host_authorities)

    @property
    def tls_authorities(self) -> tuple[str, ...]:
        """The TLS CA's certificates, PEM."""
        return (self.policy or self.identity.granted).tls_authorities

    @property
    def target(self) -> AccessTarget:
        """What access rules look at in this node."""
        granted = self.identity.granted
        labels = self.node.labels if self.node else granted.labels
        name = self.node.name if self.node else granted.name
        return AccessTarget(granted.node_id, name, labels)
