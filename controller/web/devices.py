"""Add a device: make its join token, show once what to run on it, and wait with the admin until it is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from controller.enrolment.tokens import TokenError, mark_of
from controller.fleet import NodeView
from controller.policy import join
from controller.policy.join import UNLIMITED, JoinToken
from controller.policy.one_liner import ansible_line, install_line
from controller.web import refusal, visit
from controller.web.invitations import draw_qr
from controller.web.listing import Row, make_row
from controller.web.nodes import sight_of
from controller.web.reply import page
from protocol import names
from protocol.durations import describe_duration, format_duration, parse_duration
from protocol.instants import from_milliseconds, to_milliseconds
from protocol.names import BadNameError, Labels, NodeName, TokenText
from protocol.secret import Secret

blueprint = Blueprint("devices", __name__)

LIFETIMES = ("30m", "1h", "8h", "24h", "168h", "720h")
EPHEMERALS = ("", "1h", "24h", "168h", "720h")
_USES_MAX = 1_000_000
_MARK = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MILLISECONDS_MAX = 253_402_300_799_999
SHOWN = 50
# As they stand in the form.
_FIELDS = ("name", "labels", "uses", "ttl", "ephemeral")


class BadWishError(ValueError):
    """Fields of the form say nothing that can be done. `problems` has a message for the admin, by the field's name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form asks for; `name` is None where the device is called what its host is."""

    name: NodeName | None
    labels: Labels
    uses: int
    ttl: timedelta
    approve: bool
    ephemeral: timedelta | None

    @property
    def tctl(self) -> str:
        """The command that makes the same token."""
        parts = ["tctl tokens add --type=node", f"--ttl={_short(self.ttl)}"]
        parts += [f"--uses={'unlimited' if self.uses == UNLIMITED else self.uses}"] if self.uses != 1 else []
        parts += [f"--labels={shlex.quote(names.format_labels(self.labels).replace(', ', ','))}"] if self.labels else []
        parts += ["--approve"] if self.approve else []
        parts += [f"--ephemeral={_short(self.ephemeral)}"] if self.ephemeral else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What has become of a token.

    Attributes:
        mark: which token it is; it lets nobody join.
        shown: how the token is shown; empty where nothing is known of it any more.
        rows: the devices that joined with it, the newest first.
        token: the token, where a device can still join with it.
    """

    mark: str
    shown: str
    since: int
    rows: tuple[Row, ...]
    token: JoinToken | None

    @property
    def state(self) -> str:
        """In one word: online, pending (an admin's approval), joined, waiting or over."""
        if any(row.node.status == "pending" for row in self.rows):
            return "pending"
        if self.rows:
            return "online" if all(row.node.status == "online" for row in self.rows) else "joined"
        return "over" if self.token is None else "waiting"


@blueprint.get("/web/devices/new")
def show_form() -> Response:
    """Show the form."""
    return _form({})


@blueprint.post("/web/devices/new")
def make_token() -> Response:
    """Make the token and show, this once, what to run on the device."""
    try:
        wish = read_wish(request.form)
        services, now = visit.services(), visit.services().clock()
        text, _ = services.enrolment.tokens.add(
            ttl=wish.ttl,
            uses=wish.uses,
            labels=wish.labels,
            claimable=None,
            approve=wish.approve,
            ephemeral=wish.ephemeral,
            origin=visit.origin(),
        )
    except BadWishError as err:
        return _form(err.problems, 422)
    except TokenError as err:
        return _form({"": str(err)}, 422)
    pins, address = services.join_pins(), services.public_address
    line = install_line(text, pins, address, services.web_public_key(), wish.name)
    return page(
        "device_line.html",
        wish=wish,
        line=line,
        has_archives=bool(services.depot.version()),
        start=start_line(text, pins, address, wish.name),
        ansible=ansible_line(line, wish.name),
        qr=draw_qr(Secret(line)),
        lifetime=describe_duration(wish.ttl),
        arrivals=_arrivals(mark_of(text.reveal()), now),
    )


@blueprint.get("/web/devices/waiting/<token>")
def show_waiting(token: str) -> Response:
    """Show what has become of a token, named by its mark, without the token itself."""
    arrivals = _asked_arrivals(token)
    return refusal.answer(404) if arrivals is None else page("device_waiting.html", arrivals=arrivals)


@blueprint.get("/web/devices/waiting/<token>/state")
def show_state(token: str) -> Response:
    """Return that part alone, for the page that waits."""
    arrivals = _asked_arrivals(token)
    return refusal.answer(404) if arrivals is None else page("device_state.html", arrivals=arrivals)


def read_wish(form: Mapping[str, str]) -> Wish:
    """Read the form, all of it before anything is said of it. Raises `BadWishError`."""
    problems: dict[str, str] = {}

    def read(field: str, parse: Callable[[str], Any], text: str) -> Any:  # noqa: ANN401 - what the parser makes of it
        try:
            return parse(text)
        except (BadNameError, ValueError) as err:
            problems[field] = f"{str(err)[:1].upper()}{str(err)[1:300]}."

    name, uses = form.get("name", "").strip(), form.get("uses", "").strip() or "1"
    found = {
        "name": read("name", names.parse_node_name, name) if name else None,
        "labels": read("labels", names.parse_labels_text, ",".join(form.get("labels", "").splitlines())),
        "uses": read("uses", _parse_uses, uses),
        "ttl": read("ttl", parse_duration, form.get("ttl", "") or LIFETIMES[0]),
        "ephemeral": read("ephemeral", parse_duration, form["ephemeral"]) if form.get("ephemeral") else None,
    }
    if name and found["uses"] not in {None, 1}:
        problems.setdefault("name", "A name is for one device: leave it out where the token is good for several.")
    if problems:
        raise BadWishError(problems)
    return Wish(approve=bool(form.get("approve")), **found)


def _parse_uses(text: str) -> int:
    """Return for how many devices a token is to be good. Raises `ValueError`."""
    if text == "unlimited":
        return UNLIMITED
    if text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= _USES_MAX:
        return int(text)
    raise ValueError(f"say a whole number from 1 to {_USES_MAX}, or unlimited")


def start_line(text: Secret[TokenText], pins: tuple[str, ...], address: str, name: NodeName | None) -> str:
    """Return what is run on a device that has the agent already."""
    options = [f"--token={text.reveal()}", *(f"--ca-pin={pin}" for pin in pins), f"--controller={address}"]
    options += [f"--nodename={name}"] if name else []
    return " ".join(["edge-agent start", *options])


def _form(problems: Mapping[str, str], status: int = 200) -> Response:
    return page(
        "device_new.html",
        status,
        problems=problems,
        first=next((field for field in _FIELDS if field in problems), None),
        typed={name: value[:4000] for name, value in request.form.items() if name != visit.CSRF_FIELD},
        lifetimes=[(span, describe_duration(parse_duration(span))) for span in LIFETIMES],
        ephemerals=[(span, describe_duration(parse_duration(span)) if span else "never") for span in EPHEMERALS],
        uses_max=_USES_MAX,
    )


def _asked_arrivals(mark: str) -> Arrivals | None:
    since = request.args.get("since", "")
    is_moment = since.isascii() and since.isdigit() and len(since) <= 15 and int(since) <= _MILLISECONDS_MAX
    if not is_moment or not _MARK.fullmatch(mark):
        return None
    return _arrivals(mark, from_milliseconds(int(since)))


def _arrivals(mark: str, since: datetime) -> Arrivals:
    """Return what joined since then with the token of that mark."""
    services = visit.services()
    nodes = [node for node in services.enrolment.nodes.list() if node.token_mark == mark and node.joined >= since]
    ids = [node.node_id for node in nodes]
    views = [view for view in map(services.fleet.get, ids[:SHOWN]) if view is not None]
    views.sort(key=lambda view: view.joined, reverse=True)
    found = services.enrolment.tokens.marked(mark)
    shown = found.token.suffix if found else nodes[0].token if nodes else ""
    good = found.token if found is not None and join.is_good(found.token, services.clock()) else None
    return Arrivals(mark, shown, to_milliseconds(since), _rows(views), good)


def _rows(views: list[NodeView]) -> tuple[Row, ...]:
    sight, every = sight_of(visit.person()), visit.services().fleet.all()
    wanted = {view.name for view in views}
    told = [view.name for view in every if view.name in wanted]
    return tuple(make_row(view, sight, is_repeated=told.count(view.name) > 1) for view in views)


def _short(span: timedelta) -> str:
    """Return a span as a command line has it: ``30m``, ``24h``."""
    seconds = int(span.total_seconds())
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return format_duration(span)
