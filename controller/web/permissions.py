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


class Need(Enum):
    """What the holder must be, beside signed in."""

    NOTHING = "nothing more"
    AUDIT = "somebody who may read the audit log"
    ADMIN = "somebody who administers the cluster"


@dataclass(frozen=True, slots=True)
class Permission:
    """What one path and method stands for.

    Attributes:
        name: subject, object, action.
        holder: who has it.
        writes: whether it changes state; a browser's write must prove that it comes from our own page.
        limited: whether it counts against the address's rate: everything that takes a guess. Of what `looks` as well,
            only what nobody signed in asks.
        looks: whether a page for anyone differs for those who are signed in.
        need: which roles it takes.
        rests: whether asking it is no use of the sign-in: it must not keep one alive that nobody uses.
    """

    name: str
    holder: Holder
    writes: bool = False
    limited: bool = False
    looks: bool = False
    need: Need = Need.NOTHING
    rests: bool = False


def _anyone(name: str, *, limited: bool = False, looks: bool = False) -> Permission:
    return Permission(name, Holder.ANYONE, limited=limited, looks=looks)


def _anyone_writes(name: str) -> Permission:
    return Permission(name, Holder.ANYONE, writes=True, limited=True)


def _page(name: str, need: Need = Need.NOTHING, *, rests: bool = False) -> Permission:
    return Permission(name, Holder.SESSION, need=need, rests=rests)


def _form(name: str, need: Need = Need.NOTHING, *, limited: bool = False) -> Permission:
    return Permission(name, Holder.SESSION, writes=True, limited=limited, need=need)


def _ask(name: str, need: Need = Need.NOTHING) -> Permission:
    return Permission(name, Holder.BEARER, need=need)


