"""The node's own door while the controller is dead: the same certificates and rules, and recordings that wait."""

from __future__ import annotations

import subprocess

import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster
from tests.harness.recordings import Archive, await_empty, spooled
from tests.harness.running_program import clean_environment

pytestmark = pytest.mark.system
ASKED = "echo $SSH_SESSION_ID $SSH_SKERRY_USER"


def openssh(person: Person, port: str, host: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run OpenSSH's own client against the node door, with what `tsh login` has left and nothing else."""
    keys = person.keys
    options = {
        "IdentitiesOnly": "yes",
        "IdentityFile": f'"{keys / person.name}"',
        "CertificateFile": f'"{keys / person.name}-cert.pub"',
        "UserKnownHostsFile": f'"{keys / "known_hosts"}"',
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": host,
        "BatchMode": "yes",
    }
    listed = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return subprocess.run(
        ["ssh", "-F", "/dev/null", *listed, "-p", port, f"{LOGIN}@127.0.0.1", command],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=clean_environment(),
        timeout=50,
        check=False,
    )


def test_people_work_at_the_node_door_while_the_controller_is_dead_and_what_was_recorded_comes_later(
    cluster: RealCluster,
) -> None:
    cluster.keep_ports()
    alice, mallory = cluster.add_user("alice"), cluster.add_user("mallory")
    for person in (alice, mallory):
        cluster.sign_in(person)
    agent = cluster.start_agent("edge", settings={"listen_addr": "127.0.0.1:0"})
    agent.program.await_line("connected to the broker")
    port = agent.program.await_line(r"people on this device's network reach it at 127\.0\.0\.1:(\d+)")[1]
    mark = agent.program.mark()
    cluster.tctl("lock", "--user=mallory", "--message=left")
    agent.program.await_line("going by version", since=mark)
    cluster.controller.kill()
    cluster.controller.await_silence()

    by_tsh = cluster.tsh(alice, "ssh", "--direct", f"127.0.0.1:{port}", f"{LOGIN}@{agent.node_id}", ASKED)
    assert by_tsh.returncode == 0, by_tsh.stderr.decode()
    by_ssh = openssh(alice, port, "edge", ASKED)
    assert by_ssh.returncode == 0, by_ssh.stderr
    sessions = {}
    for said in (by_tsh.stdout.decode(), by_ssh.stdout):
        session, user = said.split()
        assert user == "alice"
        sessions[session] = said
    assert {path.stem for path in spooled(agent)} == set(sessions)
    # The lock that was put on before still holds, and a name that is not the node's is not taken for it.
    locked = openssh(mallory, port, "edge", "true")
    assert locked.returncode == 255
    assert 'lock targeting User:"mallory" is in force: left' in locked.stderr
    assert "Host key verification failed" in openssh(alice, port, "other", "true").stderr

    cluster.start()
    cluster.await_tunnel(agent.node_id, since=0)
    archive = Archive(cluster)
    for session, said in sessions.items():
        archive.await_state(session, "complete")
        assert said.strip() in archive.contents(session).output()
        ended = cluster.await_event("session.end", sid=session)
        assert (ended["user"], ended["server_id"]) == ("alice", agent.node_id)
    await_empty(agent)
