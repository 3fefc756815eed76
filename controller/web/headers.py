"""The headers of every answer, and the one log line of every request."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from controller.web import visit

_log = logging.getLogger("WEB")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()" for feature in ("camera", "microphone", "geolocation", "payment", "usb", "browsing-topics")
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # An invite's token stands in its address: no page may hand its address on.
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": _PERMISSIONS_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def dress(app: Flask) -> None:
    """Put the headers on every answer of `app` and write a line for every request."""

    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        visit.set_form_cookie(response)
        _write_line(response)
        return response


def _write_line(response: Response) -> None:
    # The pattern, not the path: a path may hold an invite's token, and a stranger's path anything at all.
    path = request.url_rule.rule if request.url_rule else "(no such path)"
    took = (time.monotonic() - g.get("began", time.monotonic())) * 1000
    level = logging.DEBUG if path.startswith("/web/static") else logging.INFO
    _log.log(level, "%s %s %d %s %.0f ms", request.method[:10], path, response.status_code, visit.address(), took)
