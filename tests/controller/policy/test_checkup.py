from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.policy.checkup import (
    Certificate,
    Clock,
    Directory,
    Disk,
    Door,
    Finding,
    Fleet,
    Name,
    State,
    Unit,
    exit_status,
    judge_audit,
    judge_backup,
    judge_broker,
    judge_certificate,
    judge_clock,
    judge_directory,
    judge_disk,
    judge_doors,
    judge_files,
    judge_fleet,
    judge_key,
    judge_names,
    judge_rotation,
    judge_running,
    judge_units,
    summarise,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GIB = 1024**3
HERE = "/var/lib/skerry"
GONE = Unit(is_known=False)
UP = Unit(is_known=True, is_active=True, is_enabled=True)


def assert_mends(*findings: Finding) -> None:
    """See that what is not well comes with what to do about it, and what is well does not."""
    for finding in findings:
        assert bool(finding.mend) == (finding.state != "ok"), finding


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (Directory(HERE, "skerry", wanted="skerry"), "ok", "skerry's alone"),
        (Directory(HERE, "root"), "ok", "root's alone"),
        (Directory(HERE, ""), "warn", "is not there"),
        (Directory(HERE, "skerry", 0o750), "fail", "mode 0750"),
        (Directory(HERE, "skerry", strangers=["store/a.json"]), "fail", "store/a.json"),
        (Directory(HERE, "skerry", strangers=list("abcdefg")), "fail", "a, b, c, d, e and 2 more"),
        (Directory(HERE, "root", wanted="skerry"), "warn", "belongs to root"),
    ],
)
def test_the_data_directory_is_its_owner_s_alone(found: Directory, state: State, said: str) -> None:
    finding = judge_directory(found)
    assert (finding.state, said in finding.found) == (state, True)
    assert_mends(finding)


@pytest.mark.parametrize(
    ("free", "total", "inodes", "state"),
    [
        (50 * GIB, 100 * GIB, None, "ok"),
        (50 * GIB, 100 * GIB, 10**6, "ok"),
        (GIB // 2, 2 * GIB, None, "ok"),  # a small disk, of which much is free
        (GIB // 2, 100 * GIB, None, "warn"),
        (1000, 100 * GIB, None, "fail"),
        (50 * GIB, 100 * GIB, 12, "warn"),
    ],
)
def test_a_disk_that_fills_up_is_told_before_it_is_full(
    free: int, total: int, inodes: int | None, state: State
) -> None:
    finding = judge_disk(Disk(HERE, free, total, inodes))
    assert finding.state == state
    assert_mends(finding)


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (Clock(NOW, NOW - DAY, is_synchronised=True), "ok", "kept right"),
        (Clock(NOW, None, is_synchronised=None), "ok", "2026-11-23"),
        (Clock(NOW, NOW + timedelta(seconds=30), is_synchronised=True), "ok", "kept right"),
        (Clock(NOW, None, is_synchronised=False), "warn", "nobody keeps it right"),
        (Clock(NOW.replace(year=1970), None, is_synchronised=False), "fail", "1970"),
        (Clock(NOW, NOW + DAY, is_synchronised=True), "fail", "an event of 2026-11-24"),
    ],
)
def test_a_clock_that_cannot_be_right_is_told(found: Clock, state: State, said: str) -> None:
    finding = judge_clock(found)
    assert (finding.state, said in finding.found) == (state, True)
    assert_mends(finding)


def test_each_door_is_told_with_what_is_wrong_with_it() -> None:
    found = list(judge_doors([Door("web", "h:3080"), Door("client", "h:3023", "nothing answers")]))
    assert [(each.check, each.state, each.found) for each in found] == [
        ("web door", "ok", "h:3080 answers"),
        ("client door", "fail", "h:3023: nothing answers"),
    ]
    assert_mends(*found)


