from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta

import pytest

from controller.web.audit import PAGE_SIZE, guarded
from protocol import events, limits
from protocol.events import Json
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import text_of
from tests.controller.web.screening import Screening


@pytest.fixture
def show(lab: Lab) -> Screening:
    return Screening(lab)


def summaries(show: Screening, query: str = "", who: str = "ada") -> list[str]:
    page = show.browser(who).get(f"/web/audit{query}")
    assert page.status_code == 200, page.text
    parts = page.text.split('<span class="said"><bdi>')[1:]
    return [part.split("</bdi>")[0].replace("&#39;", "'") for part in parts]


def logged_out(show: Screening, *users: str) -> None:
    for user in users:
        show.lab.audit.write(events.USER_LOGOUT, {"user": user, "addr.remote": "192.0.2.1:1"})


@pytest.mark.parametrize("path", ["/web/audit", "/web/audit/chain", "/web/audit/export"])
def test_the_audit_log_is_for_those_who_may_read_it(show: Screening, path: str) -> None:
    assert show.browser("alice").get(path).status_code == 403
    for who in ("ada", "root"):
        response = show.browser(who).get(path)
        assert (response.status_code, bool(response.data)) == (200, True)
    assert show.browser("").get(path).status_code == 303
    denied = show.events("access.denied")
    assert [(event["user"], event["path"]) for event in denied] == [("alice", path)]


def test_who_tries_a_door_again_and_again_is_told_of_once_and_then_with_a_count(
    show: Screening, clock: HandClock
) -> None:
    plain, bob = show.browser("alice"), show.browser("bob")
    for _ in range(30):
        assert plain.get("/web/audit").status_code == 403
    assert plain.get("/web/users").status_code == 403
    assert bob.get("/web/audit").status_code == 403
    told = [(event["user"], event["path"], event.get("count")) for event in show.events("access.denied")]
    assert told == [("alice", "/web/audit", None), ("alice", "/web/users", None), ("bob", "/web/audit", None)]
    clock.pass_(limits.REFUSAL_AGAIN)
    bob.get("/web/users")
    told = [(event["user"], event["path"], event.get("count")) for event in show.events("access.denied")][3:]
    assert told == [("alice", "/web/audit", 29), ("bob", "/web/users", None)]
    assert "alice was refused GET /web/audit 29 times" in " ".join(summaries(show))


def test_who_tries_doors_asks_too_often(lab: Lab, show: Screening) -> None:
    show.app = lab.app(per_minute=5)
    answers = [show.browser("alice").get("/web/audit").status_code for _ in range(7)]
    assert answers == [403] * 5 + [429] * 2


def test_several_kinds_may_be_asked_for_and_home_s_links_do(show: Screening, clock: HandClock) -> None:
    failed = dict.fromkeys(events.USER_LOGIN_FAILED.fields, "x")
    show.lab.audit.write(events.USER_LOGIN_FAILED, {**failed, "user": "long-ago"})
    clock.pass_(timedelta(hours=25))
    show.tokens["ada"] = show.lab.session("ada", "web", clock() + timedelta(days=1))
    show.lab.audit.write(events.USER_LOGIN_FAILED, {**failed, "user": "mallory"})
    show.lab.audit.write(events.USER_LOGIN, {**dict.fromkeys(events.USER_LOGIN.fields, "x"), "user": "bob"})
    for kind in (events.CA_ROTATE, events.RECORDING_KEY_ROTATE):
        show.lab.audit.write(kind, dict.fromkeys(kind.fields, "x"))
    links = re.findall(r'href="(/web/audit\?kind=[^"]+)"', show.browser("ada").get("/web/home").text)
    shown = [summaries(show, link.replace("&amp;", "&").removeprefix("/web/audit")) for link in links]
    assert sorted(len(each) for each in shown) == [1, 2]
    assert "A sign-in as mallory failed" in str(shown)
    page = show.browser("ada").get("/web/audit?kind=T1000W,T1000I").text
    assert '<option value="T1000W,T1000I" selected>T1000W, T1000I</option>' in page


@pytest.mark.parametrize(
    "days", ["from=0001-01-01", "to=0001-01-01", "to=9999-12-31", "from=9999-12-31", "to=9998-12-31"]
)
def test_any_day_is_a_day(show: Screening, days: str) -> None:
    logged_out(show, "bob")
    for path in ("", "/export"):
        assert show.browser("ada").get(f"/web/audit{path}?{days}").status_code == 200


def test_events_are_told_in_sentences_the_newest_first_and_open_to_their_json(show: Screening) -> None:
    logged_out(show, "bob", "carol")
    page = show.browser("ada").get("/web/audit")
    assert summaries(show)[:2] == ["carol signed out", "bob signed out"]
    assert "<details" in page.text
    assert "&#34;event&#34;: &#34;user.logout&#34;" in page.text


