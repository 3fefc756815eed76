from __future__ import annotations

from pathlib import Path

from benchmarks.dashboard_harbour import Controller, Harbour, Size
from controller.audit import Intact
from controller.audit_reader import AuditReader, Wanted
from protocol import events


def test_the_fleets_past_is_as_the_controller_would_have_written_it(tmp_path: Path) -> None:
    harbour = Harbour(Controller(tmp_path / "harbour"), Size(nodes=10, recordings=3, sessions=4, lines=100))
    harbour.stock()
    cluster = harbour.controller.open()
    found = cluster.audit.verify(opening=events.CLUSTER_CREATE)
    assert isinstance(found, Intact)
    assert (found.count, found.recovered, found.torn) == (100, 0, 0)
    assert len(cluster.fleet.all()) == 10
    listed = {each.entry.session for each in cluster.recordings.browse()}
    assert listed == {tape.session for tape in harbour.recorded}
    ledger = AuditReader(cluster.audit, cluster.clock)
    assert [event["sid"] for event in ledger.page(Wanted(kinds=("session.upload",))).events] == [
        tape.session for tape in reversed(harbour.recorded)
    ]
    assert len(harbour.sign_in("web")) > 20
