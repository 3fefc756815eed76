"""Both workers beside an agent that goes away: they end at once, and say nothing."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PATIENCE = 30.0
HTTPS, UPLOAD = "edge_agent.https_worker", "edge_agent.upload_worker"
# Each is answered at once, as nothing it speaks of is there.
ORDERS: dict[str, dict[str, Any]] = {
    HTTPS: {"host": "127.0.0.1", "port": 1, "name": "api", "anchors": [], "client": ["none", "none"]}
    | {"method": "GET", "path": "/", "message": None, "span": [0, 253402300799999]},
    UPLOAD: {"do": "check", "path": "none", "mark": ""},
}
both = pytest.mark.parametrize("module", [HTTPS, UPLOAD])


def line(module: str, **more: object) -> bytes:
    return json.dumps(ORDERS[module] | more).encode() + b"\n"


@contextmanager
def worker(module: str, idle: float = PATIENCE) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """Start a worker as the agent does; see in the end that it has ended as it should."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    code = f"import {module} as worker; worker.IDLE = {idle}; worker.main()"
    command = [sys.executable, "-P", "-c", code]
    process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE)
    theirs.close()
    try:
        with ours:
            yield ours, process
        _, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, said) == (0, b"")
    finally:
        process.kill()
        process.communicate()


@both
def test_orders_are_answered_one_after_the_other_however_they_arrive(module: str) -> None:
    order = line(module)
    with worker(module) as (agent, _), agent.makefile("rb") as answers:
        agent.sendall(order + order + order[:7])
        assert json.loads(answers.readline()) == json.loads(answers.readline())
        agent.sendall(order[7:])
        assert isinstance(json.loads(answers.readline()), dict)


@both
def test_an_order_may_be_long(module: str) -> None:
    with worker(module) as (agent, _), agent.makefile("rb") as answers:
        agent.sendall(line(module, more="x" * 200_000))
        assert isinstance(json.loads(answers.readline()), dict)


@both
def test_a_worker_without_orders_ends(module: str) -> None:
    with worker(module, idle=0.1) as (agent, process):
        assert agent.recv(1) == b""
        assert process.wait(PATIENCE) == 0


@both
@pytest.mark.parametrize("sent", ["nothing", "half an order", "an order", "orders"])
def test_a_worker_whose_agent_is_gone_ends_and_says_nothing(module: str, sent: str) -> None:
    order = line(module)
    said = {"nothing": b"", "half an order": order[:9], "an order": order, "orders": order * 3}
    with worker(module) as (agent, _):
        agent.sendall(said[sent])


@both
def test_a_worker_whose_agent_goes_without_reading_the_answer_ends_and_says_nothing(module: str) -> None:
    with worker(module) as (agent, _):
        agent.sendall(line(module))
        assert select.select([agent], [], [], PATIENCE)[0]


@both
def test_a_worker_whose_agent_goes_while_it_answers_ends_and_says_nothing(module: str) -> None:
    with worker(module) as (agent, _):
        agent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        agent.sendall(line(module) * 3)
        assert agent.recv(1)
