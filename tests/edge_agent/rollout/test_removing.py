from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.policy.layout import Layout
from edge_agent.rollout.fault import RolloutError
from edge_agent.rollout.lock import exclusive
from edge_agent.rollout.removing import remove_later


def test_who_asks_through_the_agent_is_told_at_once_that_somebody_else_is_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_SESSION_ID", "mine")
    layout, said = Layout(str(tmp_path)), list[str]()
    (tmp_path / "run").mkdir()
    with exclusive(Path(layout.lock)), pytest.raises(RolloutError, match="upgraded or removed already"):
        remove_later(layout, ["/nonexistent/program"], said.append)
    assert said == []
