from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.lookout import feed
from controller.lookout.feed import Feed
from controller.policy.liveness import NO_SESSIONS, UNSEEN, BrokerHealth, Standing
from controller.presence import wire
from controller.presence.mirror import NO_VIEW, Mirror, View
from controller.presence.wire import News, WireError
from protocol.live_sessions import LiveSessions
from protocol.names import NodeId
from protocol.presences import NodeState
from tests.controller.lookout.lab import BEAT, poll
from tests.controller.presence.live import told

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO = (NodeId(f"00000000-0000-4000-8000-00000000000{number}") for number in (1, 2))
ONLINE = Standing("online", NOW, NOW, "", NodeState("00000000000000aa", version="0.2", platform="Linux"), BEAT)
OFFLINE = Standing("offline", NOW, NOW, "its link was lost")
UP = BrokerHealth(is_up=True, since=NOW)
DOWN = BrokerHealth(is_up=False, since=NOW, reason="the broker cannot be reached")
PATIENCE = 30.0


class Source:
    """A presence process's feed, with what a test says is known."""

    def __init__(self, folder: Path) -> None:
        self.known: dict[NodeId, Standing | None] = {ONE: ONLINE, TWO: OFFLINE}
        self.health = UP
        self.feed = Feed(lambda: News("snapshot", self.known, self.health))
        self._folder = folder

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        sock = feed.bind(self._folder)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.feed.run(sock))
            yield
            task.cancel()


def clock() -> datetime:
    return NOW


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


async def until(mirror: Mirror, wanted: View) -> None:
    await asyncio.to_thread(poll, lambda: mirror.view() == wanted)


async def followed(source: Source) -> None:
    await asyncio.to_thread(poll, lambda: source.feed.followers)


def test_what_is_written_is_what_is_read() -> None:
    for news in (
        News("snapshot", {ONE: ONLINE, TWO: OFFLINE}, UP),
        News("changes", {ONE: None, TWO: Standing("stale")}, DOWN),
        News("changes", {}, BrokerHealth(is_up=True)),
        News("snapshot", {ONE: replace(ONLINE, live=told(ONE, "ada", "bob")), TWO: OFFLINE}, UP),
        News("changes", {ONE: replace(ONLINE, live=LiveSessions(more=3))}, UP),
    ):
        line = news.encode()
        assert line.count(b"\n") == 1
        assert News.decode(line) == news


def test_a_node_without_sessions_costs_nothing_and_is_read_as_the_same_nothing() -> None:
    line = News("snapshot", {ONE: ONLINE}, UP).encode()
    assert b"sessions" not in line
    found = News.decode(line).standings[ONE]
    assert found is not None
    assert found.live is NO_SESSIONS


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"{}",
        b'{"snapshot":{}}',
        b'{"snapshot":[],"broker":[true,null,""]}',
        b'{"changes":{"x":["online"]},"broker":[true,null,""]}',
        b'{"changes":{"x":["online",9e99,null,"",null,null]},"broker":[true,null,""]}',
        b'{"changes":{"x":["online",null,null,"",[1,2,3,4,5,6,7,8,9],null]},"broker":[true,null,""]}',
        b'{"changes":{"x":["online",null,null,"",null,null,"[]"]},"broker":[true,null,""]}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        News.decode(line)


async def test_a_mirror_asks_once_and_keeps_the_answer_for_a_moment(tmp_path: Path, source: Source) -> None:
    async with source.serving():
        mirror = Mirror(tmp_path, clock)
        view = await asyncio.to_thread(mirror.view)
        assert view == View({ONE: ONLINE, TWO: OFFLINE}, UP)
        assert view.of(NodeId("00000000-0000-4000-8000-000000000009")) is UNSEEN
        assert await asyncio.to_thread(mirror.view) is view
    assert (tmp_path / wire.SOCKET).stat().st_mode & 0o777 == 0o600


async def test_who_asks_for_the_brokers_health_alone_is_told_no_more(tmp_path: Path, source: Source) -> None:
    source.health = DOWN
    mirror = Mirror(tmp_path, clock)
    async with source.serving():
        assert await asyncio.to_thread(mirror.ask_health) == DOWN
        reader, writer = await asyncio.open_unix_connection(tmp_path / wire.SOCKET)
        writer.write(wire.HEALTH)
        assert await reader.read() == News("changes", {}, DOWN).encode()
        writer.close()
    assert "does not answer" in mirror.ask_health().reason
    assert Mirror(tmp_path, clock, has_broker=False).ask_health() is NO_VIEW.health


