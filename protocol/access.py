"""May this user open this node as this login? One function, run at both ends.

The proxy asks it before it opens a channel, without a login: the login belongs to the inner connection,
which the proxy cannot see. The node asks it again, with the login, before it starts anything.
Nothing is allowed by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from protocol.decision import Granted, Refused
from protocol.names import BadNameError, Labels, Login, NodeId, NodeName, RoleName, UserName, parse_role_name

ANY = "*"


class Person(Protocol):
    """What access rules look at in a person; a certificate's identity is one, and so is a kept user."""

    @property
    def user(self) -> UserName:
        """The person's name."""
        ...

    @property
    def roles(self) -> tuple[RoleName, ...]:
        """The roles the person holds."""
        ...

    @property
    def logins(self) -> tuple[Login, ...]:
        """The logins the person may use."""
        ...


@dataclass(frozen=True, slots=True)
class AccessTarget:
    """What access rules look at in a node."""

    node_id: NodeId
    name: NodeName
    labels: Labels


@dataclass(frozen=True, slots=True)
class Role:
    """What one role allows.

    Attributes:
        node_labels: every one of these must match; ``{"*": "*"}`` matches any node, nothing matches none.
        own_logins: whether the user's own logins are allowed.
        sees_recordings: whether every session's recording may be seen, not only those of sessions one took part in.
        sees_audit: whether the audit log may be read.
        administers: whether users, tokens, nodes and locks may be managed. It opens no device.
    """

    node_labels: Mapping[str, str] = field(default_factory=dict)
    own_logins: bool = False
    sees_recordings: bool = False
    sees_audit: bool = False
    administers: bool = False


ACCESS = RoleName("access")
AUDITOR = RoleName("auditor")
ADMIN = RoleName("admin")
# Until roles as YAML arrive there are three: a user's own logins, on every node; every recording, on no node; and
# the cluster's affairs, on no node either. People may hold several.
PRESET_ROLES: Mapping[RoleName, Role] = {
    ACCESS: Role(node_labels={ANY: ANY}, own_logins=True),
    AUDITOR: Role(sees_recordings=True, sees_audit=True),
    ADMIN: Role(sees_audit=True, administers=True),
}


def parse_roles(text: str) -> tuple[RoleName, ...]:
    """Return a comma-separated list of roles that there are, each once, in their order. Raises `BadNameError`."""
    found = tuple(dict.fromkeys(parse_role_name(part.strip()) for part in text.split(",")))
    unknown = [name for name in found if name not in PRESET_ROLES]
    if unknown:
        raise BadNameError(f"there is no role {unknown[0]!r} (there are: {', '.join(PRESET_ROLES)})")
    return found


def are_logins_used(roles: Iterable[RoleName], known: Mapping[RoleName, Role] = PRESET_ROLES) -> bool:
    """Tell whether somebody with `roles` can do anything with logins of their own."""
    return any(known[name].own_logins for name in roles if name in known)


def administers(roles: Iterable[RoleName], known: Mapping[RoleName, Role] = PRESET_ROLES) -> bool:
    """Tell whether somebody with `roles` manages the cluster."""
    return any(known[name].administers for name in roles if name in known)


def sees_audit(roles: Iterable[RoleName], known: Mapping[RoleName, Role] = PRESET_ROLES) -> bool:
    """Tell whether somebody with `roles` may read the audit log."""
    return any(known[name].sees_audit for name in roles if name in known)


def _labels_match(wanted: Labels, labels: Labels) -> bool:
    if not wanted:
        return False
    return all(
        (key == ANY and value == ANY) or (key in labels and value in (ANY, labels[key]))
        for key, value in wanted.items()
    )


def decide_access(
    person: Person,
    node: AccessTarget,
    login: str | None,
    roles: Mapping[RoleName, Role] = PRESET_ROLES,
) -> Granted[str | None] | Refused:
    """Decide whether `person` may open `node` as `login`, or at all where `login` is None."""
    if login is not None and login not in person.logins:
        return Refused(f'user "{person.user}" may not use login "{login}"', "A1")
    held = [roles[name] for name in person.roles if name in roles]
    if not held:
        return Refused(f'user "{person.user}" has no role that is known here', "A2")
    if not any(role.own_logins and _labels_match(role.node_labels, node.labels) for role in held):
        return Refused(f'no role of user "{person.user}" opens node "{node.name}"', "A3")
    return Granted(login)
