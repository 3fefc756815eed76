"""The service of a tree that was made by hand: it says how it is doing, and does nothing else.

    made_agent.py VERSION BEHAVIOUR

Where the environment has `SESSIONS`, a file, its lines are the sessions that it says go on.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edge_agent.policy.status import AgentStatus, Link
from edge_agent.status import started_at

_LOOK = 0.1


def sessions() -> tuple[str, ...]:
    with suppress(OSError, KeyError):
        return tuple(Path(os.environ["SESSIONS"]).read_text().split())
    return ()


def main(version: str, behaviour: str) -> None:
    if behaviour == "dies":
        sys.exit("ERROR: this version is broken")
    runtime = Path(os.environ["STAND_IN"], "run/skerry-agent")
    runtime.mkdir(parents=True, exist_ok=True)
    began = datetime.now(UTC)
    down = Link("down", began, "nobody answers")
    link = down if behaviour == "offline" else Link("up", began)
    while True:
        if behaviour == "reconnecting":
            link = Link("down", datetime.now(UTC), "lost just now")
        status = AgentStatus(
            version=version,
            pid=os.getpid(),
            ticks=started_at(os.getpid()) or 0,
            began=began,
            node="kiosk",
            node_id="4b5f8f3e-0000-4000-8000-000000000000",
            cluster="harbour",
            controller="controller.example.com:3080",
            tunnel=link,
            broker=down if behaviour == "unheard" else None,
            sessions=sessions(),
            people=sessions(),
        )
        if behaviour != "silent":
            new = runtime / ".status.json.new"
            new.write_bytes(status.encode())
            new.rename(runtime / "status.json")
        time.sleep(_LOOK)


if __name__ == "__main__":
    main(*sys.argv[1:])
