"""What the playbooks do where something goes wrong: neither the cluster's data nor the way to a device is lost."""

from __future__ import annotations

import shutil

import pytest

from scripts.distribution.source import own_version
from tests.harness.built_packages import package
from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.fleet import Fleet
from tests.harness.device_bed.playbooks import Playbooks
from tests.harness.device_bed.versions import CONTROLLER_DOES_NOT_START, broken_package

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(1500)]
OWN, BROKEN = own_version(), "0.3.0"
CACHE, BACKUPS, DATA = "/var/cache/skerry-controller", "/var/backups/skerry", "/var/lib/skerry"
CONTROLLER = {
    "controller_version": OWN,
    "controller_cluster_name": "skerry",
    "controller_public_addr": "skerry.example.com:3080",
    "controller_backup": True,
    "controller_backup_passphrase": "three words and a number",
    "controller_backup_keep": 2,
    "controller_ready_timeout": 60,
}
THROUGH_TUNNEL = {
    "ansible_host": "edge-1.skerry",
    "skerry_via": "tunnel",
    "edge_agent_method": "archive",
    "edge_agent_version": OWN,
}


@pytest.fixture(scope="module")
def cluster(device_bed: Bed) -> Fleet:
    """A host that is going to have a controller, and nothing yet."""
    made = Fleet(device_bed)
    made.controller.boot()
    return made


@pytest.fixture(scope="module")
def playbooks(cluster: Fleet) -> Playbooks:
    """A controller that the playbook `rollout` has installed, with Alice signed in."""
    made = Playbooks(cluster)
    made.know(cluster.controller, "skerry.example.com")
    made.inventory(CONTROLLER, {})
    deb = package("controller-deb-amd64")
    shutil.copy(deb, made.dist / deb.name)
    broken_package(BROKEN, made.dist, CONTROLLER_DOES_NOT_START, "controller")
    made.play("rollout")
    cluster.sign_in()
    return made


def is_whole(cluster: Fleet) -> bool:
    """Tell whether the old version runs, with everybody it had, and nothing lies about of an upgrade."""
    assert OWN in cluster.tctl("status")
    assert "alice" in cluster.tctl("users", "ls")
    told = cluster.controller.run("ls", "-A", DATA).stdout.split()
    return not {".put-back", ".set-aside", "of-the-new-version"} & set(told)


def kept(cluster: Fleet) -> list[str]:
    return cluster.controller.shell(f"ls {BACKUPS} | grep before-upgrade || true").stdout.split()


def test_check_and_backup_do_what_they_say_and_the_backup_just_made_is_kept(
    cluster: Fleet, playbooks: Playbooks
) -> None:
    playbooks.play("check")
    of_another_clock = " ".join(f"{BACKUPS}/skerry-2099010{day}T000000Z.backup" for day in (1, 2, 3))
    cluster.controller.shell(f"touch -d 2099-01-01 {of_another_clock}")
    playbooks.play("backup", controller_backup_fetch=str(playbooks.folder / "fetched"))
    (fetched,) = (playbooks.folder / "fetched").iterdir()
    assert fetched.stat().st_size > 1000
    left = cluster.controller.shell(f"ls {BACKUPS}/*.backup | xargs -n1 basename").stdout.split()
    assert len(left) == 2
    assert fetched.name in left


def test_controller_that_does_not_start_is_put_back_with_its_data(cluster: Fleet, playbooks: Playbooks) -> None:
    told = playbooks.refuse("upgrade", controller_version=BROKEN, controller_ready_timeout=10)
    assert "its data are back and run" in told
    assert is_whole(cluster)
    assert kept(cluster) == []


def test_no_room_for_what_may_have_to_be_put_back_changes_nothing(cluster: Fleet, playbooks: Playbooks) -> None:
    host = cluster.controller
    host.shell(f"mount -t tmpfs -o size=16k tmpfs {BACKUPS}")
    try:
        told = playbooks.refuse("upgrade", controller_version=BROKEN)
        assert kept(cluster) == []
    finally:
        host.run("umount", BACKUPS)
    assert "could not be set aside" in told
    assert host.run("dpkg-query", "-W", "-f=${Version}", "skerry-controller").stdout == OWN
    assert is_whole(cluster)