def _order(name: str, need: Need = Need.NOTHING, *, limited: bool = False) -> Permission:
    return Permission(name, Holder.BEARER, writes=True, limited=limited, need=need)


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
    # What a device is installed from, before it can prove anything. Nothing in it is secret.
    ("GET", "/install.sh"): _anyone("web:install:read", limited=True),
    ("GET", "/install/<archive>"): _anyone("web:archive:read", limited=True),
    ("GET", "/web/login"): _anyone("web:login:read", looks=True),
    ("POST", "/web/login"): _anyone_writes("web:login:write"),
    ("POST", "/web/logout"): Permission("web:session:end", Holder.SESSION, writes=True),
    ("GET", "/web/invite/<token>"): _anyone("web:invite:read", limited=True),
    ("POST", "/web/invite/<token>"): _anyone_writes("web:invite:write"),
    ("GET", "/web/reset/<token>"): _anyone("web:reset:read", limited=True),
    ("POST", "/web/reset/<token>"): _anyone_writes("web:reset:write"),
    ("GET", "/web/home"): _page("web:home:read"),
    ("GET", "/web/home/figures"): _page("web:home:read", rests=True),
    ("GET", "/web/nodes"): _page("web:nodes:read"),
    ("GET", "/web/nodes/table"): _page("web:nodes:read", rests=True),
    ("GET", "/web/nodes/<node>"): _page("web:node:read"),
    ("GET", "/web/nodes/<node>/facts"): _page("web:node:read", rests=True),
    ("GET", "/web/nodes/<node>/past"): _page("web:node:read", rests=True),
    ("GET", "/web/nodes/<node>/history"): _page("web:node:read", rests=True),
    ("POST", "/web/nodes/<node>/labels"): _form("web:node:label", Need.ADMIN),
    ("POST", "/web/nodes/<node>/lock"): _form("web:node:lock", Need.ADMIN),
    ("POST", "/web/nodes/<node>/unlock"): _form("web:node:unlock", Need.ADMIN),
    ("POST", "/web/nodes/<node>/approve"): _form("web:node:approve", Need.ADMIN),
    ("POST", "/web/nodes/<node>/reject"): _form("web:node:reject", Need.ADMIN),
    ("POST", "/web/nodes/<node>/remove"): _form("web:node:remove", Need.ADMIN),
    ("GET", "/web/devices/new"): _page("web:device:read", Need.ADMIN),
    ("POST", "/web/devices/new"): _form("web:device:add", Need.ADMIN),
    ("GET", "/web/devices/waiting/<token>"): _page("web:device:read", Need.ADMIN),
    ("GET", "/web/devices/waiting/<token>/state"): _page("web:device:read", Need.ADMIN, rests=True),
    # What it leads to is judged by its ticket, page and sign-in together: see `controller.policy.ticket`.
    ("GET", "/web/socket"): _anyone("web:socket:open", limited=True, looks=True),
    ("GET", "/web/terminal/<node>"): _page("web:terminal:read"),
    ("POST", "/web/tickets"): _form("web:ticket:create"),
    ("GET", "/web/events"): _page("web:events:read", rests=True),
    ("GET", "/web/sessions"): _page("web:sessions:read"),
    ("GET", "/web/sessions/table"): _page("web:sessions:read", rests=True),
    ("GET", "/web/sessions/<session>"): _page("web:session:read"),
    ("GET", "/web/sessions/<session>/summary"): _page("web:session:read", rests=True),
    ("POST", "/web/sessions/<session>/end"): _form("web:session:end_for_all"),
    ("GET", "/web/sessions/<session>/verification"): _page("web:recording:verify", rests=True),
    ("GET", "/web/sessions/<session>/index"): _page("web:recording:play", rests=True),
    ("GET", "/web/sessions/<session>/segment"): _page("web:recording:play", rests=True),
    ("GET", "/web/sessions/<session>/screen"): _page("web:recording:play"),
    ("GET", "/web/sessions/<session>/cast"): _page("web:recording:download"),
    ("GET", "/web/recordings"): _page("web:recordings:read"),
    ("GET", "/web/audit"): _page("web:audit:read", Need.AUDIT),
    ("GET", "/web/audit/chain"): _page("web:audit:verify", Need.AUDIT, rests=True),
    ("GET", "/web/audit/export"): _page("web:audit:export", Need.AUDIT),
    ("GET", "/web/users"): _page("web:users:read", Need.ADMIN),
    ("GET", "/web/users/-/new"): _page("web:user:form", Need.ADMIN),
    ("POST", "/web/users/-/new"): _form("web:user:add", Need.ADMIN),
    ("GET", "/web/users/<user>"): _page("web:user:read", Need.ADMIN),
    ("POST", "/web/users/<user>/rights"): _form("web:user:update", Need.ADMIN),
    ("POST", "/web/users/<user>/reset"): _form("web:user:reset", Need.ADMIN),
    ("POST", "/web/users/<user>/remove"): _form("web:user:remove", Need.ADMIN),
    ("POST", "/web/users/<user>/lock"): _form("web:user:lock", Need.ADMIN),
    ("POST", "/web/users/<user>/unlock"): _form("web:user:unlock", Need.ADMIN),
    ("GET", "/web/tokens"): _page("web:tokens:read", Need.ADMIN),
    ("POST", "/web/tokens/remove"): _form("web:token:remove", Need.ADMIN),
    ("GET", "/web/locks"): _page("web:locks:read", Need.ADMIN),
    ("GET", "/web/locks/new"): _page("web:lock:form", Need.ADMIN),
    ("POST", "/web/locks/new"): _form("web:lock:add", Need.ADMIN),
    ("POST", "/web/locks/<lock>/remove"): _form("web:lock:remove", Need.ADMIN),
    ("GET", "/web/profile"): _page("web:settings:redirect"),
    ("GET", "/web/settings"): _page("web:settings:read"),
    ("GET", "/web/settings/password"): _page("web:password:form"),
    ("POST", "/web/settings/password"): _form("web:password:change", limited=True),
    ("GET", "/web/settings/factors/new"): _page("web:factor:form"),
    ("POST", "/web/settings/factors/new"): _form("web:factor:add", limited=True),
    ("GET", "/web/settings/factors/<factor>/remove"): _page("web:factor:read"),
    ("POST", "/web/settings/factors/<factor>/remove"): _form("web:factor:remove", limited=True),
    ("POST", "/web/settings/sign-ins/<sign_in>/end"): _form("web:sign_in:end"),
    ("POST", "/web/settings/sign-ins/end-others"): _form("web:sign_ins:end"),
    at(endpoints.PING): _anyone("api:ping:read"),
    at(endpoints.AUTHORITIES): _anyone("api:authorities:read"),
    at(endpoints.SIGN_IN): _anyone_writes("api:session:begin"),
    at(endpoints.JOIN): _anyone_writes("api:node:join"),
    at(endpoints.RENEW_CHALLENGE): _anyone_writes("api:renewal:challenge"),
    at(endpoints.RENEW): _anyone_writes("api:node:renew"),
    at(endpoints.SIGN_OUT): Permission("api:session:end", Holder.BEARER, writes=True),
    at(endpoints.OPENAPI): _anyone("api:document:read"),
    at(endpoints.NODES): Permission("api:nodes:read", Holder.BEARER),
    at(endpoints.NODE): _ask("api:node:read"),
    at(endpoints.NODE_HISTORY): _ask("api:node_history:read"),
    at(endpoints.NODE_LABELS): _order("api:node:label", Need.ADMIN),
    at(endpoints.NODE_APPROVE): _order("api:node:approve", Need.ADMIN),
    at(endpoints.NODE_REJECT): _order("api:node:reject", Need.ADMIN),
    at(endpoints.NODE_REMOVE): _order("api:node:remove", Need.ADMIN),
    at(endpoints.OVERVIEW): _ask("api:overview:read"),
    at(endpoints.SESSIONS): _ask("api:sessions:read"),
    at(endpoints.SESSION_END): _order("api:session_live:end"),
    at(endpoints.RECORDING_TIMELINE): _ask("api:recording_timeline:read"),
    at(endpoints.RECORDING_VERIFICATION): _ask("api:recording_verification:read"),
    at(endpoints.RECORDING_CAST): _ask("api:recording_cast:read"),
    at(endpoints.AUDIT): _ask("api:audit:read", Need.AUDIT),
    at(endpoints.AUDIT_EXPORT): _ask("api:audit_export:read", Need.AUDIT),
    at(endpoints.AUDIT_VERIFICATION): _ask("api:audit_verification:read", Need.AUDIT),
    at(endpoints.USERS): _ask("api:users:read", Need.ADMIN),
    at(endpoints.USER_ADD): _order("api:user:add", Need.ADMIN),
    at(endpoints.USER): _ask("api:user:read", Need.ADMIN),
    at(endpoints.USER_UPDATE): _order("api:user:update", Need.ADMIN),
    at(endpoints.USER_RESET): _order("api:user:reset", Need.ADMIN),
    at(endpoints.USER_REMOVE): _order("api:user:remove", Need.ADMIN),
    at(endpoints.TOKENS): _ask("api:tokens:read", Need.ADMIN),
    at(endpoints.TOKEN_ADD): _order("api:token:add", Need.ADMIN),
    at(endpoints.TOKEN_REMOVE): _order("api:token:remove", Need.ADMIN),
    at(endpoints.LOCKS): _ask("api:locks:read", Need.ADMIN),
    at(endpoints.LOCK_ADD): _order("api:lock:add", Need.ADMIN),
    at(endpoints.LOCK_REMOVE): _order("api:lock:remove", Need.ADMIN),
    at(endpoints.ME): _ask("api:me:read"),
    at(endpoints.MY_PASSWORD): _order("api:my_password:change", limited=True),
    at(endpoints.MY_FACTORS): _ask("api:my_factors:read"),
    at(endpoints.MY_FACTOR_BEGIN): _order("api:my_factor:begin"),
    at(endpoints.MY_FACTOR_ADD): _order("api:my_factor:add", limited=True),
    at(endpoints.MY_FACTOR_REMOVE): _order("api:my_factor:remove", limited=True),
    at(endpoints.MY_SIGN_INS): _ask("api:my_sign_ins:read"),
    at(endpoints.MY_SIGN_IN_END): _order("api:my_sign_in:end"),
    at(endpoints.RECORDINGS): Permission("api:recordings:read", Holder.BEARER),
    at(endpoints.RECORDING): Permission("api:recording:read", Holder.BEARER),
    at(endpoints.RECORDING_CONTENT): Permission("api:recording_content:read", Holder.BEARER),
    at(endpoints.RECORDING_KEY): Permission("api:recording_key:open", Holder.BEARER, writes=True),
}


def permission_for(method: str, rule: str) -> Permission | None:
    """Return what asking `method` of `rule` (a URL pattern) stands for; None where nobody may."""
    return PERMISSIONS.get(("GET" if method == "HEAD" else method, rule))