def test_a_controller_that_does_not_run_is_a_warning_and_ports_that_cannot_be_had_are_worse() -> None:
    idle = list(judge_running(runs=False, ports="", processes=()))
    assert [each.state for each in idle] == ["warn", "ok"]
    blocked = list(judge_running(runs=False, ports="cannot listen on 0.0.0.0:3080", processes=()))
    assert [each.state for each in blocked] == ["warn", "fail"]
    told = list(judge_running(runs=False, ports="", processes=(), is_told=True))
    assert [each.check for each in told] == ["ports"]
    low = list(judge_running(runs=False, ports="", low=["0.0.0.0:443 (proxy_service.web_listen_addr)"], processes=()))
    assert [(each.state, "0.0.0.0:443" in each.found) for each in low] == [("warn", False), ("warn", True)]
    assert_mends(*low)
    running = list(judge_running(runs=True, ports="", processes=[("proxy", True), ("web", True)]))
    assert [(each.state, each.found) for each in running] == [("ok", "it runs, all 2 processes")]
    hung = list(judge_running(runs=True, ports="", processes=[("proxy", True)], hung={"web": 1, "broker": 2}))
    assert [finding.state for finding in hung] == ["ok", "warn"]
    assert hung[1].found == "these did not answer, and were started anew: broker (2x), web (1x)"
    limping = list(judge_running(runs=True, ports="", processes=[("proxy", False), ("web", True)]))
    assert [(each.state, each.found) for each in limping] == [("fail", "it runs, but not proxy")]
    assert_mends(*idle, *blocked, *running, *limping)


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (Certificate("it", NOW + 60 * DAY), "ok", "good until"),
        (Certificate("it", NOW + 10 * DAY), "warn", "good until"),
        (Certificate("it", NOW + 10 * DAY, is_own=False), "warn", "good until"),
        (Certificate("it", NOW - DAY), "fail", "expired"),
        (Certificate("it", NOW + 60 * DAY, ["skerry.example.com"]), "fail", "not good for skerry.example.com"),
        (Certificate("it", NOW + 60 * DAY, ["x.example"], is_own=False), "fail", "not good for x.example"),
        (Certificate("it", NOW + 60 * DAY, is_authority=True), "warn", "good until"),
        (Certificate("it", NOW + 100 * DAY, is_authority=True), "ok", "good until"),
    ],
)
def test_a_certificate_is_told_of_in_time(found: Certificate, state: State, said: str) -> None:
    finding = judge_certificate(found, NOW)
    assert (finding.state, said in finding.found) == (state, True)
    assert_mends(finding)


def test_names_that_lead_nowhere_are_told_and_so_is_a_controller_without_one() -> None:
    found = list(
        judge_names(
            [Name("a.example", "proxy_service.public_addr", ["192.0.2.1"]), Name("b.example", "mqtt.url", (), "no")]
        )
    )
    assert [(each.state, each.found) for each in found] == [("ok", "192.0.2.1"), ("fail", "it does not resolve: no")]
    none = list(judge_names([]))
    assert [each.state for each in none] == ["warn"]
    assert_mends(*found, *none)


@pytest.mark.parametrize(
    ("phase", "changed", "state"),
    [
        ("standby", None, "ok"),
        ("init", NOW - DAY, "ok"),
        ("update_servers", NOW - 31 * DAY, "warn"),
        ("init", None, "ok"),
    ],
)
def test_a_rotation_that_stands_still_is_told(phase: str, changed: datetime | None, state: State) -> None:
    finding = judge_rotation("host", phase, changed, NOW)
    assert finding.state == state
    assert_mends(finding)


def test_a_broker_that_is_down_is_told_with_where_to_look() -> None:
    well = [judge_broker("mosquitto", "", runs=True), judge_broker("none", "", runs=False)]
    down = [judge_broker("mosquitto", "down", runs=runs) for runs in (True, False)]
    down.append(judge_broker("external", "down", runs=True))
    assert {each.state for each in well} == {"ok"}
    assert {each.state for each in down} == {"fail"}
    assert len({each.mend for each in down}) == 3
    assert_mends(*well, *down)


