"""How an agent says it is doing, to whoever asks on the device: `edge-agent status`, an upgrade, a doctor.

The running agent keeps this in a file (see `edge_agent.status`), which a program of another version may read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, list_of, text, whole
from protocol.instants import format_instant, parse_instant, show_instant

STATUS_MAX = 256 * 1024
LinkState = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Link:
    """How one connection to the controller stands.

    Attributes:
        since: since when it has been so, by the controller's time as far as that is known.
        reason: why it is down; empty where that is not known, and where it is up.
    """

    state: LinkState
    since: datetime
    reason: str = ""

    @property
    def is_up(self) -> bool:
        """Whether it stands."""
        return self.state == "up"

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {"state": self.state, "since": format_instant(self.since), "reason": self.reason}


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """How an agent is doing.

    Attributes:
        pid: of the process that serves.
        began: when it began to serve, or to join.
        node, node_id, cluster: who it is; empty until it has joined.
        controller: the controller's web address.
        tunnel: the way in.
        broker: the connection for presence and orders; None where the controller has no broker.
        sessions: the ids of the sessions that are going on.
        people: who is at each of them, ``alice as root``, in the same order.
        severity: by which level it logs.
        heeded: how often it was told anew what to log, and looked.
        ticks: when the process was started, as the kernel counts: a pid alone may be another's by now.
    """

    version: str
    pid: int
    began: datetime
    node: str
    node_id: str
    cluster: str
    controller: str
    tunnel: Link
    broker: Link | None
    sessions: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    severity: str = "INFO"
    heeded: int = 0
    ticks: int = 0

    @property
    def is_online(self) -> bool:
        """Whether people can reach this device, and the controller knows."""
        return self.tunnel.is_up and (self.broker is None or self.broker.is_up)

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object."""
        return {
            "version": self.version,
            "pid": self.pid,
            "began": format_instant(self.began),
            "node": self.node,
            "node_id": self.node_id,
            "cluster": self.cluster,
            "controller": self.controller,
            "tunnel": self.tunnel.to_dict(),
            "broker": self.broker.to_dict() if self.broker else None,
            "sessions": list(self.sessions),
            "people": list(self.people),
            "severity": self.severity,
            "heeded": self.heeded,
            "ticks": self.ticks,
        }

    def encode(self) -> bytes:
        """Return the file's content."""
        return json.dumps(self.to_dict(), indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> AgentStatus:
        """Read the file's content; what is not known here is a newer agent's. Raises `MessageError`."""
        if len(data) > STATUS_MAX:
            raise MessageError(f"larger than {STATUS_MAX} bytes")
        found = Fields(decode(data))
        return cls(
            version=found.take("version", text),
            pid=found.take("pid", whole),
            began=found.take("began", parse_instant),
            node=found.take("node", text),
            node_id=found.take("node_id", text),
            cluster=found.take("cluster", text),
            controller=found.take("controller", text),
            tunnel=found.take("tunnel", _link),
            broker=found.get("broker", _link, None),
            sessions=found.get("sessions", list_of(text), ()),
            people=found.get("people", list_of(text), ()),
            severity=found.get("severity", text, "INFO"),
            heeded=found.get("heeded", whole, 0),
            ticks=found.get("ticks", whole, 0),
        )


def turn(link: Link | None, state: LinkState, now: datetime, reason: str = "") -> Link:
    """Return how a link stands that was as `link` says and is in `state` now; since when it is so is kept."""
    if link and link.state == state:
        return replace(link, reason=reason)
    return Link(state, now, reason)


def describe(status: AgentStatus) -> str:
    """Return it as one line, for `systemctl status` and people."""
    if not status.node:
        return f"not joined: {status.tunnel.reason or 'joining'}"
    count = len(status.sessions)
    sessions = f"{count} session{'' if count == 1 else 's'}"
    if status.is_online:
        return f"online as {status.node}, {sessions}"
    lacking, name = (status.broker, "broker") if status.tunnel.is_up and status.broker else (status.tunnel, "tunnel")
    reason = f": {lacking.reason}" if lacking.reason else ""
    return f"offline as {status.node} ({name} down since {show_instant(lacking.since)}{reason}), {sessions}"


def report(status: AgentStatus, width: int | None = None) -> str:
    """Return it as lines for a person, whose terminal is `width` cells wide; None where there is none."""
    from protocol.table import render_facts  # who serves needs none of it

    lines: Mapping[str, str] = {
        "State": describe(status),
        "Version": status.version,
        "Process": f"{status.pid}, since {show_instant(status.began)}",
        "Node": f"{status.node} ({status.node_id})" if status.node else "not joined",
        "Cluster": status.cluster or "none yet",
        "Controller": status.controller,
        "Tunnel": _link_line(status.tunnel),
        "Broker": _link_line(status.broker) if status.broker else "none",
        "Sessions": ", ".join(status.people) or "none",
    }
    return render_facts(lines.items(), width, mark=" :")


def _link_line(link: Link) -> str:
    return f"{link.state} since {show_instant(link.since)}" + (f": {link.reason}" if link.reason else "")


def _link(value: object) -> Link:
    found = Fields(value)
    return Link(found.take("state", _state), found.take("since", parse_instant), found.get("reason", text, ""))


def _state(value: object) -> LinkState:
    if value == "up":
        return "up"
    if value == "down":
        return "down"
    raise MessageError("neither up nor down")
