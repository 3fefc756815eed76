"""What a person names after `tsh ssh`: a login, and a node by UUID, name or labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocol import names
from protocol.addresses import split_address
from protocol.names import Labels, Login

_NODE_PORT = 3022


@dataclass(frozen=True, slots=True)
class Target:
    """Where to go.

    Attributes:
        login: the login before the ``@``; None where there is none.
        host: UUID in small letters or node name; empty where labels name the node.
        labels: every one of them must match; empty where `host` names the node.
    """

    login: Login | None
    host: str
    labels: Labels


def parse_target(text: str) -> Target:
    """Return what ``[login@]host`` names.

    Raises:
        BadNameError: it is no name of a node and no label selector.
    """
    before, at, host = text.rpartition("@")
    login = names.parse_login(before) if at else None
    if "=" in host:
        return Target(login, "", names.parse_labels_text(host))
    if names.is_uuid(host):
        return Target(login, names.parse_node_id(host), {})
    return Target(login, names.parse_node_name(host), {})


def parse_own_door(text: str) -> tuple[str, int]:
    """Return host and port of a node's own door, as ``--direct HOST[:PORT]`` names it.

    Raises:
        ValueError: it is neither.
    """
    host, port = split_address(text, _NODE_PORT)
    if not host or not port:
        raise ValueError("should be HOST or HOST:PORT")
    return host, port


def choose_login(asked: Iterable[str | None], permitted: Sequence[str], local: str) -> str:
    """Return the login to use.

    Args:
        asked: what the person said, best first: ``-l``, ``login@``, ``$SKERRY_LOGIN``.
        permitted: the logins of the certificate.
        local: the name of the person's own account on this machine.
    """
    named = next(filter(None, asked), None)
    if named:
        return named
    return local if local in permitted or not permitted else permitted[0]
