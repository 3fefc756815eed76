"""What is no body, no method and no address of ours: one clear refusal, in JSON, and nothing changes."""

from __future__ import annotations

import pytest

from protocol import endpoints, limits
from protocol.names import NodeId
from tests.controller.web.v1.office import ADMIN, BASE, NEVER, PLAIN, Office, error_of

BODIES = {
    b"": "the body is not JSON",
    b"{": "the body is not JSON",
    b"\xff": "the body is not JSON",
    b"[" * 100_000: "the body is not JSON",
    b"[]": "the body is not a JSON object",
    b"null": "the body is not a JSON object",
    b'{"kind": "login", "value": "\\ud800"}': "the body holds text that is not Unicode",
}


def test_what_is_no_json_object_is_refused_in_words(office: Office) -> None:
    for body, words in BODIES.items():
        response = office.ask(ADMIN, endpoints.LOCK_ADD, body)
        assert (response.status_code, error_of(response)) == (400, words)


def test_a_body_that_says_it_is_something_else_is_refused_and_one_that_says_nothing_is_read(office: Office) -> None:
    body = b'{"kind": "login", "value": "pi"}'
    for said in ("application/x-www-form-urlencoded", "text/plain", "application/xml"):
        response = office.ask(ADMIN, endpoints.LOCK_ADD, body, content_type=said)
        assert (response.status_code, "JSON" in error_of(response)) == (415, True)
    for plain in (None, "application/json; charset=utf-8"):
        assert office.ask(ADMIN, endpoints.LOCK_ADD, body, content_type=plain).status_code == 201


def test_a_body_that_is_too_large_is_not_read(office: Office) -> None:
    response = office.ask(ADMIN, endpoints.LOCK_ADD, b" " * (limits.HTTP_BODY_MAX + 1))
    assert response.status_code == 413
    assert error_of(response)


def test_a_number_with_a_fraction_of_nothing_is_whole(office: Office) -> None:
    for ttl, status in ((b"60.0", 201), (b"6e1", 201), (b"60.5", 400), (b"1e400", 400), (b"NaN", 400)):
        body = b'{"kind": "login", "value": "pi", "ttl_seconds": %s}' % ttl
        assert office.ask(ADMIN, endpoints.LOCK_ADD, body).status_code == status, ttl


def test_the_wrong_method_is_told_the_right_ones(office: Office) -> None:
    headers = {"Authorization": f"Bearer {office.tokens[ADMIN]}"}
    for path, allowed in (
        ("/v1/users", "GET, HEAD, POST"),
        ("/v1/users/ada", "DELETE, GET, HEAD, PATCH"),
        (f"/v1/nodes/{NEVER}/labels", "PUT"),
    ):
        response = office.api.open(path, method="TRACE", base_url=BASE, headers=headers)
        assert (response.status_code, response.headers["Allow"]) == (405, allowed)
        assert error_of(response)


def test_head_goes_with_get_and_says_as_much(office: Office) -> None:
    headers = {"Authorization": f"Bearer {office.tokens[PLAIN]}"}
    got = office.api.get("/v1/me", base_url=BASE, headers=headers)
    head = office.api.head("/v1/me", base_url=BASE, headers=headers)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]
    assert office.api.head("/v1/me", base_url=BASE).status_code == 401


@pytest.mark.parametrize("name", ["%2e%2e%2f", "a%00b", "%F0%9F%98%80", "%3Cscript%3E", "x" * 2000])
def test_names_that_can_be_nobodys_are_not_found(office: Office, name: str) -> None:
    for path in ("nodes", "users", "recordings"):
        response = office.api.get(
            f"/v1/{path}/{name}", base_url=BASE, headers={"Authorization": f"Bearer {office.tokens[ADMIN]}"}
        )
        assert response.status_code == 404
    assert office.lab.enrolment.nodes.get(NodeId(office.nodes["gate"])) is not None
