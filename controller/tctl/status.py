"""`tctl status`: the cluster and its authorities, and whether its controller runs."""

from __future__ import annotations

from datetime import timedelta

import click

from controller.addresses import BoundAddresses, answers
from controller.tctl.host import Desk, at_desk
from controller.tctl.setting import Settings, format_option, say, say_json, shared_options
from protocol.addresses import join_address
from protocol.events import Json
from protocol.table import escape_text
from protocol.version import __version__

_AUTHORITIES = ("user", "host", "tls")
_NEVER = "never updated"
# The web door is on this very host: it answers at once or not at all.
_PATIENCE = timedelta(seconds=2)


@click.command(name="status")
@format_option
@shared_options
@click.pass_obj
def command(settings: Settings, form: str) -> None:
    """Show the cluster and its authorities, and whether its controller runs."""
    with at_desk(settings) as desk:
        door = _open_door(desk)
        rows, value = _rows(desk, door), _as_json(desk, door)
    if form == "json":
        say_json(value)
        return
    width = max(len(title) for title, _ in rows)
    say("\n".join(f"{title:<{width}}  {escape_text(text)}" for title, text in rows))


def _open_door(desk: Desk) -> str | None:
    """Return where the web door listens; None where nothing answers there: the controller does not run."""
    bound = BoundAddresses.last(desk.cluster.config.data_dir)
    return join_address(*bound.web) if bound and answers(bound.web, _PATIENCE) else None


def _rows(desk: Desk, door: str | None) -> list[tuple[str, str]]:
    return [
        ("Cluster", desk.cluster.config.cluster_name),
        ("Controller", f"running, web door at {door}" if door else "not running"),
        ("Version", __version__),
        *((f"{kind} CA", _NEVER) for kind in _AUTHORITIES),
        *(("CA pin", pin) for pin in desk.pins()),
    ]


def _as_json(desk: Desk, door: str | None) -> Json:
    return {
        "cluster": desk.cluster.config.cluster_name,
        "running": door is not None,
        "version": __version__,
        "authorities": {kind: {"rotated": None} for kind in _AUTHORITIES},
        "ca_pins": list(desk.pins()),
    }
