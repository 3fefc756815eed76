from __future__ import annotations

from pathlib import Path

import pytest

from controller.lock_aims import NoAimError, find_aim
from protocol.locks import LockKind
from protocol.names import BadNameError
from tests.controller.web.lab import HandClock, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.open(tmp_path, HandClock())


def aim(lab: Lab, kind: LockKind, named: str) -> str:
    return find_aim(kind, named, lab.accounts.users, lab.enrolment.nodes)


def test_a_lock_is_aimed_at_a_person_who_is_there_at_any_login_and_at_a_node_by_name_or_id(lab: Lab) -> None:
    lab.invite("bob")
    node = lab.enrol(1, "gate")
    assert aim(lab, "user", "bob") == "bob"
    assert aim(lab, "login", "nobody-has-it") == "nobody-has-it"
    assert aim(lab, "node", "GATE") == aim(lab, "node", node.upper()) == node


@pytest.mark.parametrize(
    ("kind", "named"), [("user", "bob"), ("node", "gate"), ("node", "00000000-0000-4000-8000-00000000dead")]
)
def test_who_and_what_is_not_there_is_no_aim(lab: Lab, kind: LockKind, named: str) -> None:
    with pytest.raises(NoAimError, match=f'{kind} "{named}" not found, so nothing was locked') as raised:
        aim(lab, kind, named)
    assert raised.value.several == ()


def test_of_several_nodes_of_a_name_all_are_told(lab: Lab) -> None:
    twins = tuple(lab.enrol(number, "twin") for number in (1, 2))
    with pytest.raises(NoAimError, match="2 nodes are named twin: say which one by its UUID") as raised:
        aim(lab, "node", "twin")
    assert raised.value.several == twins


@pytest.mark.parametrize(("kind", "named"), [("user", "../x"), ("login", "-rf")])
def test_what_is_no_name_is_no_aim(lab: Lab, kind: LockKind, named: str) -> None:
    with pytest.raises(BadNameError):
        aim(lab, kind, named)
