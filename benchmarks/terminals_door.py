"""A door with a page that takes some milliseconds and terminals that print: ``python -m benchmarks.terminals_door``.

What prints is a loop here and not a device: measured is how terminals are served, not SSH.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from controller.https.kept import HandOver, Kept
from controller.https.serve import Signs, serve
from controller.https.settings import ServerSettings, TlsFiles
from controller.https.tls_wire import TlsWire
from controller.web.hall.web_socket import WebSocket, handshake

TERMINALS = 50
LINE = b"x" * 1000 + b"\r\n"
EVERY = 0.05  # seconds: 20 kB/s, a busy log
Environ = dict[str, Any]


def page() -> bytes:
    """Return what costs about what the page of the nodes does."""
    return "".join(
        f"<tr><td>node-{number}</td><td>{number * number % 97}</td></tr>" for number in range(10_000)
    ).encode()


class Loop:
    """Hand-over: one thread with an event loop for all terminals."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Future[None]] = set()

    def stop(self, within: float) -> None:
        """Nothing: the process ends."""

    def answer(self, environ: Environ) -> HandOver:
        """Hand a connection over."""
        headers = {name[5:].replace("_", "-").title(): text for name, text in environ.items() if name[:5] == "HTTP_"}
        opening = handshake(headers)
        assert opening is not None
        return HandOver(self, lambda kept: self._take(kept, opening))

    def _take(self, kept: Kept, opening: Any) -> None:  # noqa: ANN401 - of the handshake
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._serve(kept, opening), self._loop)

    async def _serve(self, kept: Kept, opening: Any) -> None:  # noqa: ANN401 - of the handshake
        wire = TlsWire(kept.sock, kept.early, kept.gone)
        socket = WebSocket(wire, opening[0])
        wire.write(opening[1])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._print(socket))
            while (data := await socket.receive()) is not None:
                socket.send_bytes(bytes(data) if isinstance(data, bytes) else b"")
        await wire.close()

    async def _print(self, socket: WebSocket) -> None:
        while not socket.is_over:
            socket.send_bytes(LINE)
            await asyncio.sleep(EVERY)


def by_thread(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Keep the thread for one terminal, with simple-websocket, which begins a second one to read."""
    import simple_websocket  # type: ignore[import-not-found,import-untyped,unused-ignore]  # the rival's: installed by hand for this benchmark

    socket = simple_websocket.Server.accept(environ)
    try:
        while True:
            data = socket.receive(timeout=EVERY)
            socket.send(LINE if data is None else data)
    except simple_websocket.ConnectionClosed:
        start_response("200 OK", [("Content-Length", "0")])  # gunicorn wants one; nobody reads it any more
        return []


def app_of(variant: str) -> Callable[..., Iterable[bytes]]:
    """Return the application of one variant."""
    loop = Loop()

    def app(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/socket":
            return loop.answer(environ) if variant == "loop" else by_thread(environ, start_response)
        body = page()
        start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/html")])
        return [body]

    return app


def main() -> None:
    """Serve a variant with so many threads on a socket that is handed over."""
    variant, threads, fd, cert, key = sys.argv[1:]
    settings = ServerSettings("bench", threads=int(threads))
    signs = Signs(ready=lambda: print("ready", flush=True))
    serve(app_of(variant), int(fd), TlsFiles(Path(cert), Path(key)), settings, signs)


if __name__ == "__main__":
    main()
