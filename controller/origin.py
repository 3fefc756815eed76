"""Who asks, as far as the door can tell: for the audit log and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from.

    Attributes:
        address: ``HOST:PORT`` of the peer; empty for a command on the controller itself.
        client: what the peer says it is, such as a browser's user agent; cut by the door.
        via: the door.
        actor: who acts, where the request itself does not tell: the admin's operating-system user.
    """

    address: str = ""
    client: str = ""
    via: Literal["web", "api", "ssh", "tctl", "start"] = "web"
    actor: str = ""
