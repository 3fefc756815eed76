from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509

from controller.authority.x509 import certificate_names
from controller.broker.broker import Change, _Register
from controller.broker.error import BrokerError
from controller.config import parse_config
from controller.origin import Origin
from controller.store.interface import Collection, Record
from protocol import limits
from tests.controller.broker.lab import NODE, OTHER, Lab

ADMIN = Origin(via="tctl", actor="root")


@pytest.fixture
def still(tmp_path: Path) -> Lab:
    """Give a broker's files without the broker."""
    lab = Lab(tmp_path)
    lab.release()
    lab.broker.prepare()
    return lab


def revoked(lab: Lab) -> set[int]:
    """Return the serial numbers on the list that is written."""
    text = (lab.broker.directory / "revoked.crl").read_bytes()
    return {entry.serial_number for entry in x509.load_pem_x509_crl(text)}


def test_the_files_are_the_broker_s_alone(still: Lab) -> None:
    directory = still.broker.directory
    assert {path.name for path in directory.iterdir()} == {
        "mosquitto.conf",
        "acl",
        "authorities.crt",
        "revoked.crl",
        "server.crt",
        "server.key",
    }
    uid = os.geteuid() if still.owner is None else still.owner.uid
    for path in (directory, *directory.iterdir()):
        assert path.stat().st_uid == uid
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def names_of(lab: Lab) -> tuple[str, ...]:
    """Return what the broker's certificate is good for."""
    return certificate_names((lab.broker.directory / "server.crt").read_text())


def test_the_broker_s_key_is_good_for_no_door_of_ours(still: Lab) -> None:
    assert names_of(still) == ("mqtt.harbour",)


@pytest.mark.parametrize(("host", "names"), [("mq.example.com", {"mq.example.com"}), ("Skerry.example.com", set())])
def test_a_broker_elsewhere_bears_its_own_host_s_name_where_no_door_of_ours_does(
    tmp_path: Path, host: str, names: set[str]
) -> None:
    text = (
        f"teleport: {{data_dir: '{tmp_path}/data'}}\n"
        "auth_service: {cluster_name: harbour}\n"
        "proxy_service: {public_addr: 'skerry.example.com:443'}\n"
        f"mqtt: {{broker: external, url: 'mqtts://{host}:8883'}}\n"
    )
    lab = Lab(tmp_path, configured=parse_config(text, "controller.yaml"))
    lab.release()
    lab.broker.prepare()
    assert set(names_of(lab)) == {"mqtt.harbour"} | names


def test_what_an_earlier_run_left_is_given_to_whom_the_broker_runs_as_now(still: Lab) -> None:
    memory = still.broker.directory / "mosquitto.db"
    memory.write_bytes(b"kept")
    still.broker.prepare()
    assert memory.read_bytes() == b"kept"
    assert memory.stat().st_uid == still.broker.directory.stat().st_uid


def test_where_nothing_changed_nothing_is_written(still: Lab) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in still.broker.directory.iterdir()}
    still.clock.move(hours=1)
    assert still.broker.refresh() is Change.NONE
    assert {path.name: path.stat().st_mtime_ns for path in still.broker.directory.iterdir()} == before


def test_two_changes_within_a_second_are_two_lists_that_can_be_told_apart(still: Lab) -> None:
    revocations = still.store.collection("revoked")
    still.clock.move(seconds=3)
    revocations.create("a1", {"node_id": NODE}, now=still.clock())
    assert still.broker.refresh() is Change.RELOAD
    revocations.create("b2", {"node_id": OTHER}, now=still.clock())
    assert still.broker.refresh() is Change.RELOAD  # who is denied is known at once
    assert revoked(still) == {0xA1}
    still.clock.move(seconds=2)
    assert still.broker.refresh() is Change.RELOAD
    assert revoked(still) == {0xA1, 0xB2}
    assert still.broker.refresh() is Change.NONE


def test_a_serial_that_has_expired_leaves_the_list(still: Lab) -> None:
    now = still.clock()
    still.store.collection("revoked").create("a1", {}, now=now, expires=now + limits.HOST_CERTIFICATE_TTL)
    still.clock.move(seconds=3)
    still.broker.refresh()
    still.clock.now += limits.HOST_CERTIFICATE_TTL
    still.broker.refresh()
    assert revoked(still) == set()