def test_the_key_and_the_audit_log_are_well_or_fail() -> None:
    well, lost = judge_key("/k", ""), judge_key("/k", "it is not there")
    intact, broken = judge_audit(7, ""), judge_audit(0, "line 3 was changed")
    assert [each.state for each in (well, lost, intact, broken)] == ["ok", "fail", "ok", "fail"]
    assert_mends(well, lost, intact, broken)


def test_nodes_that_are_away_are_named_and_many_point_to_this_host() -> None:
    well = list(judge_fleet(Fleet(3)))
    some = list(judge_fleet(Fleet(3, ["edge-1"], waiting=2, files=4, bytes=4096)))
    most = list(judge_fleet(Fleet(3, ["edge-1", "edge-2"], bytes=2 * GIB, files=3)))
    assert [each.state for each in (*well, *some, *most)] == ["ok", "ok", "warn", "ok", "warn", "warn"]
    assert "edge-1, 2 waiting for approval" in some[0].found
    assert "4 recordings wait" in some[1].found
    assert "this host first" in most[0].mend
    assert_mends(*well, *some, *most)


@pytest.mark.parametrize(("last", "state"), [(None, "warn"), (NOW - DAY, "ok"), (NOW - 8 * DAY, "warn")])
def test_a_backup_that_is_old_is_told(last: datetime | None, state: State) -> None:
    finding = judge_backup(last, NOW)
    assert finding.state == state
    assert_mends(finding)


@pytest.mark.parametrize(
    ("limit", "nodes", "state"), [(None, 10**6, "ok"), (4096, 0, "ok"), (1024, 0, "warn"), (4096, 5000, "warn")]
)
def test_the_file_limit_goes_by_the_fleet(limit: int | None, nodes: int, state: State) -> None:
    finding = judge_files(limit, nodes)
    assert finding.state == state
    assert_mends(finding)


@pytest.mark.parametrize(
    ("service", "runs", "state"),
    [
        (GONE, True, "ok"),
        (UP, True, "ok"),
        (Unit(is_known=True), True, "warn"),
        (Unit(is_known=True), False, "fail"),
        (Unit(is_known=True, is_active=True), True, "warn"),
    ],
)
def test_the_service_is_to_run_and_to_come_back(service: Unit, runs: bool, state: State) -> None:
    found = list(judge_units(service, GONE, runs=runs, has_own_broker=True))
    assert [each.state for each in found] == [state]
    assert_mends(*found)


def test_a_broker_that_the_package_started_is_told_where_nobody_needs_it() -> None:
    assert [each.state for each in judge_units(UP, UP, runs=True, has_own_broker=True)] == ["ok", "warn"]
    assert [each.state for each in judge_units(UP, UP, runs=True, has_own_broker=False)] == ["ok"]
    assert [each.state for each in judge_units(None, None, runs=True, has_own_broker=True)] == ["ok"]


def test_only_what_fails_makes_a_status_of_one() -> None:
    ok, warn, fail = (Finding("a", state, "b", "c") for state in ("ok", "warn", "fail"))
    assert [exit_status([ok]), exit_status([ok, warn]), exit_status([warn, fail, ok])] == [0, 0, 1]
    assert fail.to_dict() == {"check": "a", "state": "fail", "found": "b", "mend": "c"}


@pytest.mark.parametrize("module", ["policy/checkup.py", "operations/doctor.py"])
def test_what_is_said_to_stand_in_the_runbook_stands_there(module: str) -> None:
    root = Path(__file__).parents[3]
    named = re.findall(r"\{RUNBOOK\}, “(.+?)”", (root / "controller" / module).read_text(encoding="utf-8"))
    page = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    assert named
    assert [name for name in named if f"### {name}\n" not in page] == []


def test_what_is_found_is_summed_up() -> None:
    well, odd, bad = Finding("a", "ok", ""), Finding("b", "warn", "", "look"), Finding("c", "fail", "", "mend")
    assert summarise([well, well]) == "nothing is wrong"
    assert summarise([well, odd]) == "0 to mend, 1 to know of"
    assert summarise([bad, odd, bad]) == "2 to mend, 1 to know of"
