"""What somebody gets who has a removed device's keys, keys of their own making, or what the controller once said."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.addresses import BoundAddresses
from controller.authority import Authority, Vault
from controller.broker.entrance import open_entrance
from controller.store.memory import MemoryStore
from edge_agent.identity import TLS_CERTIFICATE, TLS_KEY
from protocol import topics
from protocol.names import ClusterName
from protocol.secret import Secret
from tests.controller.broker.lab import Caller, RefusedError, chain_of
from tests.controller.harbour import HandClock
from tests.harness.real_cluster import LOGIN, Agent, Person, RealCluster
from tests.harness.recordings import Archive
from tests.harness.running_program import PATIENCE, stopped

pytestmark = pytest.mark.system
TIMES = 30


@contextmanager
def posing_as_the_controller(cluster: RealCluster) -> Iterator[Caller]:
    """Speak at the broker as the controller does, in its place: as somebody who has its keys, or the broker itself."""
    opened = Archive(cluster).cluster
    bound = BoundAddresses.load(opened.config)
    entrance = open_entrance(opened.config, bound, opened.authority, datetime.now(UTC))
    assert entrance is not None
    with stopped(cluster.role_pid("presence")):
        caller = Caller(entrance.context, "controller").connect(cluster.port("mqtt"))
        try:
            yield caller
        finally:
            caller.close()


def policy_at_the_broker(cluster: RealCluster) -> bytes:
    with posing_as_the_controller(cluster) as caller:
        caller.subscribe(topics.POLICY)
        return caller.next_message()[1]


def at_the_node_door(cluster: RealCluster, person: Person, port: str) -> subprocess.CompletedProcess[bytes]:
    return cluster.tsh(person, "ssh", "--direct", f"127.0.0.1:{port}", f"{LOGIN}@edge", "echo in")


def tampered(payload: bytes) -> bytes:
    """Return a policy document without its locks, and with a version that no other has, the signature as it was."""
    endorsed = json.loads(payload)
    body = json.loads(endorsed["body"]) | {"locks": [], "version": 2**50}
    return json.dumps(endorsed | {"body": json.dumps(body)}).encode()


def foreign_authority() -> Authority:
    """Return the keys of another cluster of the same name."""
    vault = Vault(Secret(b"insecure master key of 32 bytes!"))
    authority = Authority(MemoryStore(), vault, ClusterName("harbour"))
    authority.create_missing(datetime.now(UTC))
    return authority


def foreign(payload: bytes) -> bytes:
    """Return a policy document that another cluster's authority has signed, successions and all."""
    body = json.loads(tampered(payload))["body"]
    return json.dumps(foreign_authority().endorse("policy", body).to_dict()).encode()


