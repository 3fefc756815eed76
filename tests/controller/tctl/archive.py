"""A cluster that keeps recordings, for the tests of `tctl recordings`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.cluster import Cluster
from controller.enrolment.nodes import NodeRecord
from tests.controller.kept_tape import enrol_node, upload
from tests.harness.tape import Tape, short_tape


def hours_ago(hours: float) -> int:
    return int((time.time() - hours * 3600) * 1000)


@dataclass
class Archive:
    """A cluster with one node, and the tapes that the node makes."""

    cluster: Cluster
    folder: Path

    def __post_init__(self) -> None:
        self.first = short_tape(started=hours_ago(1), recipient=self.cluster.authority.recording_key())
        self.node: NodeRecord = enrol_node(self.cluster.enrolment.nodes, self.first)

    def tape(self, reason: Any = "final", **made: object) -> Tape:  # noqa: ANN401 - a seal's reason
        wanted = {
            "signing": self.first.signing,
            "started": hours_ago(1),
            "recipient": self.cluster.authority.recording_key(),
        }
        return short_tape(reason, **(wanted | made))

    def keep(self, tape: Tape, *, upto: int | None = None) -> Tape:
        upload(self.cluster.recordings, self.node, tape, upto=upto)
        return tape

    def file(self, tape: Tape, name: str = "one.skr") -> Path:
        path = self.folder / name
        path.write_bytes(tape.content)
        return path

    def audited(self, kind: str) -> list[dict[str, Any]]:
        return list(self.cluster.audit.entries(kinds=[kind]))
