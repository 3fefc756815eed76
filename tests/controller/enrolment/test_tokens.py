from __future__ import annotations

from datetime import timedelta

import pytest

from controller.audit import AuditError
from controller.enrolment.tokens import TokenError, hidden
from controller.policy.join import UNLIMITED
from protocol.decision import Granted, Refused
from protocol.names import TokenText
from tests.controller.harbour import ADMIN, STATIC, Device, Harbour


def test_a_token_is_shown_whole_once_and_by_its_last_four_afterwards(harbour: Harbour) -> None:
    token = harbour.token(uses=3, labels={"env": "dev"})
    assert len(token) == 32
    listed, static = harbour.enrolment.tokens.list()
    assert (listed.suffix, listed.uses_left, listed.labels) == ("****" + token[-4:], 3, {"env": "dev"})
    assert (static.suffix, static.uses_left, static.expires) == (hidden(STATIC), UNLIMITED, None)
    (entry,) = harbour.entries("TJT00I")
    assert (entry["token"], entry["uses"], entry["roles"], entry["user"]) == ("****" + token[-4:], 3, ["Node"], "root")


def test_tokens_are_listed_by_when_they_expire_and_expired_ones_are_not(harbour: Harbour) -> None:
    late, soon = harbour.token(ttl=timedelta(hours=2)), harbour.token(ttl=timedelta(hours=1))
    suffixes = [token.suffix for token in harbour.enrolment.tokens.list()]
    assert suffixes == [hidden(soon), hidden(late), hidden(STATIC)]
    harbour.clock.move(hours=1)
    assert [token.suffix for token in harbour.enrolment.tokens.list()] == [hidden(late), hidden(STATIC)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_token_is_removed_by_its_text_or_by_what_the_listing_shows(harbour: Harbour, *, whole: bool) -> None:
    token = harbour.token()
    assert harbour.enrolment.tokens.remove(token if whole else hidden(token), ADMIN) == hidden(token)
    assert isinstance(harbour.join(Device().request(token)), Refused)
    assert harbour.entries("join_token.delete")[0]["token"] == hidden(token)


def test_a_token_that_is_not_there_cannot_be_removed(harbour: Harbour) -> None:
    with pytest.raises(TokenError, match="is not known"):
        harbour.enrolment.tokens.remove("insecure-unknown-token", ADMIN)


def test_the_refusal_does_not_show_the_token(harbour: Harbour) -> None:
    with pytest.raises(TokenError) as caught:
        harbour.enrolment.tokens.remove("insecure-unknown-token", ADMIN)
    assert "insecure-unknown" not in str(caught.value)


def test_a_static_token_is_removed_in_the_configuration_alone(harbour: Harbour) -> None:
    (static,) = harbour.enrolment.tokens.list()
    for name in (STATIC, static.suffix, static.token_id):
        with pytest.raises(TokenError, match=r"controller\.yaml"):
            harbour.enrolment.tokens.remove(name, ADMIN)


def test_four_characters_that_two_tokens_share_name_neither(harbour: Harbour) -> None:
    first = harbour.token()
    collection = harbour.store.collection("join_tokens")
    (record,) = collection.list(now=harbour.clock())
    collection.create("twin", record.value, now=harbour.clock(), expires=record.expires)
    with pytest.raises(TokenError, match="names several tokens"):
        harbour.enrolment.tokens.remove(hidden(first), ADMIN)
    ids = {token.token_id for token in harbour.enrolment.tokens.list() if token.expires}
    assert ids == {record.key[:12], "twin"}
    assert harbour.enrolment.tokens.remove(record.key[:12], ADMIN) == hidden(first)
    assert harbour.enrolment.tokens.find(TokenText(first)) is None
    assert harbour.enrolment.tokens.remove("twin", ADMIN) == hidden(first)


def test_a_token_that_fixes_what_may_be_claimed_lets_nothing_else_through(harbour: Harbour) -> None:
    made, _ = harbour.enrolment.tokens.add(
        ttl=timedelta(hours=1), uses=1, labels={"env": "dev"}, claimable=("site",), origin=ADMIN
    )
    claimed = {"site": "pier", "role": "admin", "env": "prod"}
    answer = harbour.join(Device().request(made.reveal(), labels=claimed))
    assert isinstance(answer, Granted)
    assert answer.value.labels == {"env": "dev", "site": "pier"}


def test_a_use_taken_meanwhile_is_noticed(harbour: Harbour) -> None:
    token = harbour.token(uses=3)
    tokens = harbour.enrolment.tokens
    first, second = tokens.find(TokenText(token)), tokens.find(TokenText(token))
    assert first is not None
    assert second is not None
    assert tokens.spend(first)
    assert not tokens.spend(second)
    last = harbour.token(uses=1)
    one, two = tokens.find(TokenText(last)), tokens.find(TokenText(last))
    assert one is not None
    assert two is not None
    assert tokens.spend(one)
    assert not tokens.spend(two)


def test_neither_a_new_token_nor_a_removal_that_the_audit_log_cannot_be_told_of_is_made(harbour: Harbour) -> None:
    token = harbour.token()
    before = harbour.enrolment.tokens.list()
    with harbour.unwritable_log():
        with pytest.raises(AuditError):
            harbour.token()
        with pytest.raises(AuditError):
            harbour.enrolment.tokens.remove(token, ADMIN)
    assert harbour.enrolment.tokens.list() == before
    assert isinstance(harbour.join(Device().request(token)), Granted)
