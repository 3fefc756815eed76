"""The sessions that are going on in the fleet, as one person may see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from controller.enrolment.nodes import Nodes
from controller.policy.liveness import Standing
from controller.policy.viewing import decide_watching
from controller.presence.mirror import View
from protocol.access import AccessTarget, Person, decide_access
from protocol.decision import Granted
from protocol.fleet_sessions import SessionEntry
from protocol.live_sessions import LiveSession
from protocol.names import NodeId, SessionId


class Live:
    """All live sessions, as nodes tell of them over MQTT.

    Args:
        nodes: who is enrolled.
        told: what is known over MQTT.
    """

    def __init__(self, nodes: Nodes, told: Callable[[], View]) -> None:
        self._nodes = nodes
        self._told = told

    def sessions_for(self, person: Person) -> tuple[SessionEntry, ...]:
        """Return the sessions that `person` may see, the newest first."""
        found = [
            SessionEntry(target.node_id, target.name, live, may_join=may_join(person, target, live))
            for target, live in self._all()
            if decide_watching(person, target, live)
        ]
        return tuple(sorted(found, key=lambda entry: entry.live.started, reverse=True))

    def everywhere(self) -> tuple[SessionEntry, ...]:
        """Return all sessions, the newest first: for who sits at the controller, and joins none."""
        found = [SessionEntry(node.node_id, node.name, live, may_join=False) for node, live in self._all()]
        return tuple(sorted(found, key=lambda entry: entry.live.started, reverse=True))

    def find(self, session: SessionId, person: Person) -> SessionEntry | None:
        """Return one session that `person` may see, or None."""
        return next((entry for entry in self.sessions_for(person) if entry.live.session == session), None)

    def on_node(self, node_id: NodeId, person: Person) -> tuple[SessionEntry, ...]:
        """Return those on one node that `person` may see, the newest first."""
        return tuple(entry for entry in self.sessions_for(person) if entry.node_id == node_id)

    def _all(self) -> Iterator[tuple[AccessTarget, LiveSession]]:
        targets = self._nodes.targets()
        for node_id, standing in self._standings():
            for live in standing.live.sessions if node_id in targets else ():
                yield targets[node_id], live

    def _standings(self) -> Iterator[tuple[NodeId, Standing]]:
        for node_id, standing in self._told().standings.items():
            if standing.live.sessions:
                yield node_id, standing


def may_join(person: Person, target: AccessTarget, live: LiveSession) -> bool:
    """Tell whether `person` may join: who may log in to the node as that login may. The node judges it again."""
    return live.size is not None and isinstance(decide_access(person, target, live.login), Granted)
