"""Runs a door in a process of its own, for tests that need the real server: `python door_process.py SPEC`."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from controller.https.serve import Signs, serve
from controller.https.settings import ServerSettings, TlsFiles
from controller.log import set_up_log

RELEASED = threading.Event()
STANDING = threading.Event()


def echo(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with what was understood of the request; ``/big`` with 8 MiB, ``/broken`` with a fault.

    ``/long`` is made while it is read: 64 MiB, or with ``/long/broken`` a fault in the middle, and with ``/long/stuck``
    no end. ``/hold`` is answered when somebody asks for ``/release``. After ``/stand`` something that the worker runs
    beside does not turn any more.
    """
    if environ["PATH_INFO"].startswith("/long"):
        return long(environ, start_response)
    if environ["PATH_INFO"] == "/hold":
        logging.getLogger("test").info("holding")
        RELEASED.wait(120)
    if environ["PATH_INFO"] == "/stand":
        STANDING.set()
    if environ["PATH_INFO"] == "/release":
        RELEASED.set()
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("insecure detail that no peer may read")
    body = environ["wsgi.input"].read()
    peer = environ["gunicorn.socket"].getpeercert() or {}
    said = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "body": len(body),
        "peer": dict(pair[0] for pair in peer.get("subject", ())).get("commonName"),
        "scheme": environ["wsgi.url_scheme"],
    }
    answer = b"x" * (8 << 20) if environ["PATH_INFO"] == "/big" else json.dumps(said).encode()
    start_response("200 OK", [("Content-Length", str(len(answer))), ("Content-Type", "application/json")])
    return [answer]


def long(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Yield numbered pieces of 64 KiB, without saying beforehand how many."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    try:
        for number in range(1024):
            if number == 512 and environ["PATH_INFO"] == "/long/broken":
                raise RuntimeError("insecure detail that no peer may read")
            if number == 32 and environ["PATH_INFO"] == "/long/stuck":
                logging.getLogger("test").info("stuck")
                RELEASED.wait(120)
            yield number.to_bytes(8, "big") * (8 << 10)
    finally:
        logging.getLogger("test").info("the long answer is closed")


def main() -> None:
    atexit.register(gc.freeze)  # as `controller` does: its processes end sooner
    spec = json.loads(sys.argv[1])
    set_up_log("DEBUG" if spec.get("debug") else "INFO")
    tls = TlsFiles(Path(spec["cert"]), Path(spec["key"]), Path(spec["ca"]) if spec.get("ca") else None)
    times: dict[str, Any] = {key: timedelta(seconds=value) for key, value in spec.get("seconds", {}).items()}
    settings = ServerSettings("test", **spec.get("numbers", {}), **times)
    app: Callable[..., Any] = echo
    if spec["app"] == "web":
        from tests.controller.web.lab import web_app

        given = {"archives": Path(spec["agent_archives"])} if "agent_archives" in spec else {}
        app = web_app(Path(spec["data_dir"]), spec["public_address"], spec.get("per_minute", 100_000), **given)
    signs = Signs(ready=lambda: logging.getLogger("test").info("ready"), worker_turns=lambda: not STANDING.is_set())
    serve(app, spec["fd"], tls, settings, signs)


if __name__ == "__main__":
    main()