def test_a_policy_of_old_a_forged_one_and_garbage_lift_no_lock_and_fill_no_log(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    agent = cluster.start_agent("edge", settings={"listen_addr": "127.0.0.1:0"})
    agent.program.await_line("connected to the broker")
    port = agent.program.await_line(r"people on this device's network reach it at 127\.0\.0\.1:(\d+)")[1]
    assert at_the_node_door(cluster, alice, port).stdout == b"in\n"
    old = policy_at_the_broker(cluster)
    mark = agent.program.mark()
    cluster.tctl("lock", "--user=alice", "--message=lost laptop")
    agent.program.await_line("going by version", since=mark)

    present = await_policy(agent, b"lost laptop")
    mark = agent.program.mark()
    with posing_as_the_controller(cluster) as caller:
        bad = (tampered(present), foreign(present), b"{", b"\0" * 1000, old)
        for payload in bad * TIMES:
            caller.publish(topics.POLICY, payload, retain=True)
        agent.program.await_line(r"older than version \d+ that is held \(Y3\)", since=mark)
        refused = at_the_node_door(cluster, alice, port)
        assert (refused.returncode, refused.stdout) == (255, b"")
        assert b'lock targeting User:"alice" is in force: lost laptop' in refused.stderr

        said = agent.program.find("was ignored", since=mark)
        assert sorted(found.string[-3:-1] for found in said) == ["E2", "E3", "Y1", "Y3"]  # once each, for them all

        # An agent that starts finds the old one retained at the broker, and its own on its disk.
        agent.program.kill()
        cluster.restart_agent(agent)
        agent.program.await_line(r"older than version \d+ that is held \(Y3\)")
        port = agent.program.await_line(r"people on this device's network reach it at 127\.0\.0\.1:(\d+)")[1]
        refused = at_the_node_door(cluster, alice, port)
        assert b'lock targeting User:"alice" is in force: lost laptop' in refused.stderr
    cluster.tctl("locks", "rm", json.loads(cluster.tctl("locks", "ls", "--format=json").stdout)[0]["id"])
    agent.program.await_line("going by version")
    assert at_the_node_door(cluster, alice, port).stdout == b"in\n"


def await_policy(agent: Agent, words: bytes) -> bytes:
    """Return the policy document with these words once a device has it on its disk: it does not say when that is."""
    deadline = time.monotonic() + PATIENCE
    while words not in (kept := (agent.data_dir / "policy.json").read_bytes()):
        assert time.monotonic() < deadline, kept
        time.sleep(0.02)
    return kept


# --- keys -------------------------------------------------------------------------------------------------------------


def may_come(cluster: RealCluster, chain: str, node_id: str, folder: Path) -> bool:
    """Tell whether the broker lets in who brings this key and certificate."""
    path = folder / f"{os.urandom(4).hex()}.pem"
    path.write_text(chain)
    context = ssl.create_default_context(cadata="".join(Archive(cluster).cluster.authority.tls_authorities()))
    context.check_hostname = False
    context.load_cert_chain(path)
    caller = Caller(context, node_id)
    try:
        caller.connect(cluster.port("mqtt"))
    except RefusedError:
        return False
    finally:
        caller.close()
    return True


def asks_machine_api(cluster: RealCluster, data_dir: Path) -> str:
    """Return the status that the machine API answers to who brings these keys; 000 where there is no connection."""
    options = ["-sk", "-o", os.devnull, "-w", "%{http_code}", "-m", str(int(PATIENCE))]
    keys = ["--cert", str(data_dir / TLS_CERTIFICATE), "--key", str(data_dir / TLS_KEY)]
    url = f"https://{cluster.address('api')}/v1/policy"
    return subprocess.run(["curl", *options, *keys, url], capture_output=True, text=True, check=False).stdout


def test_a_removed_device_s_keys_and_foreign_ones_open_no_door(cluster: RealCluster, tmp_path: Path) -> None:
    thief, other = cluster.start_agent("stolen"), cluster.start_agent("other")
    thief.program.await_line("connected to the broker")
    loot = tmp_path / "loot"
    shutil.copytree(thief.data_dir, loot)
    chain = (loot / TLS_KEY).read_text() + (loot / TLS_CERTIFICATE).read_text()
    assert asks_machine_api(cluster, loot) == "200"
    made_up = chain_of(foreign_authority(), HandClock(datetime.now(UTC)), other.node_id)
    assert not may_come(cluster, made_up, other.node_id, tmp_path)

    mark = cluster.controller.mark()
    cluster.tctl("nodes", "rm", "stolen")
    cluster.controller.await_line(f"tunnel door: node {thief.node_id} was removed: its connection", since=mark)
    thief.program.await_line("the controller refuses to renew this node's certificates")
    assert thief.program.stop() == 0
    deadline = time.monotonic() + PATIENCE
    while may_come(cluster, chain, thief.node_id, tmp_path):  # the broker takes a signal when it does
        assert time.monotonic() < deadline, "the broker lets a removed node in"
    assert asks_machine_api(cluster, loot) in {"401", "403"}
    mark = cluster.controller.mark()
    thief.data_dir = loot
    cluster.relaunch_agent(thief)
    thief.program.await_line("the controller refuses to renew this node's certificates")
    assert not cluster.controller.find(f"node {thief.node_id} connected", mark)
    nodes = json.loads(cluster.tctl("nodes", "ls", "--format=json").stdout)
    assert [node["node_id"] for node in nodes] == [other.node_id]
    assert thief.node_id not in {event.get("server_id") for event in cluster.events("node.online")}
