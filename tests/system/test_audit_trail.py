"""The audit log after a day's work: everything that changed something is on it, and no edit goes unnoticed."""

from __future__ import annotations

import getpass
import socket
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

from protocol import events
from tests.harness.real_cluster import LOGIN, Person, RealCluster, Token, link_in
from tests.harness.running_program import BIN
from tests.harness.web_visitor import Form, Visitor

pytestmark = pytest.mark.system
COMMON = {"event", "code", "time", "uid", "ei", "cluster_name", "prev"}
# Told when a node has been there for a moment, and with whatever changes the policy document.
BY_ITSELF = {events.NODE_ONLINE.code, events.NODE_OFFLINE.code, events.POLICY_UPDATE.code}
ADMIN = f"{getpass.getuser()}@{socket.gethostname()}"


class Trail:
    """The log, looked at step by step."""

    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster
        self._seen: set[str] = set()
        self.codes: set[str] = set()

    def expect(self, code: str, **fields: object) -> dict[str, Any]:
        """Wait for an event that was not seen before, with its kind's fields and these; ``__`` stands for a dot."""
        wanted = {name.replace("__", "."): value for name, value in fields.items()}
        event = self._cluster.await_event(code, **fields)
        assert event["uid"] not in self._seen
        self._seen.add(event["uid"])
        self.codes.add(code)
        kind = events.BY_CODE[code]
        assert event["event"] == kind.name
        assert event.keys() >= COMMON | kind.fields
        assert event["cluster_name"] == "harbour"
        assert wanted.items() <= event.items()
        return event


def work_on_people(cluster: RealCluster, trail: Trail) -> Person:
    alice = cluster.add_user("alice", f"{LOGIN},nobody-here")
    trail.expect("T1002I", user=ADMIN, name="alice", roles=["access"], logins=[LOGIN, "nobody-here"], connector="local")
    trail.expect("T1005I", user="alice", via="web")
    trail.expect("T1006I", user="alice", mfa_device_type="TOTP")
    Visitor(cluster.anchors).get(f"https://{cluster.address('web')}/web/invite/{'0' * 32}")
    trail.expect("SK003W", success=False)
    cluster.try_sign_in(alice, "insecure wrong password", "000000")
    trail.expect("T1000W", user="alice", success=False, method="local")
    cluster.sign_in(alice)
    trail.expect("T1000I", user="alice", success=True, method="local")
    trail.expect("TC000I", user="alice", cert_type="user", logins=[LOGIN, "nobody-here"])
    look_at_the_dashboard(cluster, trail, alice)
    return alice


def look_at_the_dashboard(cluster: RealCluster, trail: Trail, alice: Person) -> None:
    """Sign in and out in a browser."""
    base = f"https://{cluster.address('web')}/web"
    browser = Visitor(cluster.anchors)
    form = Form(browser.get(f"{base}/login").text)
    answers = {"user": "alice", "password": alice.password, "otp": alice.next_code()}
    assert browser.submit(f"{base}/login", form.fields | answers).status == 303
    trail.expect("T1000I", user="alice", success=True, via="web", client="")
    page = browser.get(f"{base}/nodes")
    assert page.status == 200
    assert browser.submit(f"{base}/logout", Form(page.text).fields).status == 303
    trail.expect("SK002I", user="alice")


def work_on_devices(cluster: RealCluster, trail: Trail) -> str:
    agent = cluster.start_agent("edge-1", "env=staging")
    made = trail.expect("TJT00I", user=ADMIN, roles=["Node"], join_method="token", labels={"env": "staging"})
    joined = {"success": True, "node_name": "edge-1", "role": "Node", "method": "token", "token": made["token"]}
    trail.expect("TJ002I", host_id=agent.node_id, **joined)
    token = cluster.token()
    cluster.tctl("tokens", "rm", token.text)
    trail.expect("SK010I", user=ADMIN, token=f"****{token.text[-4:]}")
    refused = cluster.run(
        "agent stranger", cluster.agent_command("stranger", Token("1" * 32, token.controller, token.pin))
    )
    assert refused.await_end() == 1
    trail.expect("TJ002E", success=False, node_name="stranger", token="****1111")
    return agent.node_id


