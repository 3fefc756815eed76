"""Locks at the web door: sign-in refused with the lock's words, sessions over, on pages and for programs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from controller.accounts import Origin
from controller.locks import Locks
from controller.web import api_v1, login
from controller.web.visit import SCRIPT_HEADER
from protocol import endpoints, messages
from tests.controller.web.lab import PASSWORD, HandClock, Lab, Person
from tests.controller.web.page_client import BASE, Browser, text_of
from tests.controller.web.test_api_v1 import ask, error_of, sign_in_body

TEXT = 'lock targeting User:"ada" is in force: lost her laptop'
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ada(lab: Lab, clock: HandClock) -> Person:
    person = lab.person("ada", "pi")
    clock.pass_(MINUTE)
    return person


@pytest.fixture
def locks(lab: Lab) -> Locks:
    """The locks, as another process puts them on."""
    return Locks(lab.store, lab.audit, lab.clock)


def lock(locks: Locks) -> str:
    return locks.add("user", "ada", "lost her laptop", None, Origin(via="tctl", actor="root")).lock_id


def test_the_login_page_tells_a_locked_person_why_and_nobody_else(
    browser: Browser, locks: Locks, ada: Person, clock: HandClock
) -> None:
    lock(locks)
    page = browser.sign_in("ada", PASSWORD, "000000")
    assert login.REFUSED in text_of(page)
    assert "lock targeting" not in page.text
    page = browser.sign_in("ada", PASSWORD, ada.code(clock()))
    assert page.status_code == 401
    assert TEXT.replace('"', "&#34;") in page.text
    assert "Set-Cookie" not in page.headers or "__Host-skerry=" not in page.headers["Set-Cookie"]


def test_a_page_that_is_open_leads_to_the_lock_s_words_and_back_when_it_is_over(
    browser: Browser, locks: Locks, ada: Person, clock: HandClock
) -> None:
    assert browser.sign_in("ada", PASSWORD, ada.code(clock())).status_code == 303
    lock_id = lock(locks)
    page = browser.get("/web/nodes")
    assert page.status_code == 403
    assert "An admin has locked your account ada : lost her laptop It holds until" in text_of(page)
    polled = browser.get("/web/nodes/table", **{SCRIPT_HEADER: "1"})
    assert polled.status_code == 401  # its script loads the page anew, and that says why
    assert browser.get("/web/login").status_code == 200  # nobody is signed in
    locks.remove(lock_id, Origin(via="tctl", actor="root"))
    assert browser.get("/web/nodes").status_code == 200


def test_a_program_that_signs_in_is_told_of_the_lock_once_password_and_code_are_right(
    lab: Lab, locks: Locks, ada: Person, clock: HandClock
) -> None:
    api = lab.app().test_client()
    lock(locks)
    wrong = ask(api, endpoints.SIGN_IN, sign_in_body(ada, clock, password="insecure wrong password"))
    assert (wrong.status_code, error_of(wrong)) == (401, api_v1.SIGN_IN_REFUSED)
    right = ask(api, endpoints.SIGN_IN, sign_in_body(ada, clock))
    assert (right.status_code, error_of(right)) == (401, TEXT)


def bearer(api: FlaskClient, ada: Person, clock: HandClock) -> str:
    reply = ask(api, endpoints.SIGN_IN, sign_in_body(ada, clock)).get_json()
    return messages.SignInReply.from_dict(reply).session_token.reveal()


def test_a_program_s_sign_in_ends_with_the_lock_s_words(lab: Lab, locks: Locks, ada: Person, clock: HandClock) -> None:
    api = lab.app().test_client()
    token = bearer(api, ada, clock)
    assert ask(api, endpoints.NODES, token=token).status_code == 200
    lock_id = lock(locks)
    refused = ask(api, endpoints.NODES, token=token)
    assert (refused.status_code, error_of(refused)) == (403, TEXT)
    locks.remove(lock_id, Origin(via="tctl", actor="root"))
    assert ask(api, endpoints.NODES, token=token).status_code == 200


def test_a_locked_person_s_writes_are_refused_too(
    browser: Browser, locks: Locks, ada: Person, clock: HandClock
) -> None:
    assert browser.sign_in("ada", PASSWORD, ada.code(clock())).status_code == 303
    form = browser.hidden("/web/nodes")
    lock(locks)
    done = browser.client.post("/web/logout", base_url=BASE, data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert done.status_code == 403


def test_who_is_locked_out_signs_out_on_the_page_that_says_so(
    browser: Browser, locks: Locks, ada: Person, clock: HandClock
) -> None:
    assert browser.sign_in("ada", PASSWORD, ada.code(clock())).status_code == 303
    lock_id = lock(locks)
    form = browser.hidden("/web/home")
    done = browser.client.post("/web/logout", base_url=BASE, data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert (done.status_code, done.headers["Location"]) == (303, "/web/login?ended=1")
    locks.remove(lock_id, Origin(via="tctl", actor="root"))
    assert browser.get("/web/nodes").status_code == 303
