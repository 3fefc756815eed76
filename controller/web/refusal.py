"""How the door says no: one form for pages, one for programs, one text for each status."""

from __future__ import annotations

import logging
from datetime import timedelta

from flask import Flask, Response, jsonify, make_response, render_template
from werkzeug.exceptions import HTTPException

from controller.audit import AuditError
from controller.authority import AuthorityError
from controller.https.fault import MalformedBodyError
from controller.recordings import RecordingsError
from controller.store.interface import StoreError
from controller.web import visit
from protocol.messages import ErrorReply, MessageError

_log = logging.getLogger("WEB")

_TEXTS = {
    400: ("Not understood", "The request could not be read."),
    401: ("Sign in first", "You are not signed in, or your sign-in has ended."),
    403: ("Not allowed", "This is not allowed."),
    404: ("Not found", "There is nothing at this address."),
    405: ("Not possible here", "This address does not answer to that kind of request."),
    409: ("Not possible now", "This does not fit what is there."),
    413: ("Too large", "The request is larger than this door accepts."),
    415: ("Not understood", "The body has to be JSON, and to say so: Content-Type: application/json."),
    416: ("No such part", "This file has no such part: it is shorter."),
    429: ("Too many requests", "Too many requests came from your address. Wait a little, then try again."),
    500: ("Something went wrong", "The controller could not finish this. Its log says why; try again later."),
    503: ("Not available", "The controller cannot reach its records at the moment. Try again shortly."),
}
_STORE_RETRY = timedelta(seconds=5)


def answer(
    status: int, message: str | None = None, *, field: str = "", retry_after: timedelta | None = None
) -> Response:
    """Return the refusal for `status`: JSON where a program asks, a page where a person does.

    `field` is what a program has to send another of.
    """
    title, usual = _TEXTS.get(status, _TEXTS[400])
    text = message or usual
    if visit.is_api():
        response = jsonify(ErrorReply(text, field).to_dict())
    else:
        response = make_response(render_template("refusal.html", title=title, text=text, status=status))
    response.status_code = status
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after.total_seconds())))
    if status == 401 and visit.is_api():
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def handle(app: Flask) -> None:
    """Answer every failure of `app` in the door's own words."""

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        response = answer(status if status in _TEXTS else 400)
        allowed = getattr(error, "valid_methods", None)
        if status == 405 and allowed:
            response.headers["Allow"] = ", ".join(sorted(set(allowed) - {"OPTIONS"}))
        return response

    @app.errorhandler(MessageError)
    def message(error: MessageError) -> Response:
        return answer(400, str(error))

    app.register_error_handler(MalformedBodyError, lambda _error: answer(400))

    @app.errorhandler(StoreError)
    @app.errorhandler(AuditError)
    @app.errorhandler(AuthorityError)
    @app.errorhandler(RecordingsError)
    def records(error: StoreError | AuditError | AuthorityError | RecordingsError) -> Response:
        _log.error("the records cannot be read or written: %s", error)
        return answer(503, retry_after=_STORE_RETRY)

    @app.errorhandler(Exception)
    def anything(error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return answer(500)