def test_records_that_make_no_sense_are_passed_over(still: Lab) -> None:
    now = still.clock()
    revocations = still.store.collection("revoked")
    for key, value in (("no number", {}), ("c3", {"node_id": "\nuser controller"}), ("d4", {"node_id": 5})):
        revocations.create(key, value, now=now)
    still.store.collection("muted").create("everybody", {}, now=now)
    still.serials[NODE] = ("e5", "no number")
    still.locks.add("node", NODE, "", None, ADMIN)
    still.locks.add("node", OTHER, "", None, ADMIN)  # one that is not enrolled any more
    still.locks.add("user", "alice", "", None, ADMIN)
    still.clock.move(seconds=3)
    still.broker.refresh()
    assert revoked(still) == {0xC3, 0xD4, 0xE5}
    lines = (still.broker.directory / "acl").read_text().splitlines()
    assert [line for line in lines if line.startswith("user")] == [
        "user controller",
        f"user {OTHER}",
        f"user {NODE}",
    ]


def test_a_directory_that_cannot_be_written_is_one_line_that_names_it(still: Lab) -> None:
    aside = still.folder / "aside"
    still.broker.directory.rename(aside)
    still.broker.directory.write_text("in the way")
    with pytest.raises(BrokerError, match=r"broker: the broker's files cannot be written: "):
        still.broker.prepare()
    still.broker.directory.unlink()
    aside.rename(still.broker.directory)
    assert still.broker.refresh() is Change.RESTART  # nothing is believed of what was half done


def test_a_fleet_that_grows_changes_how_often_the_broker_saves(still: Lab) -> None:
    settings = still.broker.directory / "mosquitto.conf"
    still.fleet = 999
    still.broker.prepare()
    assert "autosave_interval 1\n" in settings.read_text()
    still.fleet = 1000
    assert still.broker.refresh() is Change.RELOAD
    assert "autosave_interval 10\n" in settings.read_text()
    assert still.broker.refresh() is Change.NONE


def test_the_broker_takes_as_many_connections_as_its_fleet_needs_and_is_started_again_where_it_doubles(
    still: Lab,
) -> None:
    file = still.broker.directory / "mosquitto.conf"
    assert "max_connections 2024\n" in file.read_text()
    assert still.broker.connections == 2024
    still.fleet = 513
    assert still.broker.refresh() is Change.RESTART
    assert "max_connections 3048\n" in file.read_text()
    still.fleet = 1  # a fleet that shrinks and grows again restarts nothing
    still.broker.refresh()
    assert "max_connections 3048\n" in file.read_text()
    still.fleet = 513
    assert still.broker.refresh() is not Change.RESTART
    assert still.broker.connections == 3048


def denied(lab: Lab) -> set[str]:
    """Return who may nothing, as the access list has it."""
    text = (lab.broker.directory / "acl").read_text()
    return set(re.findall(r"^user (\S+)\ntopic deny #$", text, re.MULTILINE))


def test_who_was_removed_is_denied_for_as_long_as_the_broker_runs(still: Lab) -> None:
    now = still.clock()
    still.store.collection("revoked").create(
        "a1", {"node_id": NODE}, now=now, expires=now + limits.HOST_CERTIFICATE_TTL
    )
    still.clock.move(seconds=3)
    still.broker.refresh()
    assert denied(still) == {NODE}
    still.clock.now += limits.HOST_CERTIFICATE_TTL
    still.broker.refresh()
    assert (revoked(still), denied(still)) == (set(), {NODE})
    still.broker.prepare()  # a new process, to which nobody is connected yet
    assert denied(still) == set()


class Counted:
    """A collection, with how often all of it was read."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.lists = 0

    def list(self, *, now: datetime) -> Sequence[Record]:
        self.lists += 1
        return self._collection.list(now=now)

    def stamp(self) -> object:
        return self._collection.stamp()


def test_who_is_kept_out_is_read_again_where_that_changed_and_where_a_record_expires(still: Lab) -> None:
    now, revocations = still.clock(), still.store.collection("revoked")
    revocations.create("a1", {"node_id": NODE}, now=now, expires=now + timedelta(minutes=5))
    counted = Counted(revocations)
    register = _Register(cast("Collection", counted), lambda record: record.value["node_id"])
    found = [register.read(now + timedelta(seconds=second)) for second in range(10)]
    assert (found[-1].nodes, found[-1].serials) == (frozenset({NODE}), frozenset({0xA1}))
    assert counted.lists == 1
    revocations.create("b2", {"node_id": OTHER}, now=now)
    assert register.read(now + timedelta(seconds=10)).serials == {0xA1, 0xB2}
    assert register.read(now + timedelta(minutes=5)).serials == {0xB2}
    assert counted.lists == 3
    assert register.read(now).serials == {0xA1, 0xB2}  # the clock was put back
