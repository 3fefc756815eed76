from __future__ import annotations

from datetime import timedelta

import pytest

from controller.accounts import Origin
from controller.policy.join import UNLIMITED
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import text_of
from tests.controller.web.people import People

TCTL = Origin(via="tctl", actor="root@host")


@pytest.fixture
def people(lab: Lab, clock: HandClock) -> People:
    return People(lab, clock)


def make(people: People, *, uses: int = 1, approve: bool = False, **labels: str) -> str:
    _, token = people.lab.enrolment.tokens.add(
        ttl=timedelta(minutes=30), uses=uses, labels=labels, claimable=None, origin=TCTL, approve=approve
    )
    return token.token_id


def test_where_there_is_no_token_the_next_step_is_shown(people: People) -> None:
    page = people.admin().get("/web/tokens").text
    assert "No token is good for a join" in page
    assert 'href="/web/devices/new"' in page


def test_tokens_are_listed_with_what_they_allow_and_never_whole(people: People) -> None:
    admin = people.admin()
    text, token = people.lab.enrolment.tokens.add(
        ttl=timedelta(minutes=30), uses=3, labels={"env": "dev"}, claimable=None, origin=TCTL, approve=True
    )
    make(people, uses=UNLIMITED)
    response = admin.get("/web/tokens")
    for words in (token.suffix, "env= dev", "unlimited", "waits for approval", "tctl tokens ls"):
        assert words in text_of(response)
    assert text.reveal() not in response.text


def test_a_token_is_revoked_once_however_often_it_is_asked_for(people: People) -> None:
    admin = people.admin()
    revoked, other = make(people), make(people, env="other")
    suffix = next(token.suffix for token in people.lab.enrolment.tokens.list() if token.token_id == revoked)
    assert f"tctl tokens rm {revoked}" in text_of(admin.get("/web/tokens"))
    for _ in range(2):
        response = people.post(admin, "/web/tokens/remove", "/web/tokens", token=revoked)
        assert response.headers["Location"] == "/web/tokens?done=removed"
    assert [token.token_id for token in people.lab.enrolment.tokens.list()] == [other]
    (entry,) = people.told("join_token.delete")
    assert (entry["user"], entry["token"]) == ("ada", suffix)
    assert "good for no join any more" in text_of(admin.get("/web/tokens?done=removed"))


def test_one_that_has_expired_meanwhile_is_gone(people: People) -> None:
    admin = people.admin()
    token = make(people)
    people.clock.pass_(timedelta(minutes=29))
    admin.get("/web/tokens")
    people.clock.pass_(timedelta(minutes=2))
    assert people.post(admin, "/web/tokens/remove", "/web/tokens", token=token).status_code == 303
    assert people.told("join_token.delete") == []


@pytest.mark.parametrize("token", ["", "****", "<script>", "x" * 10_000])
def test_what_is_no_token_removes_nothing(people: People, token: str) -> None:
    admin = people.admin()
    made = make(people)
    people.post(admin, "/web/tokens/remove", "/web/tokens", token=token)
    assert [each.token_id for each in people.lab.enrolment.tokens.list()] == [made]
