"""The web application: `create_app` puts its parts together."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Flask

from controller.throttle import Throttle
from controller.web import api_v1, gate, headers, invitations, login, nodes, profile, recordings, refusal, shelf, visit
from controller.web.services import Services
from protocol import limits
from protocol.version import __version__

_FORM_PARTS_MAX = 32


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
    for part in (login, invitations, nodes, profile, api_v1, recordings):
        app.register_blueprint(part.blueprint)
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
    )
    app.jinja_env.filters.update(instant=_instant, moment=_moment)


def _instant(moment: datetime) -> str:
    """Return `moment` for a machine: the ``datetime`` attribute of a ``time`` element."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(moment: datetime) -> str:
    """Return `moment` for a person; scripts turn it into the person's own time zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
