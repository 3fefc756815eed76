"""The links of `tctl users add` and `reset`, as browsers find them: open once, and then never again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.web_visitor import Form, Page, Visitor
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
_PER_REQUEST = {"date"}


def seen(page: Page) -> tuple[int, str, Mapping[str, str]]:
    """Return what a browser can tell one answer from another by."""
    headers = {name.lower(): value for name, value in page.headers.items()}
    return page.status, page.text, {name: value for name, value in headers.items() if name not in _PER_REQUEST}


def await_refusal(visitor: Visitor, link: str) -> Page:
    """Open a link until it is void: only the clock says when."""
    deadline = time.monotonic() + 20
    while (page := visitor.get(link)).status == 200:
        assert time.monotonic() < deadline, "the link does not expire"
    return page


def person(cluster: RealCluster, name: str) -> Person:
    return Person(name, cluster.folder / f"home of {name}")


def test_spent_expired_and_unknown_links_show_the_same_page(harbour: Harbour) -> None:
    cluster = harbour.cluster
    spent = cluster.invite("ivan")
    assert cluster.accept(spent, person(cluster, "ivan")).status == 200
    expired = cluster.invite("judy", LOGIN, "--ttl=1s")
    await_refusal(Visitor(cluster.anchors), expired)
    unknown = spent.rpartition("/")[0] + "/" + "0" * 32
    other_kind = cluster.invite("mike").replace("/invite/", "/reset/")
    pages = [seen(Visitor(cluster.anchors).get(link)) for link in (spent, expired, unknown, other_kind)]
    assert pages[0][0] == 404
    assert "This link is not valid" in pages[0][1]
    assert pages[1:] == pages[:1] * 3
    refused = cluster.events("SK003W")
    assert {event["success"] for event in refused} == {False}
    assert len(refused) >= 3


def test_form_sent_to_a_spent_link_is_refused_too(harbour: Harbour) -> None:
    cluster = harbour.cluster
    link = cluster.invite("niaj")
    late = Visitor(cluster.anchors)
    form = Form(late.get(link).text)
    niaj = person(cluster, "niaj")
    assert cluster.accept(link, niaj).status == 200
    page = late.submit(link, {**form.fields, "password": "insecure other password", "otp": niaj.next_code()})
    assert page.status == 404
    niaj.home.mkdir()
    cluster.sign_in(niaj)


def test_of_many_who_complete_a_link_at_once_exactly_one_does(cluster: RealCluster) -> None:
    link = cluster.invite("olivia")
    olivia = person(cluster, "olivia")
    visitors = [Visitor(cluster.anchors) for _ in range(8)]
    forms = [Form(visitor.get(link).text) for visitor in visitors]
    olivia.secret = forms[0].secret
    code = olivia.next_code()

    def complete(number: int) -> Page:
        fields = {**forms[number].fields, "password": f"insecure password {number}", "otp": code}
        return visitors[number].submit(link, fields)

    with ThreadPoolExecutor(len(visitors)) as pool:
        pages = list(pool.map(complete, range(len(visitors))))
    assert sorted(page.status for page in pages) == [200] + [404] * 7
    winner = next(number for number, page in enumerate(pages) if page.status == 200)
    assert len(cluster.events("user.password_change")) == 1
    olivia.home.mkdir()
    olivia.password = f"insecure password {winner}"
    cluster.sign_in(olivia)


def test_page_that_was_filled_in_wrongly_spends_nothing(harbour: Harbour) -> None:
    cluster = harbour.cluster
    link = cluster.invite("peggy")
    visitor = Visitor(cluster.anchors)
    form = Form(visitor.get(link).text)
    peggy = person(cluster, "peggy")
    peggy.secret = form.secret
    short = visitor.submit(link, {**form.fields, "password": "short", "otp": peggy.next_code()})
    assert short.status == 422
    assert "too short" in short.text
    wrong = visitor.submit(link, {**form.fields, "password": peggy.password, "otp": peggy.wrong_code()})
    assert wrong.status == 422
    assert "six digits are not right" in wrong.text
    assert cluster.accept(link, peggy).status == 200


def test_form_from_another_site_is_refused(harbour: Harbour) -> None:
    cluster = harbour.cluster
    link = cluster.invite("rupert")
    form = Form(Visitor(cluster.anchors).get(link).text)
    rupert = person(cluster, "rupert")
    rupert.secret = form.secret
    stranger = Visitor(cluster.anchors)  # it has the fields and not the cookie
    page = stranger.submit(link, {**form.fields, "password": rupert.password, "otp": rupert.next_code()})
    assert page.status == 403
    assert cluster.accept(link, rupert).status == 200
