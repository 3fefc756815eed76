from __future__ import annotations

from datetime import timedelta

from protocol import endpoints, limits
from protocol.instants import to_milliseconds
from protocol.join_tokens import JoinTokenList, MadeJoinToken
from tests.controller.web.v1.office import ADMIN, Office, error_of


def listed(office: Office) -> JoinTokenList:
    return JoinTokenList.from_dict(office.ask(ADMIN, endpoints.TOKENS).get_json())


def test_a_token_is_shown_whole_once_with_all_that_a_device_needs(office: Office) -> None:
    asked = {
        "uses": 3,
        "ttl_seconds": 600,
        "labels": {"env": "prod"},
        "claimable": ["site"],
        "approve": True,
        "ephemeral_seconds": 86400,
    }
    response = office.ask(ADMIN, endpoints.TOKEN_ADD, asked)
    made = MadeJoinToken.from_dict(response.get_json())
    assert (response.status_code, made.controller) == (201, "skerry.example:3080")
    assert made.entry.token == "****" + made.text.reveal()[-4:]
    found = next(each for each in listed(office).tokens if each.token == made.entry.token)
    assert found == made.entry
    assert (found.uses, found.labels, found.claimable, found.approve, found.ephemeral) == (
        3,
        {"env": "prod"},
        ("site",),
        True,
        86400,
    )
    assert found.expires == to_milliseconds(office.lab.clock() + timedelta(minutes=10))
    assert made.text.reveal() not in office.ask(ADMIN, endpoints.TOKENS).text


def test_what_is_left_out_is_as_tctl_has_it(office: Office) -> None:
    made = MadeJoinToken.from_dict(office.ask(ADMIN, endpoints.TOKEN_ADD, {}).get_json())
    assert (made.entry.uses, made.entry.approve, made.entry.claimable, made.entry.ephemeral) == (1, False, None, None)
    assert made.entry.expires == to_milliseconds(office.lab.clock() + limits.JOIN_TOKEN_TTL)
    endless = MadeJoinToken.from_dict(office.ask(ADMIN, endpoints.TOKEN_ADD, {"uses": "unlimited"}).get_json())
    assert endless.entry.uses is None


def test_a_token_is_removed_once_by_its_text_or_as_it_is_listed(office: Office) -> None:
    shown = listed(office).tokens[0].token
    assert shown == "****" + office.token[-4:]
    answers = [office.ask(ADMIN, endpoints.TOKEN_REMOVE, token=name) for name in (shown, shown, office.token)]
    assert [answer.status_code for answer in answers] == [204, 404, 404]
    assert office.token not in answers[2].text
    assert listed(office).tokens == ()
    assert len(office.told("join_token.delete")) == 1


def test_a_token_is_removed_by_its_id_whatever_others_end_in(office: Office) -> None:
    made = MadeJoinToken.from_dict(office.ask(ADMIN, endpoints.TOKEN_ADD, {}).get_json())
    assert made.entry.token_id in {each.token_id for each in listed(office).tokens}
    answers = [office.ask(ADMIN, endpoints.TOKEN_REMOVE, token=made.entry.token_id).status_code for _ in range(2)]
    assert answers == [204, 404]
    assert [each.token for each in listed(office).tokens] == ["****" + office.token[-4:]]


def test_tokens_are_listed_page_by_page_those_that_end_first_before(office: Office) -> None:
    for minutes in (5, 60, 1):
        office.ask(ADMIN, endpoints.TOKEN_ADD, {"ttl_seconds": minutes * 60})
    seen, query = [], {"limit": 1}
    while True:
        page = JoinTokenList.from_dict(office.ask(ADMIN, endpoints.TOKENS, query=query).get_json())
        seen += [each.expires for each in page.tokens]
        if page.next is None:
            break
        query = {"limit": 1, "cursor": page.next}  # type: ignore[dict-item]  # what stands in an address is text
    assert seen == sorted(seen, key=lambda instant: instant or 0)
    assert len(seen) == 4


def test_a_token_that_makes_no_sense_is_refused_and_nothing_is_made(office: Office) -> None:
    wrong: list[dict[str, object]] = [
        {"uses": 0},
        {"uses": 1_000_001},
        {"uses": "many"},
        {"uses": True},
        {"ttl_seconds": 0},
        {"ttl_seconds": 30 * 86400 + 1},
        {"labels": {"env": "a,b"}},
        {"labels": {str(number): "x" for number in range(33)}},
        {"claimable": ["x", "x"]},
        {"claimable": "x"},
        {"approve": 1},
        {"ephemeral_seconds": 1},
    ]
    for body in wrong:
        response = office.ask(ADMIN, endpoints.TOKEN_ADD, body)
        assert response.status_code == 400, body
        assert error_of(response).startswith(f"{next(iter(body))}: ")
    assert len(listed(office).tokens) == 1
