"""The node's SSH server on a TCP port of its own, without agent or tunnel: for what only its clock or bounds decide."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import asyncssh

from edge_agent.child import Children
from edge_agent.clock import Clock, uptime_milliseconds
from edge_agent.config import Settings
from edge_agent.control import Control
from edge_agent.house import House
from edge_agent.identity import DataDirectory, Identity, generate_keys
from edge_agent.join import make_request
from edge_agent.papers import Papers
from edge_agent.session_audit import Report
from edge_agent.ssh_server import NodeServer
from edge_agent.studio import Studio
from protocol.events import EventKind, Json
from protocol.names import parse_node_name, parse_token
from protocol.secret import Secret
from tests.harness.simulated_controller import TOKEN, Person, SimulatedController

_LAST = 10.0


def joined_identity(controller: SimulatedController, directory: Path) -> Identity:
    """Return an identity that the simulated controller granted."""
    settings = Settings(("127.0.0.1", 1), parse_node_name("inner"), directory)
    keys = generate_keys()
    request = make_request(settings, Secret(parse_token(TOKEN)), keys)
    granted = controller.take_join(json.dumps(request.to_dict()).encode())
    home = DataDirectory(directory / "identity")
    home.claim()
    try:
        return home.save(keys, granted, settings.controller)
    finally:
        home.release()


def _report_nowhere(kind: EventKind, fields: Mapping[str, Json]) -> None:
    """Take an event that this test does not ask about."""


async def _wait_for_the_end(node: NodeServer, children: Children) -> None:
    """Have sessions end, and wait for their programs: whoever watches them is about to go."""
    if node.sessions:
        await node.drain("the test is over", _LAST)
    with contextlib.suppress(TimeoutError):  # some go on, as under nohup
        async with asyncio.timeout(_LAST):
            while children._watched:  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def inner_door(
    controller: SimulatedController,
    *,
    login_grace: float,
    studio: Studio | None = None,
    report: Report = _report_nowhere,
    rule: Callable[[Control, NodeServer], None] | None = None,
    uptime: Callable[[], int] = uptime_milliseconds,
) -> AsyncIterator[int]:
    """Serve on a port of 127.0.0.1, and yield it. Sessions are recorded by `studio`, where there is one.

    `rule` is told the server and its control, which has nothing to say by itself. `uptime` is how long the machine has
    been up.
    """
    identity = joined_identity(controller, controller.directory)
    papers = Papers(identity)
    clock = Clock(identity.directory, uptime=uptime)
    control = Control(papers, clock, identity.directory, uptime=uptime)
    children = Children(asyncio.get_running_loop())
    house = House(
        papers=papers,
        node={"server_id": identity.granted.node_id, "server_hostname": identity.granted.name},
        variables={},
        children=children,
        report=report,
        clock=clock.now,
        euid=os.geteuid(),
        studio=studio,
    )
    node = NodeServer(house, control=control, login_grace=login_grace)
    if rule:
        rule(control, node)

    def accept() -> asyncio.Protocol:
        connection = node.accept(("127.0.0.1", 0))
        assert connection
        return connection

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()
        await _wait_for_the_end(node, children)
        children.close()


@contextlib.asynccontextmanager
async def inner_client(
    controller: SimulatedController,
    person: Person,
    login: str,
    *,
    studio: Studio | None = None,
    report: Report = _report_nowhere,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Serve, and yield a connection of `person`'s: of a client that can misbehave as OpenSSH's never would."""
    async with inner_door(controller, login_grace=20, studio=studio, report=report) as port:
        connection = await asyncssh.connect(
            "127.0.0.1",
            port,
            config=[],
            username=login,
            client_keys=[(str(person.key), str(person.certificate))],
            known_hosts=None,
            agent_path=None,
        )
        try:
            yield connection
        finally:
            connection.abort()
            await connection.wait_closed()
