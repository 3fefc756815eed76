"""The static files, read once at start: what a peer names is looked up in a table, never on the disk."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flask import Flask, Response, g, request, url_for

from controller.web import refusal

_log = logging.getLogger("WEB")

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "public, no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file: its bytes, the same compressed where that helps, its type and the start of its SHA-256."""

    body: bytes
    gzipped: bytes | None
    content_type: str
    digest: str


def read_shelf(folder: Path) -> dict[str, Asset]:
    """Return the files below `folder` that browsers are given, by their path within it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.suffix in _TYPES}
    return {name: _read_asset(path) for name, path in found.items()}


def read_manifest(folder: Path) -> dict[str, str]:
    """Return under which names the third-party files lie in `folder`'s vendor folder; empty where none are built."""
    try:
        found = json.loads((folder / "vendor" / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(placed) for name, placed in found.items()} if isinstance(found, dict) else {}


def _read_asset(path: Path) -> Asset:
    body = path.read_bytes()
    gzipped = gzip.compress(body, mtime=0) if path.suffix != ".woff2" else None
    return Asset(body, gzipped, _TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:16])


def stock(app: Flask, folder: Path = STATIC) -> None:
    """Serve the files below `folder`, and give templates what leads to them.

    `asset(name)` is the address of a file of ours, with the content's hash. `vendor(name)` is that of somebody
    else's, such as ``xterm.js``: empty where it is not built, and `vendor_missing()` names those afterwards.
    """
    shelf, manifest = read_shelf(folder), read_manifest(folder)
    fonts = "vendor/vendor.css" in shelf
    if not fonts or not manifest:
        _log.warning(
            "the pages use the system's fonts and have no terminal, player or plots: %s is not built. To build it: "
            "cd controller/web/frontend && npm ci && node build.mjs (or: make assets)",
            folder / "vendor",
        )

    @app.get("/web/static/<path:name>")
    def static_file(name: str) -> Response:
        asset = shelf.get(name)
        return refusal.answer(404) if asset is None else _respond(asset)

    @app.get("/favicon.ico")
    def favicon() -> Response:
        return _respond(shelf["mark.svg"])

    def asset(name: str) -> str:
        return url_for("static_file", name=name, v=shelf[name].digest)

    def vendor(name: str) -> str:
        placed = f"vendor/{manifest.get(name)}"
        if placed in shelf:
            return url_for("static_file", name=placed)
        missing_files().append(name)
        return ""

    app.jinja_env.globals.update(asset=asset, vendor=vendor, vendor_built=fonts, vendor_missing=missing_files)


def missing_files() -> list[str]:
    """Return the third-party files that this request's page asked for and that are not built."""
    if "missing_files" not in g:
        g.missing_files = []
    return cast("list[str]", g.missing_files)


def _respond(asset: Asset) -> Response:
    response = Response(content_type=asset.content_type)
    # Vendor files carry their hash in their name, our own in the query.
    named = asset.digest[:10] in request.path or request.args.get("v") == asset.digest
    response.headers["Cache-Control"] = _FOREVER if named else _ASK_AGAIN
    response.headers["Vary"] = "Accept-Encoding"
    response.set_etag(asset.digest)
    if asset.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.headers["Content-Encoding"] = "gzip"
        response.set_data(asset.gzipped)
    else:
        response.set_data(asset.body)
    response.make_conditional(request)
    return response
