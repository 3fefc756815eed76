from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.audit import AuditError
from controller.origin import Origin
from protocol import limits
from protocol.decision import Granted
from protocol.names import UserName
from tests.controller.harbour import PASSWORD, WEB, Harbour

ALICE = UserName("alice")
TSH = Origin("198.51.100.4:999", "tsh 0.1", "web")


def open_tsh(harbour: Harbour, name: str = "alice") -> str:
    opened = harbour.accounts.open_session(harbour.signed_in(name), "tsh", harbour.clock() + timedelta(hours=12), TSH)
    assert isinstance(opened, Granted)
    return opened.value.reveal()


def test_a_person_sees_their_own_sign_ins_with_whence_since_and_last_use(harbour: Harbour) -> None:
    harbour.person()
    harbour.person("mallory")
    begun = harbour.clock()
    web, tsh = harbour.session("web", timedelta(hours=12)), open_tsh(harbour)
    open_tsh(harbour, "mallory")
    harbour.clock.move(minutes=15)
    for token in (web, tsh):
        assert harbour.accounts.session(token) is not None
    first, other = harbour.accounts.sign_ins(ALICE, web)
    assert (first.kind, first.is_current, first.address, first.client) == ("web", True, WEB.address, WEB.client)
    assert (other.kind, other.is_current, other.address, other.client) == ("tsh", False, TSH.address, TSH.client)
    assert (first.created, first.seen, first.expires) == (begun, harbour.clock(), begun + timedelta(hours=12))
    assert other.seen == harbour.clock()


def test_what_a_sign_in_is_called_is_worth_nothing(harbour: Harbour) -> None:
    harbour.person()
    token = open_tsh(harbour)
    (view,) = harbour.accounts.sign_ins(ALICE)
    assert harbour.accounts.session(view.sign_in_id) is None
    assert view.sign_in_id not in token


def test_one_is_ended_and_told_and_only_once_also_by_many_at_once(harbour: Harbour) -> None:
    harbour.person()
    web, tsh = harbour.session("web", timedelta(hours=1)), open_tsh(harbour)
    ended = next(view for view in harbour.accounts.sign_ins(ALICE, web) if not view.is_current)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: harbour.accounts.end_sign_in(ALICE, ended.sign_in_id, WEB), range(4)))
    assert sum(answer is not None for answer in answers) == 1
    assert harbour.accounts.session(tsh) is None
    assert harbour.accounts.session(web) is not None
    (entry,) = harbour.entries("SK006I")
    assert (entry["user"], entry["name"], entry["client"]) == ("alice", ended.sign_in_id, "tsh 0.1")


def test_a_sign_in_goes_on_whose_end_the_log_cannot_be_told_of(harbour: Harbour) -> None:
    harbour.person()
    mine, other = harbour.session("web", timedelta(hours=1)), open_tsh(harbour)
    ended = next(view for view in harbour.accounts.sign_ins(ALICE, mine) if not view.is_current)
    accounts = harbour.accounts
    with harbour.unwritable_log():
        for end in (
            lambda: accounts.end_sign_in(ALICE, ended.sign_in_id, WEB),
            lambda: accounts.end_other_sign_ins(ALICE, mine, WEB),
            lambda: accounts.close_session(other, WEB),
        ):
            with pytest.raises(AuditError):
                end()
    assert harbour.accounts.session(other) is not None


def test_nobody_ends_another_s(harbour: Harbour) -> None:
    harbour.person()
    harbour.person("mallory")
    token = open_tsh(harbour)
    (view,) = harbour.accounts.sign_ins(ALICE)
    assert harbour.accounts.end_sign_in(UserName("mallory"), view.sign_in_id, WEB) is None
    assert harbour.accounts.session(token) is not None


def test_all_others_are_ended_and_this_one_goes_on(harbour: Harbour) -> None:
    harbour.person()
    mine = harbour.session("web", timedelta(hours=1))
    others = [open_tsh(harbour) for _ in range(3)]
    assert harbour.accounts.end_other_sign_ins(ALICE, mine, WEB) == 3
    assert harbour.accounts.session(mine) is not None
    assert [harbour.accounts.session(token) for token in others] == [None] * 3


def test_what_is_over_or_idle_or_from_before_a_change_is_not_listed(harbour: Harbour) -> None:
    harbour.person()
    harbour.session("web", timedelta(hours=12))
    open_tsh(harbour)
    harbour.clock.now += limits.WEB_SESSION_IDLE
    assert [view.kind for view in harbour.accounts.sign_ins(ALICE)] == ["tsh"]
    harbour.clock.move(hours=12)
    assert harbour.accounts.sign_ins(ALICE) == ()
    assert harbour.accounts.sign_ins(UserName("nobody")) == ()


def test_a_sign_in_from_before_whence_was_kept_is_listed_without(harbour: Harbour) -> None:
    harbour.person()
    open_tsh(harbour)
    sessions = harbour.store.collection("sessions")
    (record,) = sessions.list(now=harbour.clock())
    old = {key: value for key, value in record.value.items() if key not in {"address", "client"}}
    sessions.replace(record, old, now=harbour.clock(), expires=record.expires)
    (view,) = harbour.accounts.sign_ins(ALICE)
    assert (view.address, view.client) == ("", "")


def test_when_somebody_last_signed_in_is_known_until_they_are_removed(harbour: Harbour) -> None:
    secret = harbour.person()
    users = harbour.accounts.users
    assert users.last_sign_ins() == {}
    for _ in range(2):
        assert isinstance(harbour.accounts.sign_in("alice", PASSWORD, harbour.code(secret), WEB), Granted)
        assert users.last_sign_ins() == {"alice": harbour.clock()}
        harbour.clock.move(hours=1)
    users.remove("alice", Origin(via="tctl"))
    assert users.last_sign_ins() == {}
