"""What the playbooks do: with every form of an agent, through tunnels, and where something goes wrong."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.distribution.product import cache_folder
from scripts.distribution.source import own_version
from scripts.distribution.wheels import AMD64, fetch
from tests.architecture.source import ROOT
from tests.harness.built_packages import built, package
from tests.harness.device_bed.bed import CONTROLLER_NAME, Bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import PATIENCE, Fleet
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
ALONE = ("--limit", "skerry_controller")
ONE = ("--limit", "edge-1.skerry")
# The agent on the controller's own host.
HUB = {"ansible_host": CONTROLLER_NAME, "edge_agent_version": OWN}
# A session for each task on a device, and some for a file: what a run that changes nothing may take of them.
SESSIONS = 40


@pytest.fixture(scope="module")
def cluster(device_bed: Bed) -> Fleet:
    """A host that is going to have a controller, a device, and nothing yet."""
    made = Fleet(device_bed)
    device_bed.boot(made.controller, device_bed.device("edge-1"))
    return made


@pytest.fixture(scope="module")
def device(cluster: Fleet) -> Device:
    """One to which Ansible comes from its own network, first, and which has no package index."""
    made = cluster.bed.devices["edge-1"]
    made.shell("apt-get -qq install -y python3-venv", timeout=300)
    return made


@pytest.fixture(scope="module")
def empty(cluster: Fleet, device: Device) -> Playbooks:
    """Ansible, with all that is to be installed."""
    made = Playbooks(cluster)
    made.know(cluster.controller, CONTROLLER_NAME)
    made.know(device, device.address)
    made.inventory(CONTROLLER, {"edge-1.skerry": by_pip(made) | {"ansible_host": device.address}, "hub.skerry": HUB})
    (wheel,) = built().glob("skerry-*.whl")
    for path in (package("controller-deb-amd64"), package("agent-deb-amd64"), wheel):
        shutil.copy(path, made.dist / path.name)
    (made.dist / "wheels").mkdir()
    for path in fetch(ROOT / "requirements/agent.txt", AMD64, "3.11", cache_folder()):
        shutil.copy(path, made.dist / "wheels" / path.name)
    broken_package(BROKEN, made.dist, CONTROLLER_DOES_NOT_START, "controller")
    return made


def by_pip(playbooks: Playbooks) -> dict[str, Any]:
    return {
        "edge_agent_method": "pip",
        "edge_agent_version": OWN,
        "edge_agent_labels": {"site": "harbour"},
        "edge_agent_requirements": str(ROOT / "requirements/agent.txt"),
        "edge_agent_unit": str(ROOT / "deploy/systemd/skerry-agent.service"),
        "edge_agent_wheels": str(playbooks.dist / "wheels"),
    }


@pytest.fixture(scope="module")
def playbooks(cluster: Fleet, empty: Playbooks) -> Playbooks:
    """All of it, as the playbook `rollout` has installed it; Alice is signed in, and Ansible comes through tunnels."""
    cable = cluster.bed.sites["edge-1"]
    cable.plug_in(cluster.bed.office)
    empty.play("rollout")
    cable.pull_out(cluster.bed.office)
    cluster.sign_in()
    told = cluster.tsh("config")
    assert told.returncode == 0, told.stderr
    config = cluster.alice.home / ".ssh/skerry.conf"
    config.write_text(told.stdout, encoding="utf-8")
    by_tunnel = {
        "ansible_host": "edge-1.skerry",
        "skerry_via": "tunnel",
        "ansible_ssh_common_args": f"-F {shlex.quote(str(config))}",
    }
    empty.inventory(CONTROLLER, {"edge-1.skerry": by_pip(empty) | by_tunnel, "hub.skerry": HUB})
    return empty


def of_skerry(device: Device) -> list[str]:
    found = device.footprint("/var/log", "/var/lib/dpkg")
    return [name for name in found if re.search(r"skerry|edge.agent|mosquitto", name)]


def changed(told: str) -> dict[str, int]:
    """Return how much a run changed, or would have, on each host; nothing may have failed."""
    assert not re.search(r"(failed|unreachable)=[1-9]", told)
    return {name: int(count) for name, count in re.findall(r"^(\S+) +: .*changed=(\d+)", told, re.MULTILINE)}


def sessions(cluster: Fleet, began: str, ended: str) -> int:
    """Return how many sessions the controller was told of between two whose commands have these words."""
    deadline = time.monotonic() + PATIENCE
    while True:
        lines = cluster.tctl("audit", "ls", "--type=session.start", "--format=json").splitlines()
        events = [event for event in map(json.loads, lines) if event["server_hostname"] == "edge-1"]
        commands = [str(event["initial_command"]) for event in events]
        places = [number for number, command in enumerate(commands) if began in command or ended in command]
        if len(places) == 2:
            return places[1] - places[0] - 1
        assert time.monotonic() < deadline, f"the controller was not told of {ended!r}: {commands[-5:]}"
        time.sleep(0.3)


def is_whole(cluster: Fleet) -> bool:
    """Tell whether the old version runs, with everybody it had, and nothing lies about of an upgrade."""
    assert OWN in cluster.tctl("status")
    assert "alice" in cluster.tctl("users", "ls")
    told = cluster.controller.run("ls", "-A", DATA).stdout.split()
    return not {".put-back", ".set-aside", "of-the-new-version"} & set(told)


def kept(cluster: Fleet) -> list[str]:
    return cluster.controller.shell(f"ls {BACKUPS} | grep before-upgrade || true").stdout.split()


def test_who_only_looks_is_told_what_would_be_done_and_nothing_is(
    cluster: Fleet, device: Device, empty: Playbooks
) -> None:
    cable = cluster.bed.sites["edge-1"]
    cable.plug_in(cluster.bed.office)
    told = empty.play("rollout", "--check")
    cable.pull_out(cluster.bed.office)
    assert f"skerry-controller {OWN} would be installed" in told
    assert "edge-1 would join with a token of its own" in told
    assert min(changed(told).values()) > 0
    assert of_skerry(cluster.controller) == []
    assert of_skerry(device) == []


@pytest.mark.usefixtures("playbooks")
def test_agent_is_installed_by_pip_without_an_index_and_beside_the_controller(cluster: Fleet) -> None:
    assert cluster.await_online("edge-1", OWN)["labels"] == {"site": "harbour"}
    cluster.await_online("hub", OWN)
    assert cluster.ssh("root@hub", "hostname") == "controller\n"
    assert "Skerry" in cluster.ssh("root@edge-1", "/opt/skerry/agent/current/bin/python3 -m edge_agent version")


def test_second_run_changes_nothing_and_takes_a_session_for_a_task(cluster: Fleet, playbooks: Playbooks) -> None:
    told = playbooks.play("rollout", "--check", edge_agent_labels={"site": "island"})
    assert "edge-1 would be given the labels site=island" in told
    assert changed(told) == {CONTROLLER_NAME: 0, "edge-1.skerry": 1, "hub.skerry": 1}
    cluster.ssh("root@edge-1", "echo now it begins")
    assert changed(playbooks.play("rollout")) == {CONTROLLER_NAME: 0, "edge-1.skerry": 0, "hub.skerry": 0}
    cluster.ssh("root@edge-1", "echo now it ends")
    assert 0 < sessions(cluster, "now it begins", "now it ends") <= SESSIONS


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


def test_settings_with_which_a_device_is_not_online_are_taken_back_by_itself(
    cluster: Fleet, playbooks: Playbooks, device: Device
) -> None:
    before = device.run("cat", "/etc/skerry/edge_agent.yaml").stdout
    told = playbooks.refuse(
        "rollout",
        *ONE,
        edge_agent_settings={"heartbeat_interval": 45},
        edge_agent_controller="nowhere.example.com:3080",
        edge_agent_settings_wait=5,
    )
    assert "has those of before again" in told
    assert "What its agent warned of last: " in told
    cluster.await_online("edge-1")
    assert device.run("cat", "/etc/skerry/edge_agent.yaml").stdout == before
    refused = device.run("cat", "/etc/skerry/edge_agent.yaml.refused").stdout
    assert "nowhere.example.com" in refused
    assert "heartbeat_interval: 45" in refused


def test_device_whose_agent_is_still_there_is_not_forgotten(
    cluster: Fleet, playbooks: Playbooks, device: Device
) -> None:
    script = "echo held; exec sleep infinity"
    with_lock = device.start("flock", "--no-fork", "/run/skerry-rollout.lock", "sh", "-c", script)
    with_lock.await_line("^held$")
    told = playbooks.refuse("remove", *ONE, edge_agent_online_timeout=9)
    with_lock.stop()
    assert "is still connected" in told
    assert "is being installed, upgraded or removed already" in told
    cluster.await_online("edge-1")
    assert cluster.ssh("root@edge-1", "hostname") == "edge-1\n"


def test_agent_that_does_not_come_online_is_told_of_in_its_own_words(cluster: Fleet, playbooks: Playbooks) -> None:
    host = cluster.controller
    drop_in = "/run/systemd/system/skerry-agent.service.d"
    host.write(
        f"{drop_in}/x.conf", "[Service]\nExecStart=\nExecStart=edge-agent start --controller nowhere.example.com:1\n"
    )
    host.shell("systemctl daemon-reload && systemctl restart skerry-agent")
    told = playbooks.refuse("rollout", "--limit", "hub.skerry", edge_agent_online_timeout=6)
    host.shell(f"rm -r {drop_in} && systemctl daemon-reload && systemctl restart skerry-agent")
    assert "hub was not online with version" in told
    assert re.search("What its agent said last: .*nowhere.example.com", told)
    cluster.await_online("hub")


def test_controller_that_does_not_start_is_put_back_with_its_data(cluster: Fleet, playbooks: Playbooks) -> None:
    told = playbooks.refuse("upgrade", *ALONE, controller_version=BROKEN, controller_ready_timeout=10)
    assert "its data are back and run" in told
    assert "this version was never tried" in told
    assert is_whole(cluster)
    assert kept(cluster) == []


def test_no_room_for_what_may_have_to_be_put_back_changes_nothing(cluster: Fleet, playbooks: Playbooks) -> None:
    host = cluster.controller
    host.shell(f"mount -t tmpfs -o size=16k tmpfs {BACKUPS}")
    try:
        told = playbooks.refuse("upgrade", *ALONE, controller_version=BROKEN)
        assert kept(cluster) == []
    finally:
        host.run("umount", BACKUPS)
    assert "could not be set aside" in told
    assert host.run("dpkg-query", "-W", "-f=${Version}", "skerry-controller").stdout == OWN
    assert is_whole(cluster)


def test_what_could_not_be_put_back_is_kept_and_nothing_is_started_until_somebody_has(
    cluster: Fleet, playbooks: Playbooks
) -> None:
    host = cluster.controller
    way_back = f"{CACHE}/skerry-controller_{OWN}_amd64.deb"
    host.shell(f"cp {way_back} /var/cache/whole.deb && echo damaged >{way_back}")
    told = playbooks.refuse("upgrade", *ALONE, controller_version=BROKEN, controller_ready_timeout=10)
    (name,) = kept(cluster)
    assert f"is in {BACKUPS}/{name}, and stays there" in told
    assert "before an upgrade that was broken off" in playbooks.refuse("rollout", *ALONE)
    assert kept(cluster) == [name]
    assert host.unit("skerry-controller", "ActiveState")["ActiveState"] != "active"
    # As docs/operations.md has it.
    host.shell(
        f"cp /var/cache/whole.deb {way_back} && apt-get -qq install -y --allow-downgrades {way_back}", timeout=300
    )
    host.run("systemctl", "stop", "skerry-controller")
    host.run("tar", "--extract", "--same-owner", f"--file={BACKUPS}/{name}", f"--directory={DATA}")
    host.shell(f"rm -f {DATA}/of-the-new-version {BACKUPS}/{name} && systemctl start skerry-controller", timeout=180)
    playbooks.play("rollout", *ALONE)
    assert is_whole(cluster)


def test_web_door_shows_the_certificate_that_was_brought_and_a_wrong_key_is_told_of(
    cluster: Fleet, playbooks: Playbooks
) -> None:
    for name in ("web", "other"):
        certify(playbooks.folder, name)
    certificate, key, other = (str(playbooks.folder / name) for name in ("web.crt", "web.key", "other.key"))
    brought = {"controller_tls_certificate": certificate, "controller_tls_key": key}
    told = playbooks.refuse("rollout", *ALONE, controller_ready_timeout=4, **brought | {"controller_tls_key": other})
    assert re.search("What it said last: .*/etc/skerry/tls/web", told)
    playbooks.play("rollout", *ALONE, **brought)
    asked = ["curl", "--silent", "--show-error", "--cacert", certificate, f"https://{CONTROLLER_NAME}:3080/"]
    done = subprocess.run([*cluster.office, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert cluster.controller.run("stat", "-c", "%a %U:%G", "/etc/skerry/tls/web.key").stdout == "640 root:skerry\n"
    assert changed(playbooks.play("rollout", *ALONE, **brought)) == {CONTROLLER_NAME: 0}


def certify(folder: Path, name: str) -> None:
    """Make a key, and a certificate that it signs itself."""
    who = ["-subj", f"/CN={CONTROLLER_NAME}", "-addext", f"subjectAltName=DNS:{CONTROLLER_NAME}", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(folder / f"{name}.key")]
    made = ["openssl", "req", "-x509", *key, *who, "-out", str(folder / f"{name}.crt")]
    subprocess.run(made, check=True, capture_output=True)


# After this edge-1 is not there any more, and after the next one every command needs the prefix: both come last.
def test_removal_leaves_nothing_of_what_pip_installed_nor_of_refused_settings(
    cluster: Fleet, playbooks: Playbooks, device: Device
) -> None:
    cluster.await_online("edge-1")
    settings = "/etc/skerry/edge_agent.yaml"
    device.shell(f"touch {settings}.refused {settings}.before")
    playbooks.play("remove", *ONE)
    assert set(cluster.nodes()) == {"hub"}
    device.shell("while systemctl --quiet is-active skerry-agent-removal.timer; do sleep 0.2; done")
    assert of_skerry(device) == []


def test_master_key_may_be_an_encrypted_credential_as_the_page_has_it(cluster: Fleet, playbooks: Playbooks) -> None:
    host = cluster.controller
    page = (ROOT / "docs/controller-service.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```\n(\(\nset -e\n.*?)```", page, re.DOTALL)
    host.run("mkdir", "/etc/skerry/master-key.cred")
    assert host.shell(script, timeout=180, check=False).returncode != 0
    host.shell(f"rmdir /etc/skerry/master-key.cred && test -e {DATA}/master.key")
    host.shell("! ls /etc/systemd/system/skerry-controller.service.d")
    host.shell(script, timeout=180)
    assert "has lost its master key" in host.run("tctl", "users", "ls", check=False).stderr
    (line,) = re.findall(r"^controller_command_prefix: (.*)$", page, re.MULTILINE)
    prefix = yaml.safe_load(line)
    by_systemd = " ".join(prefix)
    assert f"\n{by_systemd} controller doctor\n" in page
    token = host.shell(f"SUDO_USER=carol {by_systemd} tctl tokens add --type=node --format=json").stdout
    name = json.loads(token)["token"]
    host.shell(f"SUDO_USER=carol {by_systemd} tctl tokens rm {name}")
    assert "carol@controller" in host.shell(f"{by_systemd} tctl audit ls").stdout
    assert host.shell(f"cd /etc && {by_systemd} pwd").stdout == "/etc\n"
    assert name not in host.run("journalctl", "--no-pager").stdout
    bob = [{"name": "bob", "logins": ["root"]}]
    playbooks.play("rollout", *ALONE, controller_command_prefix=prefix, controller_users=bob)
    assert "/web/invite/" in (cluster.alice.home / "skerry-invitations/bob").read_text(encoding="utf-8")
    host.shell("until edge-agent status >/dev/null; do sleep 0.3; done", timeout=PATIENCE)  # it was away meanwhile
    told = playbooks.play("check", "--limit", "skerry_controller,hub.skerry", controller_command_prefix=prefix)
    assert "hub: online" in told
    host.run("systemctl", "start", "skerry-backup")