def work_in_sessions(cluster: RealCluster, trail: Trail, alice: Person, node_id: str) -> None:
    where = {"user": "alice", "server_id": node_id, "server_hostname": "edge-1"}
    session = {**where, "login": LOGIN}
    cluster.tsh(alice, "ssh", "edge-1", "echo one")
    trail.expect("T2010I", target="edge-1", **where)
    ran = trail.expect("T3002I", command="echo one", exitCode=0, **session)
    began = trail.expect("T2000I", sid=ran["sid"], initial_command=["echo one"], interactive=False, **session)
    ended = trail.expect("T2004I", sid=ran["sid"], participants=["alice"], interactive=False, exitCode=0, **session)
    assert began["addr.remote"] == ran["addr.remote"] == ended["addr.remote"]
    assert ended["session_start"] <= ended["session_stop"]
    cluster.tsh(alice, "ssh", "edge-1", "exit 4")
    trail.expect("T3002E", command="exit 4", exitCode=4, **session)
    terminal = pexpect.spawn(
        str(BIN / "tsh"), ["ssh", "edge-1"], env=alice.environment, dimensions=(31, 97), timeout=20
    )
    terminal.sendline("exit 6")
    terminal.expect(pexpect.EOF)
    terminal.close()
    shell = trail.expect("T2004I", interactive=True, exitCode=6, **session)
    trail.expect("T2000I", sid=shell["sid"], size="97:31", interactive=True)
    trail.expect("T2005I", sid=shell["sid"], state="complete", user="alice", server_id=node_id)
    copy_a_file(cluster, alice)
    trail.expect("T3001I", name="sftp", exitCode=0, **session)
    assert cluster.tsh(alice, "ssh", "nobody-here@edge-1", "true").returncode != 0
    trail.expect("T3007W", success=False, login="nobody-here", door="node", server_id=node_id)


def copy_a_file(cluster: RealCluster, alice: Person) -> None:
    config = cluster.folder / "ssh_config"
    config.write_bytes(cluster.tsh(alice, "config").stdout)
    command = ["scp", "-q", "-F", str(config), str(config), f"{LOGIN}@edge-1.harbour:{cluster.folder}/copy"]
    subprocess.run(command, check=True, timeout=30)


def take_leave(cluster: RealCluster, trail: Trail, alice: Person) -> None:
    assert cluster.tsh(alice, "logout").returncode == 0
    trail.expect("SK002I", user="alice")
    link_in(cluster.tctl("users", "reset", "alice").stdout)
    trail.expect("T6000I", user=ADMIN, name="alice", ttl="8h0m0s")
    cluster.tctl("users", "rm", "alice")
    trail.expect("T1004I", user=ADMIN, name="alice")


def test_everything_that_changes_something_is_on_the_log_and_an_edit_is_found(cluster: RealCluster) -> None:
    trail = Trail(cluster)
    trail.expect("SK020I", ca_pin=cluster.pin)
    alice = work_on_people(cluster, trail)
    node_id = work_on_devices(cluster, trail)
    work_in_sessions(cluster, trail, alice, node_id)
    take_leave(cluster, trail, alice)
    named_in_the_plan = {"T1000I", "T1000W", "T1002I", "T2000I", "T2004I", "T3002I", "T3007W", "TJ002I", "TJT00I"}
    assert named_in_the_plan <= trail.codes
    told = {event["code"] for event in cluster.events()}
    assert told - BY_ITSELF == trail.codes - BY_ITSELF, "nothing is on it that nobody did"
    assert "intact" in cluster.tctl("audit", "verify").stdout.lower()
    secrets = [alice.password, alice.secret]
    [file] = cluster.data_dir.rglob("audit-*.log")
    assert not [secret for secret in secrets if secret in file.read_text()]
    assert file.stat().st_mode & 0o777 == 0o600
    find_an_edit(cluster, file)


def find_an_edit(cluster: RealCluster, file: Path) -> None:
    """Flip one bit in the log: `tctl audit verify` names file and line."""
    data = bytearray(file.read_bytes())
    lines = data.split(b"\n")
    data[sum(len(line) + 1 for line in lines[:6]) + len(lines[6]) // 2] ^= 1
    file.write_bytes(data)
    said = cluster.tctl("audit", "verify", status=1).stdout
    assert file.name in said
    assert "line 7" in said or "line 8" in said or f"{file.name}:7" in said or f"{file.name}:8" in said, said
