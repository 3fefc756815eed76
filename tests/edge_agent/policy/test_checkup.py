"""What a doctor makes of what it found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edge_agent.policy.checkup import Finding, has_failed, judge
from edge_agent.policy.checkup_facts import (
    AgentFacts,
    ClockFacts,
    DirectoryFacts,
    DiskFacts,
    Facts,
    IdentityFacts,
    NameFacts,
    PortFacts,
    ServiceFacts,
    SpoolFacts,
    UpgradeFacts,
    VersionFacts,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MIB = 2**20
DIRECTORY = "/var/lib/skerry-agent"
WELL = Facts(
    now=NOW,
    is_root=True,
    controller="skerry.example.com:3080",
    settings="",
    clock=ClockFacts(NOW, timedelta(), is_measured=True),
    name=NameFacts("skerry.example.com", ("203.0.113.1",)),
    ports=(PortFacts("web", "skerry.example.com:3080", "ok", "it answers"),),
    identity=IdentityFacts(
        "joined", "", "edge-1", "id-1", "harbour", 3, NOW + timedelta(days=20), NOW + timedelta(days=10)
    ),
    directory=DirectoryFacts(DIRECTORY, 0, 0, 0o700),
    disk=DiskFacts(DIRECTORY, 900 * MIB, 1000 * MIB, 64 * MIB, 50_000, 60_000),
    spool=SpoolFacts(1, 4096, 512 * MIB),
    service=ServiceFacts(
        has_systemd=True, load="loaded", active="active", enabled="enabled", result="success", watchdog=30.0
    ),
    agent=AgentFacts("0.1.0", is_online=True, text="online as edge-1, 0 sessions"),
    version=VersionFacts("0.1.0", "0.1.0", "0.1.0", (3, 11, 2)),
    upgrade=UpgradeFacts(),
)


def find(facts: Facts, check: str) -> Finding:
    return next(finding for finding in judge(facts) if finding.check == check)


def states(facts: Facts) -> set[str]:
    return {f"{finding.check}: {finding.state}" for finding in judge(facts) if finding.state != "ok"}


def test_a_device_that_is_well_has_nothing_to_mend() -> None:
    assert states(WELL) == set()
    assert not has_failed(judge(WELL))
    assert all(not finding.mend and not finding.command for finding in judge(WELL))


def test_a_service_that_does_not_run_is_one_fault_and_not_two() -> None:
    stopped = replace(with_part("service", active="inactive"), agent=AgentFacts())
    assert states(stopped) == {"service: fail", "agent: warn"}
    assert not find(stopped, "agent").command


def test_a_device_that_has_not_joined_is_told_how_and_not_to_start_what_would_fail() -> None:
    facts = replace(
        with_part("service", active="inactive"), identity=IdentityFacts("none"), agent=AgentFacts(), controller=""
    )
    assert find(facts, "service").state == find(facts, "agent").state == "ok"
    assert find(facts, "identity").command.startswith("edge-agent install --controller ")
    assert [finding.check for finding in judge(facts) if finding.mend] == ["settings", "identity"]
    assert has_failed(judge(facts))
    assert not any("systemctl" in finding.command for finding in judge(facts))


def test_settings_that_cannot_be_used_are_tried_by_the_path_that_they_have() -> None:
    facts = replace(WELL, settings="/srv/my agent.yaml:3: no", settings_file="/srv/my agent.yaml")
    assert find(facts, "settings").command == "edge-agent configure --test '/srv/my agent.yaml'"


def with_part(part: str, **changes: Any) -> Facts:  # noqa: ANN401 - whatever that part has
    return replace(WELL, **{part: replace(getattr(WELL, part), **changes)})


FAULTS = [
    (replace(WELL, is_root=False), "access: warn", "not run as root"),
    (replace(WELL, settings="edge_agent.yaml:3: no"), "settings: fail", "edge_agent.yaml:3: no"),
    (replace(WELL, controller="", name=None, ports=()), "settings: warn", "no controller is named"),
    (with_part("version", python=(3, 10, 9)), "python: fail", "Python 3.10.9"),
    (with_part("version", controller="0.2.0"), "version: warn", "0.1.0; the controller has 0.2.0"),
    (with_part("version", controller="0.0.9"), "version: warn", "newer than the controller's 0.0.9"),
    (with_part("version", installed="0.2.0", controller="0.2.0"), "version: warn", "0.1.0 runs, and 0.2.0"),
    (with_part("version", package="0.2.0"), "package: warn", "dpkg names 0.2.0, and the files are those of 0.1.0"),
    (with_part("upgrade", state="running", old="1", new="2"), "upgrade: fail", "from 1 to 2 was cut off"),
    (with_part("upgrade", state="running", is_carried=True), "upgrade: warn", "one goes on"),
    (with_part("upgrade", state="running", old="1", new="2", has_unit=True), "upgrade: fail", "1 to 2 stands still"),
    (with_part("upgrade", state="rolled_back", reason="no"), "upgrade: warn", "was rolled back: no"),
    (with_part("clock", ahead=timedelta(days=-365)), "clock: warn", "365 days behind the controller's"),
    (with_part("clock", ahead=timedelta(seconds=90, milliseconds=7)), "clock: warn", "90 seconds ahead of"),
    (with_part("clock", ahead=timedelta(minutes=3)), "clock: warn", "ahead of the controller's"),
    (with_part("clock", ahead=None, device=datetime(1970, 1, 1, tzinfo=UTC)), "clock: warn", "was never set"),
    (with_part("directory", owner=1000), "data: fail", "belongs to user 1000"),
    (with_part("directory", mode=0o750), "data: fail", "mode 0750"),
    (with_part("directory", loose=("host_key has the mode 0644",)), "data: fail", "host_key"),
    (with_part("disk", free=100 * MIB), "disk: warn", "100 MiB of"),
    (with_part("disk", free=10 * MIB), "disk: fail", "no session is recorded"),
    (with_part("disk", is_read_only=True), "disk: fail", "read-only"),
    (with_part("disk", free_inodes=0), "disk: fail", "no inodes"),
    (with_part("disk", free_inodes=10), "disk: warn", "10 inodes"),
    (with_part("spool", size=500 * MIB), "spool: warn", "of 512 MiB"),
    (with_part("spool", refused=2), "spool: warn", "refused 2 more"),
    (with_part("service", load="not-found"), "service: warn", "no unit"),
    (with_part("service", active="failed", exit_status=2), "service: fail", "cannot use its settings"),
    (with_part("service", active="failed", result="watchdog"), "service: fail", "failed (watchdog)"),
    (with_part("service", active="inactive"), "service: fail", "it is inactive"),
    (with_part("service", enabled="disabled"), "service: warn", "is disabled"),
    (with_part("service", restarts=7), "service: warn", "7 times"),
    (with_part("service", watchdog=0.0), "service: warn", "nobody watches"),
    (replace(WELL, agent=AgentFacts()), "agent: fail", "none runs"),
    (with_part("agent", is_online=False, text="offline as edge-1"), "agent: fail", "offline as edge-1"),
    (replace(WELL, identity=IdentityFacts("none")), "identity: fail", "has not joined"),
    (with_part("identity", standing="broken", text="not JSON"), "identity: fail", "not JSON"),
    (with_part("identity", standing="pending"), "identity: warn", "waits for approval"),
    (with_part("identity", lock="lock targeting Node"), "identity: fail", "lock targeting Node"),
    (with_part("identity", valid_before=NOW), "certificates: fail", "expired since 23 Nov 2026 12:00 UTC"),
    (with_part("identity", due=NOW - timedelta(days=2)), "certificates: warn", "to be renewed since"),
    (with_part("name", problem="no such name"), "name: fail", "does not resolve: no such name"),
]


@pytest.mark.parametrize(("facts", "state", "found"), FAULTS, ids=[f"{state} {found}" for _, state, found in FAULTS])
def test_one_fault_is_one_finding_with_its_mend(facts: Facts, state: str, found: str) -> None:
    assert states(facts) == {state}
    finding = find(facts, state.partition(":")[0])
    assert found in finding.found
    assert finding.mend or finding.check == "upgrade"
    assert has_failed(judge(facts)) == state.endswith("fail")


@pytest.mark.parametrize(
    ("state", "mend"),
    [("closed", "TCP port 3024"), ("untrusted", "compare the pin"), ("refused", "removed or locked")],
)
def test_a_port_is_mended_by_what_is_wrong_with_it(state: Any, mend: str) -> None:  # noqa: ANN401 - a literal
    port = PortFacts("tunnel", "skerry.example.com:3024", state, "no")
    finding = find(replace(WELL, ports=(port,)), "port tunnel")
    assert finding.state == "fail"
    assert finding.found == "skerry.example.com:3024: no"
    assert mend in finding.mend


def test_a_clock_that_is_right_but_for_seconds_is_right() -> None:
    assert states(with_part("clock", ahead=timedelta(seconds=59))) == set()


def test_renewal_has_a_day_before_anybody_need_look() -> None:
    assert states(with_part("identity", due=NOW - timedelta(hours=23))) == set()


def test_a_device_that_has_not_joined_need_not_run_an_agent() -> None:
    facts = replace(WELL, identity=IdentityFacts("none"), agent=AgentFacts())
    assert states(facts) == {"identity: fail"}


@pytest.mark.parametrize("standing", ["none", "joined"])
def test_a_device_without_systemd_is_told_of_none_of_its_commands(standing: Any) -> None:  # noqa: ANN401 - a literal
    facts = replace(with_part("identity", standing=standing), service=ServiceFacts(False), agent=AgentFacts())
    assert find(facts, "service").state == "ok"
    assert not any(word in finding.command for finding in judge(facts) for word in ("systemctl", "journalctl"))
    assert find(facts, "identity" if standing == "none" else "agent").command.startswith("edge-agent start")


def test_every_finding_can_be_told_as_json() -> None:
    assert find(WELL, "python").to_dict() == {
        "check": "python",
        "state": "ok",
        "found": "Python 3.11.2",
        "mend": "",
        "command": "",
    }


UNSEEN = [
    (with_part("upgrade", state="unreadable", reason="upgrade.json is cut off"), "upgrade: warn", "is cut off"),
    (with_part("disk", problem="Permission denied"), "disk: warn", "Permission denied"),
    (with_part("spool", problem="the spool cannot be read"), "spool: warn", "cannot be read"),
    (with_part("agent", problem="status.json cannot be read"), "agent: warn", "cannot be read"),
    (with_part("identity", standing="hidden", text="root alone may look"), "identity: warn", "root alone may look"),
]


@pytest.mark.parametrize(("facts", "state", "found"), UNSEEN, ids=[state for _, state, _ in UNSEEN])
def test_what_cannot_be_looked_at_is_said_and_is_no_fault_of_the_device_s(facts: Facts, state: str, found: str) -> None:
    assert states(facts) == {state}
    assert found in find(facts, state.partition(":")[0]).found
    assert not has_failed(judge(facts))


def test_a_controller_s_time_that_is_not_known_is_no_fault() -> None:
    finding = find(with_part("clock", ahead=None), "clock")
    assert (finding.state, finding.found.endswith("the controller's time is not known")) == ("ok", True)


def test_a_directory_is_there_once_the_device_has_joined() -> None:
    assert find(with_part("directory", owner=None), "data").found.endswith("is not there yet")
    hidden = replace(with_part("directory", owner=None), identity=replace(WELL.identity, standing="hidden"))
    assert not [finding for finding in judge(hidden) if finding.check == "data"]


def test_certificates_of_which_nothing_is_known_are_not_spoken_of() -> None:
    assert not [finding for finding in judge(with_part("identity", due=None)) if finding.check == "certificates"]