def test_the_filter_is_what_the_address_says(show: Screening, clock: HandClock) -> None:
    logged_out(show, "bob", "carol")
    show.tell_session(show.short(user="alice"))
    assert summaries(show, "?kind=SK002I&user=bob") == ["bob signed out"]
    assert summaries(show, "?kind=user.logout") == ["carol signed out", "bob signed out"]
    assert len(summaries(show, "?node=gw-1")) == 2
    assert summaries(show, "?text=192.0.2.7&kind=T2000I")[0].startswith("alice began a session")
    assert summaries(show, "?kind=SK002I&from=2026-11-23") == []
    assert len(summaries(show, "?kind=SK002I&to=2026-11-22&last=7d")) == 2
    page = show.browser("ada").get("/web/audit?kind=SK002I&user=bob&text=%22x").text
    assert '<option value="SK002I" selected>' in page
    assert 'value="bob"' in page
    assert 'value="&#34;x"' in page
    assert clock().year == 2026


def test_a_filter_that_finds_nothing_says_so(show: Screening) -> None:
    assert "No event matches" in text_of(show.browser("ada").get("/web/audit?user=nobody&kind=nonsense"))


def test_older_events_are_reached_by_a_cursor_that_keeps_the_filter(show: Screening) -> None:
    logged_out(show, *(f"user-{number}" for number in range(PAGE_SIZE + 10)))
    page = show.browser("ada").get("/web/audit?kind=SK002I").text
    older = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "kind=SK002I" in older
    first, second = summaries(show, "?kind=SK002I"), summaries(show, older)
    assert len(first) == PAGE_SIZE
    assert second == [f"user-{number} signed out" for number in range(9, -1, -1)]


@pytest.mark.parametrize("cursor", ["x", "2026-11-22.99999999", "../../etc.1"])
def test_a_cursor_that_is_none_is_refused(show: Screening, cursor: str) -> None:
    assert show.browser("ada").get(f"/web/audit?before={cursor}").status_code == 400


def test_hostile_values_are_shown_as_text(show: Screening) -> None:
    error = "<script>alert(1)</script>\x1b[2J\u202e"
    fields: dict[str, Json] = {"success": False, "error": error, "addr.remote": "192.0.2.1:1", "node_name": "<b>x</b>"}
    show.lab.audit.write(events.INSTANCE_JOIN_FAILED, fields)
    page = show.browser("ada").get("/web/audit").text
    assert "<script>alert" not in page
    assert "<b>x</b>" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_an_export_as_json_lines_is_the_filtered_view_and_is_told_to_the_log(show: Screening) -> None:
    logged_out(show, "bob", "carol")
    response = show.browser("ada").get("/web/audit/export?kind=SK002I&user=bob&format=jsonl")
    (event,) = [json.loads(line) for line in response.text.splitlines()]
    assert (event["user"], event["code"]) == ("bob", "SK002I")
    assert response.headers["Content-Disposition"].startswith('attachment; filename="audit-2026-')
    (export,) = show.events("audit.export")
    assert (export["user"], export["count"], export["filter"]) == ("ada", 1, "kind=SK002I&user=bob")


def test_an_export_as_csv_has_no_cell_that_a_spreadsheet_would_run(show: Screening) -> None:
    logged_out(show, "=cmd|'/c calc'!A1", "@sum(1)", "+1", "-1", "\tx", 'plain, "quoted"')
    response = show.browser("ada").get("/web/audit/export?kind=SK002I&format=csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [event["count"] for event in show.events("audit.export")] == [6]
    assert len(rows) == 6
    assert [row["user"] for row in rows] == ['plain, "quoted"', "'\tx", "'-1", "'+1", "'@sum(1)", "'=cmd|'/c calc'!A1"]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for row in rows for cell in row.values())
    assert json.loads(rows[0]["json"])["user"] == 'plain, "quoted"'


def test_an_export_in_another_form_is_refused(show: Screening) -> None:
    assert show.browser("ada").get("/web/audit/export?format=exe").status_code == 400
    assert show.events("audit.export") == []


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_formula_is_quoted_and_other_text_is_not(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"
    assert guarded(f"x{cell}") == f"x{cell}"
    assert guarded("") == ""


def test_the_state_of_the_chain_is_shown_with_when_and_the_last_hash(show: Screening) -> None:
    page = show.browser("ada").get("/web/audit/chain").text
    assert "The log is as it was written" in page
    last = show.lab.audit.verify()
    assert last.last_hash in page  # type: ignore[union-attr]  # intact
    assert "The log is as it was written" in show.browser("ada").get("/web/audit?chain=1").text


def test_a_line_that_was_changed_is_told_with_its_place(show: Screening, lab: Lab) -> None:
    logged_out(show, "bob", "carol")
    (path,) = lab.audit.files()
    path.write_bytes(path.read_bytes().replace(b'"bob"', b'"eve"'))
    page = show.browser("ada").get("/web/audit/chain").text
    assert "The log is not as it was written" in page
    assert f"{path.name}, line " in page
