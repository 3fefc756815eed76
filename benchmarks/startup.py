"""How long the user's own program takes: `tsh --help`, `tsh ls` of one node, `tsh ls` of 1,000 nodes."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contenders import Contender, skerry
from benchmarks.pair import Goal, Row, take_turns
from benchmarks.program import BIN, BenchError, run, seconds
from controller.enrolment.nodes import NodeRecord
from controller.store.interface import Value
from controller.store.tiny import TinyStore
from protocol import names

NODES = 1000
_A_TURN = 5


def measure(directory: Path, *, turns: int, quick: bool) -> list[Row]:
    """Return the rows. Each turn is the best of several runs: what the program takes when nothing else runs."""
    runs = 1 if quick else _A_TURN
    with skerry(directory / "skerry") as road:
        few = take_turns(
            {"help": lambda: _milliseconds(road, "--help", runs), "ls": lambda: _milliseconds(road, "ls", runs)}, turns
        )
        enrol(directory / "skerry" / "controller" / "store")
        _check_listed(road)
        many = take_turns({"ls": lambda: _milliseconds(road, "ls", runs)}, turns)
    return [
        Row("tsh --help", "ms", few["help"], goal=Goal("ours", "at most", 120)),
        Row("tsh ls, 1 node", "ms", few["ls"]),
        Row("tsh ls, 1,000 nodes", "ms", many["ls"], goal=Goal("ours", "at most", 400)),
    ]


def enrol(store: Path) -> None:
    """Put nodes into a controller's store, as if that many devices had joined; one is there already."""
    values: dict[str, Value] = {}
    for number in range(1, NODES):
        node = NodeRecord(
            node_id=names.parse_node_id(str(uuid.uuid4())),
            name=names.parse_node_name(f"edge-{number:04d}"),
            labels={"site": f"harbour-{number % 20}", "env": "production"},
            ssh_public_key=f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{number:043d}",
            generation=1,
            joined=datetime.now(UTC),
            token="bench",  # noqa: S106 - how a token is shown, not one
            version="0.1.0",
        )
        values[node.node_id] = node.to_value()
    TinyStore(store).collection("nodes").put_many(values, now=datetime.now(UTC))


def _check_listed(road: Contender) -> None:
    lines = run([str(BIN / "tsh"), "ls"], variables=road.variables).splitlines()
    if sum("Tunnel" in line for line in lines) != NODES:
        raise BenchError(f"`tsh ls` printed {len(lines)} lines for {NODES} nodes")


def _milliseconds(road: Contender, argument: str, runs: int) -> float:
    command = [str(BIN / "tsh"), argument]
    return 1000 * min(seconds(command, road.variables) for _ in range(runs))
