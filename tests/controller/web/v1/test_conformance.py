"""The whole API, asked by schemathesis as its own document describes it: what fits, what does not fit, and in turns.

It asks a real door, as an admin, of a cluster that has several of everything; what destroys is asked as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.policy.join import UNLIMITED
from controller.policy.liveness import Standing
from protocol import access, limits
from protocol.live_sessions import LiveSessions
from protocol.names import NodeId, SessionId
from tests.controller.kept_tape import upload
from tests.controller.web.lab import Lab
from tests.controller.web.v1.office import ADMIN, DESK, PLAIN, Office, standing
from tests.harness.running_door import Identity, RunningDoor
from tests.harness.tape import short_tape

SETTINGS = Path(__file__).with_name("schemathesis.toml").read_text(encoding="utf-8")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
MANY = 12
StartDoor = Callable[..., RunningDoor]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(Lab.open(tmp_path))


@pytest.fixture
def door(start_door: StartDoor, office: Office, tmp_path: Path) -> RunningDoor:
    assert isinstance(office, Office)  # opened first: it makes the keys
    return start_door("web", data_dir=str(tmp_path), numbers={"workers": 2})


@pytest.mark.timeout(600)
def test_the_api_is_as_its_document_says(door: RunningDoor, office: Office, identity: Identity, tmp_path: Path) -> None:
    office.lab.accounts.users.update(ADMIN, roles=access.parse_roles("admin,access,auditor"), origin=DESK)
    before = office.lab.accounts.users.get(ADMIN)
    report = ask(door, identity, tmp_path, office, "".join([SETTINGS, *known(fill(office))]))
    assert before is not None
    assert before == office.lab.accounts.users.get(ADMIN)  # nothing voided the sign-in on the way
    assert "returned only 401/403" not in report  # it held to the end, and let in everywhere
    for ended in ("user.logout", "user.sign_in_ended"):  # others were ended
        assert office.told(ended)


def fill(office: Office) -> Mapping[str, Sequence[str]]:
    """Put up several of everything; return what they are called, by the parameters that name them."""
    lab, now = office.lab, office.lab.clock()
    users = [lab.invite(f"user-{number}").user for number in range(MANY)]
    nodes = [lab.enrol(100 + number, f"node-{number}", None, env="x") for number in range(MANY)]
    waiting = [office.pending(200 + number, f"new-{number}") for number in range(MANY)]
    live = live_sessions(office, nodes)
    tapes = [
        short_tape("final", recipient=lab.authority.recording_key(), signing=office.tape.signing) for _ in range(MANY)
    ]
    node = lab.enrolment.nodes.get(office.tape.node)
    assert node is not None
    for tape in tapes:
        upload(lab.recordings, node, tape)
    tokens = [
        lab.enrolment.tokens.add(ttl=limits.JOIN_TOKEN_TTL, uses=UNLIMITED, labels={}, claimable=None, origin=DESK)[
            0
        ].reveal()
        for _ in range(MANY)
    ]
    locks = [lab.locks.add("login", f"login-{number}", "", timedelta(days=1), DESK).lock_id for number in range(MANY)]
    for _ in range(MANY):
        lab.session(ADMIN, "tsh", now + timedelta(hours=12))
    return {
        "path.user": users,
        "path.node": [*nodes, *waiting],
        "path.session": [*live, *(tape.session for tape in tapes)],
        "path.token": tokens,
        "path.lock": locks,
        "path.sign_in": sign_ins(office),
        "path.factor": [factor.factor_id for factor in lab.accounts.factors(office.people[ADMIN].name)],
    }


def live_sessions(office: Office, nodes: Sequence[NodeId]) -> list[SessionId]:
    base, standings = standing(office.lab), {}
    sessions = [SessionId(f"00000000-0000-4000-8000-{number:012x}") for number in range(0xB00, 0xB00 + len(nodes))]
    for node, session in zip(nodes, sessions, strict=True):
        live = LiveSessions((replace(base.live.sessions[0], session=session),))
        standings[node] = replace(base, live=live)
    told: dict[NodeId, Standing] = {office.nodes["gate"]: base, **standings}
    office.lab.told.say(told)
    return sessions


def known(values: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the settings that have parameters named as what is there, most of the time."""
    for name, known_values in values.items():
        yield f"[dictionaries.{name.partition('.')[2]}]\nvalues = {json.dumps([*known_values])}\n"
    yield "[parameters]\n"
    for name in values:
        yield f'"{name}" = {{ dictionary = "{name.partition(".")[2]}", probability = 0.7 }}\n'


def spared(office: Office) -> Mapping[str, object]:
    """Return what the hooks need to know: who asks, with which sign-in, and what may be spent in their place."""
    lab, until = office.lab, office.lab.clock() + timedelta(hours=12)
    asked_with = office.tokens[ADMIN]
    own = [each.sign_in_id for each in lab.accounts.sign_ins(office.people[ADMIN].name, asked_with) if each.is_current]
    return {
        "user": ADMIN,
        "other": PLAIN,
        "token": asked_with,
        "tokens": [lab.session(PLAIN, "tsh", until) for _ in range(MANY)],
        "sign_in": own[0],
        "sign_ins": sign_ins(office),
    }


def sign_ins(office: Office) -> list[str]:
    """Return the sign-ins of the person asked as, but for the one that is asked with."""
    views = office.lab.accounts.sign_ins(office.people[ADMIN].name, office.tokens[ADMIN])
    return [view.sign_in_id for view in views if not view.is_current]


def ask(
    door: RunningDoor,
    identity: Identity,
    folder: Path,
    office: Office,
    settings: str,
) -> str:
    """Have schemathesis ask `door`, and return what it found to say. Fails where it found a fault."""
    file = folder / "schemathesis.toml"
    file.write_text(f"hooks = {json.dumps(str(HOOKS))}\n{settings}", encoding="utf-8")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(file), "run"),
        f"https://localhost:{door.port}/v1/openapi.json",
        f"--tls-verify={identity.cert}",
        f"--header=Authorization: Bearer {office.tokens[ADMIN]}",
    ]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200", "SKERRY_SPARED": json.dumps(spared(office))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-30000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in door.log()
    return done.stdout
