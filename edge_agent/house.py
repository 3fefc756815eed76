"""What every session on this node needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from edge_agent.child import Children
from edge_agent.papers import Papers
from edge_agent.register import Register
from edge_agent.session_audit import Report
from edge_agent.studio import Studio
from edge_agent.threshold import SHARED
from protocol.access import AccessTarget
from protocol.events import Json


@dataclass(frozen=True, slots=True)
class House:
    """The node, for its sessions.

    Attributes:
        papers: what it goes by right now.
        node: the node as events name it.
        variables: what every session finds in its environment about the cluster.
        studio: where sessions are recorded; None where they are not.
        register: the sessions that are going on.
        key_place: where sockets of people's own ssh-agents are made.
    """

    papers: Papers
    node: Mapping[str, Json]
    variables: Mapping[str, str]
    children: Children
    report: Report
    clock: Callable[[], datetime]
    euid: int
    studio: Studio | None = None
    register: Register = field(default_factory=Register)
    key_place: Path = SHARED

    @property
    def target(self) -> AccessTarget:
        """What access rules look at in this node, as things stand."""
        return self.papers.target
