"""The audit log, the overview, live sessions and recordings, for programs."""

from __future__ import annotations

import csv
import gc
import io
import json
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from protocol import endpoints
from protocol.audit_pages import AuditEvents
from protocol.fleet_sessions import SessionList
from protocol.session_details import RecordingCheck, SessionTimeline
from tests.controller.web.v1.office import ADMIN, AUDITOR, BASE, LIVE, PLAIN, Office, error_of


def page(office: Office, **query: object) -> AuditEvents:
    response = office.ask(AUDITOR, endpoints.AUDIT, query=query)
    assert response.status_code == 200, response.text
    return AuditEvents.from_dict(response.get_json())


def test_the_log_is_read_page_by_page_from_its_newest_event(office: Office) -> None:
    written = [each["uid"] for each in office.told()]
    seen, query = [], {"limit": 3}
    while True:
        found = page(office, **query)
        seen += [each["uid"] for each in found.events]
        if found.next is None:
            break
        query = {"limit": 3, "cursor": found.next}  # type: ignore[dict-item]  # what stands in an address is text
    assert seen == written[::-1]


def test_the_log_is_filtered_by_all_that_the_page_filters_by(office: Office) -> None:
    assert {each["event"] for each in page(office, event=["user.create", "lock.created"]).events} == {
        "user.create",
        "lock.created",
    }
    assert {each["code"] for each in page(office, code="TLK00I").events} == {"TLK00I"}
    assert all(PLAIN in json.dumps(each) for each in page(office, text=PLAIN.upper()).events)
    assert page(office, user="nobody").events == ()
    assert page(office, node=office.nodes["gate"], session=LIVE).events == ()
    now = int(office.lab.clock().timestamp() * 1000)
    assert page(office, since=now + 1).events == ()
    assert page(office, until=now).events == ()


def test_a_question_to_the_log_that_makes_no_sense_is_refused(office: Office) -> None:
    wrong = {
        "event": "no.such",
        "code": "X",
        "since": "yesterday",
        "until": "-1",
        "session": "x",
        "cursor": "x",
        "limit": "0",
    }
    for name, value in wrong.items():
        response = office.ask(AUDITOR, endpoints.AUDIT, query={name: value})
        assert response.status_code == 400, name
        assert error_of(response).startswith(f"{name}: ")


def test_an_export_holds_a_line_for_each_event_and_is_told_to_the_log_before(office: Office) -> None:
    response = office.ask(AUDITOR, endpoints.AUDIT_EXPORT, query={"event": "user.create"})
    assert (response.status_code, response.mimetype) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in response.data.splitlines()]
    assert [line["name"] for line in lines] == [PLAIN, AUDITOR, ADMIN]
    told = office.told("audit.export")
    assert [(each["user"], each["count"], each["filter"]) for each in told] == [(AUDITOR, 3, "event=user.create")]


def test_an_export_comes_as_csv_where_that_is_asked_for_and_as_nothing_else(office: Office) -> None:
    response = office.ask(AUDITOR, endpoints.AUDIT_EXPORT, query={"event": "user.create", "format": "csv"})
    assert (response.status_code, response.mimetype) == (200, "text/csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [json.loads(row["json"])["name"] for row in rows] == [PLAIN, AUDITOR, ADMIN]
    told = office.told("audit.export")
    assert [(each["count"], each["filter"]) for each in told] == [(3, "event=user.create")]
    refused = office.ask(AUDITOR, endpoints.AUDIT_EXPORT, query={"format": "xml"})
    assert (refused.status_code, error_of(refused)) == (400, "format: not one of jsonl, csv")
    assert len(office.told("audit.export")) == 1


@contextmanager
def all_closed() -> Iterator[None]:
    """What is opened in here is closed in here: nothing is left for the garbage collector to close."""
    gc.collect()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(each.message) for each in left] == []


@contextmanager
def no_longer_files(most: int) -> Iterator[None]:
    """Nothing is written past so many bytes of a file, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_export_that_nobody_reads_to_the_end_leaves_no_file_open(office: Office, method: str) -> None:
    headers = {"Authorization": f"Bearer {office.tokens[AUDITOR]}"}
    with all_closed():
        response = office.api.open(endpoints.AUDIT_EXPORT.path, method=method, base_url=BASE, headers=headers)
        status = response.status_code
        response.close()  # the server does, when its client has gone away
        del response
    assert status == 200
    assert len(office.told("audit.export")) == 1


def test_an_export_that_the_log_cannot_be_told_of_is_not_handed_out_and_leaves_no_file_open(
    office: Office, tmp_path: Path
) -> None:
    (log,) = (tmp_path / "log").glob("audit-*.log")
    with all_closed(), no_longer_files(log.stat().st_size):
        status = office.ask(AUDITOR, endpoints.AUDIT_EXPORT).status_code
    assert status == 503
    assert office.told("audit.export") == []


def test_the_logs_chain_is_checked(office: Office) -> None:
    answer = office.ask(AUDITOR, endpoints.AUDIT_VERIFICATION).get_json()
    assert (answer["state"], answer["lines"]) == ("intact", len(office.told()))


def test_the_overview_tells_everybody_what_they_may_know(office: Office) -> None:
    mine, all_ = (office.ask(who, endpoints.OVERVIEW).get_json() for who in (PLAIN, ADMIN))
    assert (mine["nodes"]["total"], mine["changes"], mine["beginning"]) == (3, None, None)
    assert (all_["nodes"]["total"], all_["nodes"]["pending"], all_["sessions"]) == (5, 2, 1)
    assert all_["beginning"]["device"] is True


def test_live_sessions_are_listed_with_whether_one_may_join(office: Office) -> None:
    found = {
        who: SessionList.from_dict(office.ask(who, endpoints.SESSIONS).get_json()).sessions
        for who in (PLAIN, AUDITOR, ADMIN)
    }
    assert {who: [(each.live.session, each.may_join) for each in entries] for who, entries in found.items()} == {
        PLAIN: [(LIVE, True)],
        AUDITOR: [(LIVE, False)],
        ADMIN: [(LIVE, True)],
    }


def test_what_happened_in_a_session_is_told_to_who_may_see_it(office: Office) -> None:
    live = SessionTimeline.from_dict(office.ask(PLAIN, endpoints.RECORDING_TIMELINE, session=LIVE).get_json())
    assert (live.is_live, live.hostname, live.login, live.participants) == (True, "gate", "pi", (PLAIN,))
    past = SessionTimeline.from_dict(
        office.ask(AUDITOR, endpoints.RECORDING_TIMELINE, session=office.tape.session).get_json()
    )
    assert (past.is_live, past.hostname, past.user) == (False, "gw-1", PLAIN)
    assert any("recording begins" in moment.text for moment in past.moments)


def test_a_recording_is_checked_and_handed_out_and_that_is_told(office: Office) -> None:
    session = office.tape.session
    checked = RecordingCheck.from_dict(office.ask(PLAIN, endpoints.RECORDING_VERIFICATION, session=session).get_json())
    assert (checked.outcome, checked.signer_known, checked.fault_at) == ("intact", True, None)
    assert checked.done == checked.size
    assert checked.records >= checked.sealed > 0
    assert office.told("session.recording.access") == []
    cast = office.ask(PLAIN, endpoints.RECORDING_CAST, session=session)
    assert (cast.status_code, cast.mimetype) == (200, "application/x-asciicast")
    assert json.loads(cast.data.splitlines()[0])["version"] == 2
    assert [(each["user"], each["format"]) for each in office.told("session.recording.access")] == [(PLAIN, "cast")]
