from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.audit import AuditError
from controller.cluster import Cluster, open_cluster
from controller.config import parse_config
from controller.enrolment.nodes import NodeRecord
from controller.housekeeping import AuthorityWatch, Housekeeper
from controller.policy.retention import Retention
from controller.policy.rotation import Phase
from controller.policy.upload import Piece
from controller.presence import Tunnel
from controller.tls_files import TlsFileError
from protocol import limits
from protocol.decision import Granted
from tests.controller.harbour import ADMIN, PING, STATIC, WEB, Device, HandClock
from tests.harness.tape import Tape, short_tape

ADDRESS = "192.0.2.9:1"


@dataclass
class House:
    """A cluster in a folder with one node, and who keeps it."""

    folder: Path
    clock: HandClock = field(default_factory=HandClock)
    device: Device = field(default_factory=Device)
    renewals: int = 0
    mqtt: str = "{}"
    wrong: timedelta = timedelta()

    def __post_init__(self) -> None:
        text = f"teleport: {{data_dir: '{self.folder / 'data'}'}}\n"
        text += f"mqtt: {self.mqtt}\n"
        text += f"auth_service: {{cluster_name: harbour, tokens: ['node:{STATIC}']}}\n"
        config = replace(parse_config(text, "controller.yaml"), recording_retention=Retention(age=timedelta(days=1)))
        self.cluster: Cluster = open_cluster(config, self.clock)
        joined = self.cluster.enrolment.join(self.device.request(STATIC), PING, WEB)
        assert isinstance(joined, Granted)
        node = self.cluster.enrolment.nodes.get(joined.value.node_id)
        assert node
        self.node: NodeRecord = node
        self.keeper = Housekeeper(self.cluster, self.renew, self.ticks)

    def renew(self) -> None:
        self.renewals += 1

    def ticks(self) -> float:
        """Return the seconds that passed: the clock went on by them, and by what it is `wrong`."""
        return (self.clock() - self.wrong).timestamp()

    def set_clock(self, span: timedelta) -> None:
        self.clock.now += span
        self.wrong += span

    def take(self) -> Tape:
        """Take a recording in."""
        tape = self.tape()
        assert isinstance(self.cluster.recordings.begin(self.node, tape.session, None, ADDRESS), Granted)
        self.cluster.recordings.append(self.node, tape.session, Piece(0, tape.content), ADDRESS)
        return tape

    def tape(self) -> Tape:
        return short_tape(
            signing=self.device.key,
            node=self.node.node_id,
            recipient=self.cluster.authority.recording_key(),
            started=int(self.clock().timestamp() * 1000),
        )

    def left(self) -> int:
        return len(self.cluster.recordings.entries())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_is_due_is_done_and_what_is_not_is_left(house: House) -> None:
    house.take()
    house.keeper.round()
    assert (house.left(), house.renewals) == (1, 0)
    house.clock.move(days=1)
    house.keeper.round()
    assert (house.left(), house.renewals) == (0, 0)
    house.clock.now += limits.WEB_CERTIFICATE_TTL * 2 / 3
    house.keeper.round()
    house.keeper.round()
    assert house.renewals == 1


def test_recordings_go_though_the_store_cannot_be_purged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.take()
    house.clock.move(days=1)
    attempts = house.folder / "data" / "store" / "attempts.json"
    attempts.unlink(missing_ok=True)
    attempts.mkdir(parents=True)
    house.keeper.round()
    assert house.left() == 0
    assert len([record for record in caplog.records if "housekeeping is put off" in record.message]) == 1


def test_certificates_are_renewed_though_the_audit_log_lets_no_recording_go(house: House) -> None:
    house.take()
    house.clock.now += limits.WEB_CERTIFICATE_TTL
    log, aside = house.folder / "data" / "log", house.folder / "aside"
    log.rename(aside)
    log.write_text("in the way")
    house.keeper.round()
    assert (house.left(), house.renewals) == (1, 1)
    log.unlink()
    aside.rename(log)
    house.keeper.round()  # it was not done, so it is still due
    assert (house.left(), house.renewals) == (0, 1)


def test_a_renewal_that_fails_is_tried_again_at_the_next_round(house: House) -> None:
    failures = [TlsFileError("no room")]

    def renew() -> None:
        if failures:
            raise failures.pop()
        house.renew()

    house.keeper = Housekeeper(house.cluster, renew, house.ticks)
    house.clock.now += limits.WEB_CERTIFICATE_TTL
    house.keeper.round()
    assert house.renewals == 0
    house.keeper.round()
    assert house.renewals == 1


def test_a_recording_whose_end_could_not_be_told_is_told_and_kept_without_its_node(house: House) -> None:
    log, aside = house.folder / "data" / "log", house.folder / "aside"
    log.rename(aside)
    log.write_text("in the way")
    with pytest.raises(AuditError):
        house.take()
    house.keeper.round()
    log.unlink()
    aside.rename(log)
    house.keeper.round()
    (event,) = house.cluster.audit.entries(kinds=("T2005I",))
    assert event["state"] == "complete"
    assert list((house.folder / "data/recordings/arriving").iterdir()) == []


