"""What the dashboard's pages cost where there is much to show: 10,000 nodes, 1,000 recordings, 200,000 audit events.

The controller is whole, and every node's heart beats meanwhile. Server time is what the door writes in its own line of
each request, from the request to the finished answer; processor time is of all the door's processes, less what they
take at rest. First contentful paint is Chromium's own word, each time with nothing in its cache.
"""

from __future__ import annotations

import http.client
import re
import ssl
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, sync_playwright

from benchmarks.dashboard_harbour import Controller, Harbour, Size
from benchmarks.pair import Goal, Row
from benchmarks.program import BenchError

_WHOLE = Size(nodes=10_000, recordings=1_000, sessions=200, lines=200_000)
_PART = Size(nodes=500, recordings=40, sessions=20, lines=5_000)
_ASKED, _ASKED_QUICKLY = 20, 3
_WARM_UP = 4
_REST = 10.0
_PAGE = Goal("ours", "at most", 300)
_PAINT = Goal("ours", "at most", 1000)
_CHROMIUM = "/usr/bin/chromium"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_LINE = re.compile(rb"(?:GET|POST) \S+ (\d{3}) \S+ (\d+) ms")
_FIRST_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    for (const entry of list.getEntriesByName("first-contentful-paint")) resolve(entry.startTime);
  }).observe({ type: "paint", buffered: true });
})"""


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows: of each page and endpoint the server's time, and of some pages their first paint."""
    controller = Controller(directory / "harbour")
    harbour = Harbour(controller, _PART if quick else _WHOLE)
    print("dashboard: filling a data directory", flush=True)
    harbour.stock()
    with controller.running(), controller.broker_running(), harbour.at_sea():
        harbour.wait_until_seen()
        door = Door(harbour)
        door.warm_up()
        rows = door.rest()
        rows += door.ask_all(turns, _ASKED_QUICKLY if quick else _ASKED)
        rows += _paint(door, turns)
        rows += [Row("web door's processes, PSS", "MiB", [controller.usage().pss["web"]])]
    return rows


def pages(harbour: Harbour) -> Mapping[str, str]:
    """Return the pages that are asked for, by what they are called."""
    node, longest, last = harbour.recorded[-1].node, harbour.recorded[-1].session, harbour.size.nodes // 50
    live = harbour.cluster.live.everywhere()[0].live.session
    return {
        "home": "/web/home",
        "nodes, first page": "/web/nodes",
        "nodes, search": "/web/nodes?q=gw-00",
        "nodes, two labels": "/web/nodes?label=site%3Dharbour-7&label=env%3Dproduction",
        "nodes, sorted by last seen": "/web/nodes?sort=-seen",
        "nodes, last page": f"/web/nodes?page={last}",
        "nodes, what a page asks for again": "/web/nodes/table",
        "node": f"/web/nodes/{node}",
        "sessions": "/web/sessions",
        "session, live": f"/web/sessions/{live}",
        "session, recorded": f"/web/sessions/{longest}",
        "session, the player's index": f"/web/sessions/{longest}/index",
        "recordings": "/web/recordings",
        "recordings of a user": "/web/recordings?user=chief",
        "audit": "/web/audit",
        "audit, one user": "/web/audit?user=person-007",
        "audit, one type": "/web/audit?kind=session.upload",
        "audit, a text that is nowhere": "/web/audit?text=kraken",
        "users": "/web/users",
        "tokens": "/web/tokens",
        "locks": "/web/locks",
        "settings": "/web/settings",
    }


def endpoints(harbour: Harbour) -> Mapping[str, str]:
    """Return the endpoints that are asked for."""
    node = harbour.recorded[-1].node
    paths = [
        "/v1/overview",
        "/v1/nodes",
        f"/v1/nodes/{node}",
        f"/v1/nodes/{node}/history",
        "/v1/sessions",
        "/v1/recordings",
        "/v1/audit",
        "/v1/audit?user=person-007",
        "/v1/users",
        "/v1/openapi.json",
    ]
    return {path.replace(node, "NODE"): path for path in paths}


