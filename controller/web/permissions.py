"""Who may ask what of the web door: every path and method in one table. What is not in it is refused.

Reads and writes stand apart, also where they share a path. `HEAD` goes with `GET`. A test walks the
application's URL map and fails where it and this table differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from protocol import endpoints
from protocol.endpoints import Endpoint


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


def rule(endpoint: Endpoint) -> str:
    """Return an endpoint's path as a URL pattern of Flask's."""
    return endpoint.path.replace("{", "<").replace("}", ">")


def at(endpoint: Endpoint) -> tuple[str, str]:
    """Return under what an endpoint stands in the table."""
    return endpoint.method, rule(endpoint)


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
    at(endpoints.PING): _anyone("api:ping:read"),
    at(endpoints.AUTHORITIES): _anyone("api:authorities:read"),
    at(endpoints.SIGN_IN): _anyone_writes("api:session:begin"),
    at(endpoints.JOIN): _anyone_writes("api:node:join"),
    at(endpoints.RENEW_CHALLENGE): _anyone_writes("api:renewal:challenge"),
    at(endpoints.RENEW): _anyone_writes("api:node:renew"),
    at(endpoints.SIGN_OUT): Permission("api:session:end", Holder.BEARER, writes=True),
    at(endpoints.NODES): Permission("api:nodes:read", Holder.BEARER),
    at(endpoints.RECORDINGS): Permission("api:recordings:read", Holder.BEARER),
    at(endpoints.RECORDING): Permission("api:recording:read", Holder.BEARER),
    at(endpoints.RECORDING_CONTENT): Permission("api:recording_content:read", Holder.BEARER),
    at(endpoints.RECORDING_KEY): Permission("api:recording_key:open", Holder.BEARER, writes=True),
}


def permission_for(method: str, rule: str) -> Permission | None:
    """Return what asking `method` of `rule` (a URL pattern) stands for; None where nobody may."""
    return PERMISSIONS.get(("GET" if method == "HEAD" else method, rule))