async def test_where_nobody_answers_everybody_is_stale_and_the_reason_says_why(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, clock)
    view = await asyncio.to_thread(mirror.view)
    assert not view.health.is_up
    assert view.health.reason == "the presence process does not answer (no such file or directory)"
    assert view.of(ONE) == Standing("stale", None, None, view.health.reason)
    assert mirror.standings() == {}


async def test_where_the_broker_is_away_everybody_is_stale(tmp_path: Path, source: Source) -> None:
    source.health = DOWN
    async with source.serving():
        view = await asyncio.to_thread(Mirror(tmp_path, clock).view)
    assert [view.of(node).presence for node in (ONE, TWO, NodeId("other"))] == ["stale"] * 3
    assert {view.of(node).reason for node in (ONE, TWO)} == {DOWN.reason}
    assert view.of(ONE).last_seen == NOW


async def test_a_controller_without_a_broker_asks_nobody(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "nowhere", clock, has_broker=False)
    mirror.follow()
    assert mirror.view() is NO_VIEW
    assert mirror.view().of(ONE) is UNSEEN
    assert mirror.health.reason == "this controller has no broker"


async def test_a_mirror_that_follows_hears_of_changes_of_an_end_and_of_a_new_beginning(
    tmp_path: Path, source: Source
) -> None:
    mirror = Mirror(tmp_path, clock)
    mirror.follow()
    async with source.serving():
        await until(mirror, View({ONE: ONLINE, TWO: OFFLINE}, UP))
        await followed(source)
        # What is told is known to the source too: where this test is held up for long, the mirror asks anew.
        source.known = {ONE: OFFLINE}
        source.feed.tell(News("changes", {ONE: OFFLINE, TWO: None}, UP))
        await until(mirror, View({ONE: OFFLINE}, UP))
        before = mirror.view()
        assert before.of(ONE) == OFFLINE
        source.known = {ONE: OFFLINE, TWO: ONLINE}
        source.feed.tell(News("changes", {}, UP))
        source.feed.tell(News("changes", {TWO: ONLINE}, UP))
        await until(mirror, View({ONE: OFFLINE, TWO: ONLINE}, UP))
    await asyncio.to_thread(poll, lambda: not mirror.view().health.is_up)
    assert mirror.view().of(ONE).presence == "stale"
    source.known = {ONE: ONLINE, TWO: OFFLINE}
    async with source.serving():
        await until(mirror, View({ONE: ONLINE, TWO: OFFLINE}, UP))


async def test_a_mirror_is_followed_by_one_thread_however_many_ask(tmp_path: Path, source: Source) -> None:
    async with source.serving():
        mirror = Mirror(tmp_path, clock)
        mirror.follow()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(asyncio.to_thread(mirror.view))
        await followed(source)
        assert source.feed.followers == 1


async def test_a_data_directory_with_a_long_name_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    async with Source(folder).serving():
        view = await asyncio.to_thread(Mirror(folder, clock).view)
    assert view.health == UP


async def test_a_socket_that_an_earlier_run_left_is_replaced(tmp_path: Path, source: Source) -> None:
    feed.bind(tmp_path).close()
    async with source.serving():
        assert (await asyncio.to_thread(Mirror(tmp_path, clock).view)).health == UP
    assert [name for _, _, files in os.walk(tmp_path) for name in files] == [wire.SOCKET]


async def test_what_speaks_something_else_is_as_good_as_away(tmp_path: Path) -> None:
    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(chatter, sock=feed.bind(tmp_path))
    async with server:
        view = await asyncio.to_thread(Mirror(tmp_path, clock).view)
    assert "not a line of the presence process" in view.health.reason


@pytest.mark.parametrize("request_", [b"x" * 5000 + b"\n", b"no end"])
async def test_a_reader_that_says_nonsense_is_let_go_and_others_are_served(
    tmp_path: Path, source: Source, request_: bytes
) -> None:
    async with source.serving():
        with socket.socket(socket.AF_UNIX) as rude:
            rude.settimeout(PATIENCE)
            await asyncio.to_thread(rude.connect, str(tmp_path / wire.SOCKET))
            rude.sendall(request_)
            rude.shutdown(socket.SHUT_WR)
            assert await asyncio.to_thread(rude.recv, 100) == b""
        assert (await asyncio.to_thread(Mirror(tmp_path, clock).view)).health == UP
