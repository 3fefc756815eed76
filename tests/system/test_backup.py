"""A controller is lost, and comes back from a backup: on its own host, and on another one that bears its name now."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN, RealCluster
from tests.harness.running_program import BIN, clean_environment

pytestmark = pytest.mark.system
ENVIRONMENT = {"SKERRY_BACKUP_PASSPHRASE": "insecure correct horse"}
NAME = "harbour.example"


def operate(*arguments: object) -> str:
    """Run one of the controller's commands, and return what it prints."""
    done = subprocess.run(
        [str(BIN / "controller"), *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(**ENVIRONMENT),
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def move(cluster: RealCluster, file: Path) -> None:
    """Put the backup into another directory, and have the cluster go on there."""
    config, data_dir = cluster.folder / "restored.yaml", cluster.folder / "restored"
    operate("restore", file, "-c", config, "--data-dir", data_dir)
    assert json.loads(config.read_text())["teleport"]["data_dir"] == str(data_dir)
    cluster.config, cluster.data_dir = config, data_dir


def back_up_while_it_is_written(cluster: RealCluster, file: Path) -> None:
    tctl = f"{BIN / 'tctl'} -c '{cluster.config}' tokens add --type=node --format=json"
    writer = cluster.run("writer", ["sh", "-c", f"while {tctl} >/dev/null; do echo made; done"], clean_environment())
    writer.await_line("made")
    operate("backup", file, "-c", cluster.config)
    assert "is whole: cluster harbour" in operate("backup", "--verify", file)
    assert writer.is_running, writer.log()
    writer.kill()


@pytest.mark.timeout(400)
def test_devices_and_people_go_on_with_a_controller_that_was_put_back_though_the_device_renewed_since(
    cluster: RealCluster, tmp_path: Path
) -> None:
    cluster.keep_ports()
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    edge = cluster.start_agent("edge", "env=staging")
    edge.program.await_line("connected to the broker")
    back_up_while_it_is_written(cluster, tmp_path / "b")

    # Since then: the device has other certificates, of a generation and by an authority that the backup knows not, and
    # knows that the authority of the backup is no more.
    cluster.tctl("nodes", "label", "edge", "env=prod")
    edge.program.await_line(r"an admin has named this node edge, labels: \{'env': 'prod'\}")
    for phase in ("init", "update_clients", "update_servers"):
        cluster.rotate("tls", phase)
    cluster.tctl("auth", "rotate", "--type=tls", "--phase=standby", "--force")
    assert cluster.await_event("node.renew", server_id=edge.node_id)["generation"] == 2
    cluster.controller.kill()
    cluster.controller.await_silence()

    move(cluster, tmp_path / "b")
    mark = edge.program.mark()
    cluster.start()
    renewed = cluster.await_event("node.renew", server_id=edge.node_id)
    assert (renewed["generation"], renewed["expected"]) == (3, 1)
    edge.program.await_line("connected to the broker", timeout=90, since=mark)
    assert cluster.events("cert.generation_mismatch") == []
    edge.program.await_line(r"an admin has named this node edge, labels: \{'env': 'staging'\}", since=mark)
    assert json.loads(cluster.ask("locks", "ls", "--format", "json")) == []
    cluster.controller.await_line(f"tunnel door: node {edge.node_id} connected")
    assert b"edge" in cluster.tsh(alice, "ls").stdout  # by the sign-in of before
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@edge", "echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr.decode()
    cluster.sign_in(alice)
    assert "intact" in cluster.ask("audit", "verify")
    assert len(cluster.events("controller.restore")) == 1
    tokens = json.loads(cluster.ask("tokens", "ls", "--format", "json"))
    made = cluster.events("join_token.create")
    assert 0 <= len(tokens) + 1 - len(made) <= 1  # the device has spent its own


@pytest.mark.timeout(400)
def test_a_device_that_knows_a_later_host_authority_alone_joins_again_as_the_node_that_it_was(
    cluster: RealCluster, tmp_path: Path
) -> None:
    cluster.keep_ports()
    alice = cluster.add_user("alice")
    edge = cluster.start_agent("edge", "env=staging")
    operate("backup", tmp_path / "b", "-c", cluster.config)
    for phase in ("init", "update_clients", "update_servers"):
        cluster.rotate("host", phase)
    mark = edge.program.mark()
    cluster.tctl("auth", "rotate", "--type=host", "--phase=standby", "--force")
    edge.program.await_line(r"going by version \d+ of the controller's policy: .*host authorit", since=mark)
    cluster.controller.kill()
    cluster.controller.await_silence()

    move(cluster, tmp_path / "b")
    mark = edge.program.mark()
    cluster.start()
    edge.program.await_line("signed by an authority that is not this cluster's host CA", since=mark)
    assert edge.program.stop() == 0
    command = cluster.agent_command("edge", cluster.token("--labels=env=staging"))
    again = cluster.run("agent edge again", [*command, "--rejoin"])
    again.await_line(rf"joined cluster \S+ as edge \({edge.node_id}\)")
    again.await_line("connected to the broker")
    cluster.controller.await_line(f"tunnel door: node {edge.node_id} connected")
    cluster.sign_in(alice)
    done = cluster.tsh(alice, "ssh", f"{LOGIN}@edge", "echo here")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done.stderr.decode()


@pytest.mark.timeout(400)
def test_a_controller_moves_to_another_address_and_devices_and_people_find_it_by_its_name(
    make_cluster: Callable[..., RealCluster], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a program a name service of its own")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {NAME}\n")
    # What is run so has its own /etc/hosts, and goes on to see what is written into it.
    prefix = ("unshare", "--mount", "sh", "-c", f'mount --bind "{hosts}" /etc/hosts && exec "$@"', "sh")
    cluster = make_cluster().start()
    cluster.keep_ports()
    settings = json.loads(cluster.config.read_text())
    settings["proxy_service"]["public_addr"] = f"{NAME}:{cluster.port('web')}"
    cluster.config.write_text(json.dumps(settings))
    assert cluster.controller.stop() == 0
    cluster.start()
    edge = cluster.start_agent("edge", prefix=prefix)
    assert NAME in (edge.data_dir / "identity.json").read_text()
    operate("backup", tmp_path / "b", "-c", cluster.config)
    cluster.controller.kill()
    cluster.controller.await_silence()

    move(cluster, tmp_path / "b")
    cluster.config.write_text(cluster.config.read_text().replace("127.0.0.1:", "127.0.0.2:"))
    mark = edge.program.mark()
    hosts.write_text(f"127.0.0.1 localhost\n127.0.0.2 {NAME}\n")
    cluster.start()
    cluster.controller.await_line(f"tunnel door: node {edge.node_id} connected")
    edge.program.await_line("connected to the broker", since=mark)
    assert edge.program.is_running
