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
# What a page may ask for beside that, see `loosen`.
_STYLES = ("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_WASM = ("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
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


def loosen(*, styles: bool = False, wasm: bool = False) -> None:
    """Let the page of this request do more than others: what it shows needs that, and nothing else does.

    Args:
        styles: rules of style that its scripts write: xterm.js does.
        wasm: WebAssembly: the player has its terminal in it. Scripts still come from us alone.
    """
    policy = CONTENT_SECURITY_POLICY
    for old, new in ((_STYLES, styles), (_WASM, wasm)):
        policy = policy.replace(*old) if new else policy
    g.content_security_policy = policy


def dress(app: Flask) -> None:
    """Put the headers on every answer of `app` and write a line for every request."""

    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers["Content-Security-Policy"] = g.get("content_security_policy", CONTENT_SECURITY_POLICY)
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
