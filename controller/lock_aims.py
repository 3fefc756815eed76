"""What a lock may be aimed at: people and nodes that are there, and any login, which nodes may have unseen.

Every door that puts a lock on for an admin asks here; `controller.locks` keeps what it is told.
"""

from __future__ import annotations

from controller.accounts.users import Users
from controller.enrolment.nodes import Nodes
from controller.locks import LockError
from controller.policy.route import find_named
from protocol.locks import LockKind, parse_value
from protocol.names import NodeId


class NoAimError(LockError):
    """Nobody and nothing of that name is there, or several nodes are.

    Attributes:
        several: the nodes that have the name; empty where nothing has.
    """

    def __init__(self, message: str, several: tuple[NodeId, ...] = ()) -> None:
        super().__init__(message)
        self.several = several


def find_aim(kind: LockKind, named: str, users: Users, nodes: Nodes) -> str:
    """Return what stands in a lock on what is `named`: a user's name, a login, or a node's id for its id or name.

    Raises:
        BadNameError: it is no name of such.
        NoAimError: it is not there, or not the only one; a node that waits for approval counts as not there.
    """
    if kind == "node":
        return _find_node(named, nodes)
    value = parse_value(kind, named)
    if kind == "user" and users.get(value) is None:
        raise NoAimError(f'user "{value}" not found, so nothing was locked: `tctl users ls` lists them')
    return value


def _find_node(named: str, nodes: Nodes) -> NodeId:
    found = find_named(named, nodes.targets())
    if not found:
        raise NoAimError(f'node "{named}" not found, so nothing was locked: `tctl nodes ls -v` lists them')
    if len(found) > 1:
        several = tuple(node.node_id for node in found)
        ids = "".join(f"\n  {node_id}" for node_id in several)
        raise NoAimError(f"{len(found)} nodes are named {named}: say which one by its UUID{ids}", several)
    return found[0].node_id