@dataclass
class Door:
    """The web door, asked as a browser and as a program; its log says how long it took."""

    harbour: Harbour
    base: str = field(init=False)
    rest_share: float = 0.0

    def __post_init__(self) -> None:
        """Sign in."""
        web = self.harbour.controller.config_path.read_text(encoding="utf-8")
        found = re.search(r"web_listen_addr: (\S+)", web)
        if not found:
            raise BenchError("the configuration names no web door")
        self.base = f"https://{found[1].strip(chr(34))}"
        self.cookie, self.bearer = self.harbour.sign_in("web"), self.harbour.sign_in("tsh")
        self._trust = ssl.create_default_context(cafile=str(self.harbour.cluster.config.data_dir / "tls" / "web.crt"))
        self._log = self.harbour.controller.directory / "controller.log"

    def warm_up(self) -> None:
        """Ask for everything a few times: each of the door's processes makes its first answers slowly."""
        for _ in range(_WARM_UP):
            for path in self._every().values():
                self._get(path)

    def rest(self) -> list[Row]:
        """Measure what the door takes while nobody asks, and hearts beat."""
        before, begun = self._busy(), time.monotonic()
        time.sleep(_REST)
        self.rest_share = (self._busy() - before) / (time.monotonic() - begun)
        return [Row("web door at rest, all hearts beating", "% of a core", [100 * self.rest_share])]

    def ask_all(self, turns: int, asked: int) -> list[Row]:
        """Return the rows of all pages and endpoints."""
        every = self._every()
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in every}
        for _ in range(turns):
            for name, path in every.items():
                found[name].append(self._turn(path, asked))
        return [row for name, taken in found.items() for row in _rows(name, taken)]

    def _every(self) -> dict[str, str]:
        return {**pages(self.harbour), **endpoints(self.harbour)}

    def _turn(self, path: str, asked: int) -> tuple[float, float, float]:
        """Ask so often; return the median and the 95th percentile, and the processor time of one, all in ms."""
        before, begun = self._busy(), time.monotonic()
        took = [self._get(path) for _ in range(asked)]
        resting = self.rest_share * (time.monotonic() - begun)
        busy = max(0.0, self._busy() - before - resting)
        return statistics.median(took), sorted(took)[int(0.95 * (asked - 1) + 0.5)], 1000 * busy / asked

    def _get(self, path: str) -> float:
        """Ask once; return the server's time in ms. Raises `BenchError` where the answer is no good one."""
        mark = self._log.stat().st_size
        connection = http.client.HTTPSConnection(urlsplit(self.base).netloc, context=self._trust, timeout=60)
        headers = {"Authorization": f"Bearer {self.bearer}"} if path.startswith("/v1/") else self._cookies()
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        with self._log.open("rb") as log:
            log.seek(mark)
            lines = _LINE.findall(log.read())
        if answer.status != 200 or len(lines) != 1 or int(lines[0][0]) != 200:
            raise BenchError(f"{path} was answered with {answer.status}, and the log has {lines}")
        return float(lines[0][1])

    def _cookies(self) -> dict[str, str]:
        return {"Cookie": f"__Host-skerry={self.cookie}"}

    def _busy(self) -> float:
        return float(self.harbour.controller.usage().busy["web"])


def _rows(name: str, taken: list[tuple[float, float, float]]) -> list[Row]:
    middle, high, busy = zip(*taken, strict=True)
    return [
        Row(f"{name}: p50", "ms", middle),
        Row(f"{name}: p95", "ms", high, goal=_PAGE),
        Row(f"{name}: processor time", "ms", busy),
    ]


def _paint(door: Door, turns: int) -> list[Row]:
    """Return the first contentful paint of some pages."""
    every = pages(door.harbour)
    shown = {name: every[name] for name in ("home", "nodes, first page", "sessions", "session, recorded", "audit")}
    found: dict[str, list[float]] = {name: [] for name in shown}
    with _chromium() as browser:
        for turn in range(turns + 1):
            for name, path in shown.items():
                painted = _first_paint(browser, door, path)
                if turn:  # the browser's own first pages do not count
                    found[name].append(painted)
    return [Row(f"{name}: first contentful paint", "ms", taken, goal=_PAINT) for name, taken in found.items()]


def _first_paint(browser: Browser, door: Door, path: str) -> float:
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    try:
        host = urlsplit(door.base).hostname or ""
        context.add_cookies(
            [
                {
                    "name": "__Host-skerry",
                    "value": door.cookie,
                    "domain": host,
                    "path": "/",
                    "secure": True,
                    "httpOnly": True,
                }
            ]
        )
        page = context.new_page()
        page.goto(door.base + path, wait_until="domcontentloaded", timeout=60_000)
        return float(page.evaluate(_FIRST_PAINT))
    finally:
        context.close()


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()
