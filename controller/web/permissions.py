"""Who may ask what of the web door: every path and method in one table. What is not in it is refused.

Reads and writes stand apart, also where they share a path. `HEAD` goes with `GET`. A test walks the
application's URL map and fails where it and this table differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from protocol import endpoints


class Holder(Enum):
    """Who holds a permission."""

    ANYONE = "anyone"
    SESSION = "a person signed in with a browser, known by the cookie"
    BEARER = "a person signed in with tsh, known by the bearer token"


@dataclass(frozen=True, slots=True)
class Permission:
    """What one path and method stands for.

    Attributes:
        name: subject, object, action.
        holder: who has it.
        writes: whether it changes state; a browser's write must prove that it comes from our own page.
        limited: whether it counts against the address's rate: everything that takes a guess.
        looks: whether a page for anyone differs for those who are signed in.
    """

    name: str
    holder: Holder
    writes: bool = False
    limited: bool = False
    looks: bool = False


def _anyone(name: str, *, limited: bool = False, looks: bool = False) -> Permission:
    return Permission(name, Holder.ANYONE, limited=limited, looks=looks)


def _anyone_writes(name: str) -> Permission:
    return Permission(name, Holder.ANYONE, writes=True, limited=True)


PERMISSIONS: Mapping[tuple[str, str], Permission] = {
    ("GET", "/"): _anyone("web:home:redirect", looks=True),
    ("GET", "/web"): _anyone("web:home:redirect", looks=True),
    ("GET", "/favicon.ico"): _anyone("web:asset:read"),
    ("GET", "/web/static/<path:name>"): _anyone("web:asset:read"),
    ("GET", "/web/login"): _anyone("web:login:read", looks=True),
    ("POST", "/web/login"): _anyone_writes("web:login:write"),
    ("POST", "/web/logout"): Permission("web:session:end", Holder.SESSION, writes=True),
    ("GET", "/web/invite/<token>"): _anyone("web:invite:read", limited=True),
    ("POST", "/web/invite/<token>"): _anyone_writes("web:invite:write"),
    ("GET", "/web/reset/<token>"): _anyone("web:reset:read", limited=True),
    ("POST", "/web/reset/<token>"): _anyone_writes("web:reset:write"),
    ("GET", "/web/nodes"): Permission("web:nodes:read", Holder.SESSION),
    ("GET", "/web/nodes/table"): Permission("web:nodes:read", Holder.SESSION),
    ("GET", "/web/profile"): Permission("web:profile:read", Holder.SESSION),
    (endpoints.PING.method, endpoints.PING.path): _anyone("api:ping:read"),
    (endpoints.AUTHORITIES.method, endpoints.AUTHORITIES.path): _anyone("api:authorities:read"),
    (endpoints.SIGN_IN.method, endpoints.SIGN_IN.path): _anyone_writes("api:session:begin"),
    (endpoints.JOIN.method, endpoints.JOIN.path): _anyone_writes("api:node:join"),
    (endpoints.SIGN_OUT.method, endpoints.SIGN_OUT.path): Permission("api:session:end", Holder.BEARER, writes=True),
    (endpoints.NODES.method, endpoints.NODES.path): Permission("api:nodes:read", Holder.BEARER),
}


def permission_for(method: str, rule: str) -> Permission | None:
    """Return what asking `method` of `rule` (a URL pattern) stands for; None where nobody may."""
    return PERMISSIONS.get(("GET" if method == "HEAD" else method, rule))
