"""The machine API: what a node asks once it has joined. Who may ask is `controller.api.peer`'s to judge (M1-M4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, Response, request

from controller.api.events import add_events
from controller.api.peer import LOG, error
from controller.api.policy import add_policy
from controller.api.terms import add_terms
from controller.api.uploads import add_uploads
from controller.control import Control
from controller.enrolment import Enrolment
from controller.https.fault import MalformedBodyError
from controller.locks import Locks
from controller.recordings import Recordings
from controller.terms import Terms
from protocol import limits

# A batch of events is larger than what people send.
BODY_MAX = 4 * limits.HTTP_BODY_MAX


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the machine API asks of the rest of the controller."""

    enrolment: Enrolment
    locks: Locks
    terms: Terms
    control: Control
    recordings: Recordings
    clock: Callable[[], datetime]


def create_app(services: ApiServices) -> Flask:
    """Return the application."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX
    add_events(app, services.enrolment, services.locks, services.clock)
    add_terms(app, services.enrolment, services.locks, services.terms)
    add_policy(app, services.enrolment, services.control)
    add_uploads(app, services.enrolment, services.recordings)
    for code, text in ((404, "no such endpoint"), (405, "no such method here"), (413, "the body is too large")):
        app.register_error_handler(code, lambda _err, code=code, text=text: error(text, code))
    app.register_error_handler(MalformedBodyError, lambda _err: error("the body is malformed", 400))
    app.register_error_handler(Exception, _broken)
    return app


def _broken(err: Exception) -> tuple[Response, int]:
    LOG.error("machine API: %s %s failed", request.method, request.path[:100], exc_info=err)
    return error("the controller could not carry this out", 500)
