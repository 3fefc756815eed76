"""The web application: `create_app` puts its parts together."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from flask import Flask

from controller.throttle import Throttle
from controller.web import (
    api_v1,
    archive,
    audit,
    devices,
    gate,
    headers,
    home,
    install,
    invitations,
    locks,
    login,
    node,
    nodes,
    playback,
    recordings,
    refusal,
    session_page,
    sessions,
    settings,
    shelf,
    tokens,
    users,
    v1,
    visit,
)
from controller.web.hall import pages as hall
from controller.web.services import Services
from controller.web.telling import tell_event, tell_instant
from protocol import access, limits
from protocol.instants import from_milliseconds
from protocol.table import cut_text, escape_text
from protocol.version import __version__

_FORM_PARTS_MAX = 32
_PLAIN_MAX_CHARS = 300


def create_app(services: Services) -> Flask:
    """Return the WSGI application of the web door, served by `controller.https.serve.serve`."""
    app = Flask(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=limits.HTTP_BODY_MAX,
        MAX_FORM_MEMORY_SIZE=limits.HTTP_BODY_MAX,
        MAX_FORM_PARTS=_FORM_PARTS_MAX,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    # Werkzeug mends slashes by a redirect to an absolute address, built from the Host header that a stranger sends.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    visit.bind(app.extensions, services)
    headers.dress(app)
    gate.guard(app, Throttle(services.rate))
    refusal.handle(app)
    shelf.stock(app)
    for part in (login, invitations, nodes, api_v1, recordings, hall, install):
        app.register_blueprint(part.blueprint)
    for part in (home, node, devices):
        app.register_blueprint(part.blueprint)
    for part in (sessions, session_page, playback, archive, audit):
        app.register_blueprint(part.blueprint)
    for part in (users, tokens, locks, settings):
        app.register_blueprint(part.blueprint)
    for blueprint in v1.BLUEPRINTS:
        app.register_blueprint(blueprint)
    _teach_templates(app, services)
    return app


def _teach_templates(app: Flask, services: Services) -> None:
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        cluster_name=services.cluster_name,
        public_address=services.public_address,
        version=__version__,
        session=visit.session,
        form_token=lambda: visit.form_token().reveal(),
        administers=lambda: access.administers(visit.person().roles),
        sees_audit=lambda: access.sees_audit(visit.person().roles),
    )
    app.jinja_env.filters.update(instant=_instant, moment=_moment, from_ms=_from_ms, plain=_plain)
    app.jinja_env.filters.update(sh=lambda value: shlex.quote(str(value)))
    app.jinja_env.filters.update(told=tell_event, told_instant=tell_instant)


def _plain(text: object, most: int = _PLAIN_MAX_CHARS) -> str:
    """Return what a peer sent, made visible: control characters and bidi marks written out, and not too long."""
    return cut_text(escape_text(str(text)[: most + 1]), most)


def _from_ms(milliseconds: int) -> datetime:
    """Return a moment that a peer has told; the calendar's last one where there is no such moment."""
    try:
        return from_milliseconds(milliseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _instant(moment: datetime) -> str:
    """Return `moment` for a machine: the ``datetime`` attribute of a ``time`` element."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(moment: datetime, *, seconds: bool = False) -> str:
    """Return `moment` for a person; scripts turn it into the person's own time zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC")
