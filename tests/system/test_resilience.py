"""What breaks comes back: roles, the controller, devices; and nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.running_program import BIN, await_pid_end, children_of
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system


@pytest.fixture
def alice(cluster: RealCluster) -> Person:
    """A person who is signed in to the fresh cluster."""
    person = cluster.add_user("alice")
    cluster.sign_in(person)
    return person


def works_on(cluster: RealCluster, person: Person, node: str) -> None:
    done = cluster.tsh(person, "ssh", f"{LOGIN}@{node}", "echo $SSH_SKERRY_NODE_NAME")
    assert (done.returncode, done.stdout) == (0, f"{node}\n".encode()), done.stderr


def start_session(person: Person, command: str) -> subprocess.Popen[bytes]:
    """Start `tsh ssh edge-1 COMMAND` with its streams on pipes."""
    return subprocess.Popen(
        [BIN / "tsh", "ssh", "edge-1", command],
        env=person.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_killed_proxy_is_started_again_and_devices_come_back(cluster: RealCluster, alice: Person) -> None:
    agents = [cluster.start_agent("edge-1"), cluster.start_agent("edge-2")]
    mark = cluster.controller.mark()
    os.kill(cluster.role_pid("proxy"), signal.SIGKILL)
    cluster.controller.await_line(r"ERROR \[CONTROLLER\] proxy ended \(killed by SIGKILL\)", since=mark)
    cluster.controller.await_line(r"proxy started, pid", since=mark)
    for agent in agents:
        cluster.await_tunnel(agent.node_id, since=mark)
        works_on(cluster, alice, agent.name)


def test_killed_web_door_is_started_again_and_its_workers_do_not_stay(cluster: RealCluster, alice: Person) -> None:
    web, mark = cluster.role_pid("web"), cluster.controller.mark()
    workers = children_of(web)
    assert len(workers) == 2
    os.kill(web, signal.SIGKILL)
    cluster.controller.await_line(r"web ended \(killed by SIGKILL\)", since=mark)
    cluster.controller.await_line(r"web started, pid", since=mark)
    for worker in workers:
        await_pid_end(worker)
    assert cluster.tsh(alice, "ls").returncode == 0


def test_killed_machine_api_is_started_again_and_events_arrive_after_all(cluster: RealCluster, alice: Person) -> None:
    cluster.start_agent("edge-1")
    mark = cluster.controller.mark()
    os.kill(cluster.role_pid("api"), signal.SIGKILL)
    cluster.tsh(alice, "ssh", "edge-1", "echo meanwhile")
    cluster.controller.await_line(r"api ended \(killed by SIGKILL\)", since=mark)
    cluster.controller.await_line(r"api started, pid", since=mark)
    event = cluster.await_event("exec", command="echo meanwhile")
    assert event["user"] == "alice"
    assert len([one for one in cluster.events("exec") if one["command"] == "echo meanwhile"]) == 1


def test_killed_controller_takes_its_roles_along_and_comes_back_with_everything(
    cluster: RealCluster, alice: Person
) -> None:
    agent = cluster.start_agent("edge-1", "env=staging")
    cluster.token("--labels=site=harbour")
    cluster.keep_ports()
    listings = [[kind, "ls", "--format=json"] for kind in ("users", "tokens", "nodes")]
    before = [json.loads(cluster.tctl(*listing).stdout) for listing in listings]
    pin = cluster.pin
    works_on(cluster, alice, "edge-1")
    cluster.controller.kill()
    cluster.controller.await_silence()
    cluster.start()
    cluster.await_tunnel(agent.node_id, since=0)
    works_on(cluster, alice, "edge-1")
    assert cluster.tsh(alice, "ls").returncode == 0
    after = [json.loads(cluster.tctl(*listing).stdout) for listing in listings]
    assert after[:2] == before[:2]
    assert [node["node_id"] for node in after[2]] == [agent.node_id]
    assert pin in cluster.tctl("status").stdout
    cluster.tctl("audit", "verify")


def test_session_may_end_by_itself_while_the_controller_drains(cluster: RealCluster, alice: Person) -> None:
    cluster.start_agent("edge-1")
    session = start_session(alice, "echo begun; read line; echo got $line; exit 3")
    assert session.stdin
    assert session.stdout
    assert session.stdout.readline() == b"begun\n"
    cluster.controller.send(signal.SIGTERM)
    cluster.controller.await_line(r"stopping: 1 tunnels, 1 sessions, which may end within 10 s")
    out, err = session.communicate(b"word\n", timeout=20)
    assert (session.returncode, out) == (3, b"got word\n"), err
    assert cluster.controller.await_end() == 0
    cluster.controller.await_silence()


def test_session_that_outlasts_the_drain_time_is_ended(make_cluster: Callable[..., RealCluster]) -> None:
    cluster = make_cluster()
    settings = cluster.config.read_text().replace(
        '"requests_per_minute"', '"drain_timeout": "1s", "requests_per_minute"'
    )
    cluster.config.write_text(settings)
    cluster.start()
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    cluster.start_agent("edge-1")
    session = start_session(alice, "echo $$; exec sleep 300")
    assert session.stdout
    child = int(session.stdout.readline())
    cluster.controller.send(signal.SIGTERM)
    assert cluster.controller.await_end() == 0
    _, err = session.communicate(timeout=20)
    assert session.returncode == 255
    assert err == b"ERROR: the proxy closed the connection: the controller is stopping\n"
    await_pid_end(child)


def test_device_keeps_its_identity_and_forgets_its_token(cluster: RealCluster, alice: Person) -> None:
    token = cluster.token("--labels=env=staging")
    mark = cluster.controller.mark()
    program = cluster.run("agent edge-1", cluster.agent_command("edge-1", token))
    node_id = program.await_line(r"joined cluster harbour as edge-1 \((\S+)\)")[1]
    cluster.await_tunnel(node_id, since=mark)
    folder = cluster.folder / "edge-1"
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if token.text.encode() in path.read_bytes()]
    assert (
        token.text
        not in Path(f"/proc/{program.pid}/cmdline").read_text() + Path(f"/proc/{program.pid}/environ").read_text()
    )
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert program.stop() == 0
    mark = cluster.controller.mark()
    command = [str(BIN / "edge-agent"), "start", f"--controller={token.controller}", f"--data-dir={folder}"]
    again = cluster.run("agent edge-1 again", command)
    cluster.await_tunnel(node_id, since=mark)
    works_on(cluster, alice, "edge-1")
    assert not again.find("joined cluster")
    assert len(cluster.events("instance.join")) == 1


def test_killed_device_comes_back_as_itself(cluster: RealCluster, alice: Person) -> None:
    agent = cluster.start_agent("edge-1")
    mark = cluster.controller.mark()
    agent.program.kill()
    cluster.controller.await_line(f"node {agent.node_id} disconnected", since=mark)
    cluster.restart_agent(agent)
    works_on(cluster, alice, "edge-1")


def test_second_connection_of_a_node_displaces_the_first_and_it_never_was_offline(
    cluster: RealCluster, alice: Person
) -> None:
    first = cluster.start_agent("edge-1")
    copy = cluster.folder / "copy of edge-1"
    shutil.copytree(first.data_dir, copy)
    first.program.send(signal.SIGSTOP)  # as behind a link that died silently
    mark = cluster.controller.mark()
    command = [str(BIN / "edge-agent"), "start", f"--controller={cluster.address('web')}", f"--data-dir={copy}"]
    second = cluster.run("second agent edge-1", command)
    cluster.controller.await_line(f"node {first.node_id}: displaces its connection", since=mark)
    served = cluster.tsh(alice, "ssh", "edge-1", "echo $PPID")
    assert served.stdout == f"{second.pid}\n".encode(), served.stderr
    first.program.kill()
    served = cluster.tsh(alice, "ssh", "edge-1", "echo $PPID")
    assert served.stdout == f"{second.pid}\n".encode(), served.stderr
    assert not cluster.controller.find(f"node {first.node_id} disconnected", since=mark)


def test_two_agents_cannot_run_on_one_data_directory(harbour: Harbour) -> None:
    cluster = harbour.cluster
    folder: Path = harbour.edge_1.data_dir
    command = [str(BIN / "edge-agent"), "start", f"--controller={cluster.address('web')}", f"--data-dir={folder}"]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == f"ERROR: {folder}: another agent runs on this data directory\n".encode()


def test_a_role_that_comes_back_goes_by_the_settings_that_the_controller_was_started_with(cluster: RealCluster) -> None:
    cluster.start_agent("edge-1")
    before = cluster.events("policy.update")
    settings = json.loads(cluster.config.read_text(encoding="utf-8"))
    settings["auth_service"] |= {"locking_mode": "strict", "record_session": "strict"}
    cluster.config.write_text(json.dumps(settings), encoding="utf-8")
    mark = cluster.controller.mark()
    for role in ("web", "presence"):
        os.kill(cluster.role_pid(role), signal.SIGKILL)
        cluster.controller.await_line(rf"\] {role} started, pid", since=mark)
    cluster.controller.await_line(r"connected to the broker", since=mark)
    cluster.start_agent("edge-2")  # both have made the document by then
    assert cluster.events("policy.update") == before