def test_what_crashes_left_is_swept(house: House) -> None:
    house.clock.move(hours=2)
    tape = house.take()
    (found,) = (house.folder / "data" / "recordings").rglob(f"{tape.session}.skr")
    found.unlink()  # a process that removed it was killed right then
    house.keeper.round()
    assert sorted(path.name for path in (house.folder / "data" / "recordings").rglob("*")) == ["arriving"]


def ephemeral(house: House) -> NodeRecord:
    token, _ = house.cluster.enrolment.tokens.add(
        ttl=limits.JOIN_TOKEN_TTL, uses=1, labels={}, claimable=None, origin=ADMIN, ephemeral=timedelta(hours=24)
    )
    joined = house.cluster.enrolment.join(Device("visitor").request(token.reveal()), PING, WEB)
    assert isinstance(joined, Granted)
    node = house.cluster.enrolment.nodes.get(joined.value.node_id)
    assert node
    return node


def test_an_ephemeral_node_is_removed_once_it_has_been_away_for_too_long_and_no_other_is(tmp_path: Path) -> None:
    house = House(tmp_path, mqtt="{broker: none}")
    node = ephemeral(house)
    house.cluster.presence.write({node.node_id: Tunnel("up", house.clock())})
    house.clock.move(hours=30)
    house.keeper.round()
    assert house.cluster.enrolment.nodes.get(node.node_id) == node  # it holds its tunnel
    house.cluster.presence.write({node.node_id: Tunnel("down", house.clock())})
    house.clock.move(hours=24)
    house.keeper.round()
    assert house.cluster.enrolment.nodes.get(node.node_id) == node
    house.clock.move(seconds=1)
    house.keeper.round()
    assert [each.node_id for each in house.cluster.enrolment.nodes.list()] == [house.node.node_id]
    (entry,) = house.cluster.audit.entries(kinds=["node.delete"])
    assert (entry["server_id"], entry["user"]) == (node.node_id, "controller")
    assert entry["reason"] == "ephemeral: offline for more than 1 day"


def test_a_clock_that_is_set_ahead_removes_no_ephemeral_node_before_its_time_is_over_by_the_new_one(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, mqtt="{broker: none}")
    node = ephemeral(house)
    house.clock.move(hours=1)
    house.keeper.round()
    house.set_clock(timedelta(days=30))
    for hours in (0, 12, 12):
        house.clock.move(hours=hours)
        house.keeper.round()
        assert house.cluster.enrolment.nodes.get(node.node_id) == node
    house.clock.move(seconds=1)
    house.keeper.round()
    assert house.cluster.enrolment.nodes.get(node.node_id) is None


def test_nodes_have_the_time_to_come_back_after_the_controller_itself_was_away(tmp_path: Path) -> None:
    house = House(tmp_path, mqtt="{broker: none}")
    node = ephemeral(house)
    house.clock.move(days=30)
    house.keeper = Housekeeper(house.cluster, house.renew, house.ticks)
    house.keeper.round()
    assert house.cluster.enrolment.nodes.get(node.node_id) == node
    house.clock.now += limits.EPHEMERAL_MIN
    house.keeper.round()
    assert house.cluster.enrolment.nodes.get(node.node_id) is None


def test_no_ephemeral_node_goes_while_nobody_can_say_that_it_is_offline(house: House) -> None:
    node = ephemeral(house)  # there is a broker, and nobody who tells what it knows
    house.clock.move(days=30)
    house.keeper.round()
    assert house.cluster.enrolment.nodes.get(node.node_id) == node


def test_the_doors_certificates_are_issued_anew_when_the_tls_authority_turns_in_another_process(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    watch = AuthorityWatch(house.cluster, house.renew)
    elsewhere = open_cluster(house.cluster.config, house.clock)
    watch.look()
    assert house.renewals == 0
    phases: tuple[Phase, ...] = ("init", "update_clients")
    for number, phase in enumerate(phases, 1):
        elsewhere.authority.rotate("tls", phase, house.clock())
        watch.look()
        watch.look()
        assert house.renewals == number
    elsewhere.authority.rotate("host", "init", house.clock())
    watch.look()
    assert house.renewals == 2


def test_what_could_not_be_issued_anew_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path)
    is_full = True

    def renew() -> None:
        if is_full:
            raise OSError("No space left on device")
        house.renew()

    watch = AuthorityWatch(house.cluster, renew)
    house.cluster.authority.rotate("tls", "init", house.clock())
    for _ in range(3):
        watch.look()
    assert caplog.text.count("the TLS certificates are not issued anew yet: No space left on device") == 1
    is_full = False
    watch.look()
    assert house.renewals == 1
