"""kill -9 of a process that takes a recording in, at any instant: what was confirmed is there, and it goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.enrolment.nodes import NodeRecord
from controller.policy.upload import Piece
from protocol.decision import Granted
from protocol.names import NodeId
from tests.controller.harbour import PING, STATIC, WEB, Device
from tests.harness.tape import Tape

ROOT = Path(__file__).parents[3]
# Says each confirmed offset on its standard output; goes on where the upload stands.
CHILD = """
import sys
from pathlib import Path
from controller.cluster import open_cluster
from controller.config import parse_config
from controller.policy.upload import Piece
from controller.recordings import Progress

folder, node_id, session = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
cluster = open_cluster(parse_config((folder / "controller.yaml").read_text(), "controller.yaml"))
node = cluster.enrolment.nodes.get(node_id)
data = (folder / "sent").read_bytes()
cluster.recordings.begin(node, session, None, "192.0.2.9:1")
offset = cluster.recordings.progress(node, session, "192.0.2.9:1").value.offset
print(offset, flush=True)
while offset < len(data):
    piece = Piece(offset, data[offset : offset + 700])
    offset = cluster.recordings.append(node, session, piece, "192.0.2.9:1").value.offset
    print(offset, flush=True)
"""


def confirmed_until_killed(folder: Path, node: NodeRecord, tape: Tape, seconds: float, known: int) -> int:
    """Run the child until `seconds` after its first word, and return the last offset that it confirmed."""
    command = [sys.executable, "-c", CHILD, str(folder), node.node_id, tape.session]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        first = child.stdout.readline()
        assert first, child.stderr.read()
        time.sleep(seconds)  # the instant of the power cut is what is drawn by lot
        os.kill(child.pid, signal.SIGKILL)
        said = [int(first), *map(int, (line for line in child.stdout.read().split("\n")[:-1] if line))]
        assert int(first) >= known, "what had been confirmed is not there any more"
    return said[-1]


def enrolled(folder: Path) -> tuple[Cluster, Device, NodeRecord]:
    """Return a cluster in `folder` and a device of it."""
    text = f"teleport: {{data_dir: '{folder / 'data'}'}}\n"
    text += f"auth_service: {{cluster_name: harbour, tokens: ['node:{STATIC}']}}\n"
    (folder / "controller.yaml").write_text(text)
    cluster, device = open_cluster(parse_config(text, "controller.yaml")), Device()
    joined = cluster.enrolment.join(device.request(STATIC), PING, WEB)
    assert isinstance(joined, Granted)
    node = cluster.enrolment.nodes.get(NodeId(joined.value.node_id))
    assert node
    return cluster, device, node


@pytest.mark.timeout(240)
def test_a_recording_taken_in_by_processes_that_are_killed_arrives_once_byte_for_byte(tmp_path: Path) -> None:
    cluster, device, node = enrolled(tmp_path)
    tape = Tape(
        node=node.node_id,
        signing=device.key,
        recipient=cluster.authority.recording_key(),
        started=int(cluster.clock().timestamp() * 1000),
    ).head()
    chance = random.Random(11)  # noqa: S311 - what is typed, and when the power goes: no secret
    for number in range(400):
        tape.output(number * 100, "".join(chance.choices("abcdefghijklmnop \\n", k=900)))
    tape.seal("final", 41_000)
    (tmp_path / "sent").write_bytes(tape.content)
    offset = 0
    for _ in range(8):
        offset = confirmed_until_killed(tmp_path, node, tape, chance.uniform(0, 0.25), offset)
    at = cluster.recordings.progress(node, tape.session, "192.0.2.9:1")
    assert isinstance(at, Granted)
    assert at.value.offset >= offset > 0
    offset = at.value.offset
    while offset < len(tape.content):
        answer = cluster.recordings.append(
            node, tape.session, Piece(offset, tape.content[offset : offset + 60_000]), "192.0.2.9:1"
        )
        assert isinstance(answer, Granted), answer
        offset = answer.value.offset
    stored = cluster.recordings.find(tape.session)
    assert stored
    assert (stored.entry.state, stored.hash) == ("complete", tape.chain)
    assert cluster.recordings.read(tape.session, 0, len(tape.content) + 1) == tape.content
    assert len(list(cluster.audit.entries(kinds=("T2005I",)))) == 1
    left = [path for path in (tmp_path / "data" / "recordings").rglob("*") if path.is_file()]
    assert sorted(path.suffix for path in left) == [".json", ".jsonl", ".skr"]


@pytest.mark.timeout(240)
def test_the_last_piece_is_kept_once_however_often_the_process_dies_over_it(tmp_path: Path) -> None:
    """The end of a recording is many steps on the disk: the process is killed in the midst of them again and again."""
    cluster, device, node = enrolled(tmp_path)
    chance = random.Random(12)  # noqa: S311 - when the power goes: no secret
    now = int(cluster.clock().timestamp() * 1000)
    for _ in range(6):
        tape = Tape(node=node.node_id, signing=device.key, recipient=cluster.authority.recording_key(), started=now)
        tape.head().seal("interrupted", 10)
        (tmp_path / "sent").write_bytes(tape.content)
        confirmed_until_killed(tmp_path, node, tape, chance.uniform(0, 0.06), 0)
        at = cluster.recordings.progress(node, tape.session, "192.0.2.9:1")
        assert isinstance(at, Granted), at
        if at.value.state == "arriving":
            last = Piece(at.value.offset, tape.content[at.value.offset :])
            at = cluster.recordings.append(node, tape.session, last, "192.0.2.9:1")
            assert isinstance(at, Granted), at
        assert (at.value.state, at.value.hash) == ("interrupted", tape.chain)
        assert cluster.recordings.read(tape.session, 0, 10_000) == tape.content
        codes = [
            entry["code"] for entry in cluster.audit.entries(kinds=("T2005I", "SK030W")) if entry["sid"] == tape.session
        ]
        assert sorted(codes) == ["SK030W", "T2005I"]
    cluster.recordings.sweep()  # as housekeeping does: one that was killed between two steps may have left its lock
    assert list((tmp_path / "data/recordings/arriving").iterdir()) == []
