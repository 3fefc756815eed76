"""What `tctl` prints, word for word, and that it can be taken at its word: links open, commands run."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster, link_in
from tests.harness.web_visitor import Form, Visitor
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system


def command_in(text: str) -> str:
    """Return what a person copies who has the agent: the last lines after ``> ``."""
    return text.rpartition("\n> ")[2].partition("\n\n")[0]


def test_adding_a_user_prints_the_message_and_a_link_that_works(harbour: Harbour) -> None:
    cluster = harbour.cluster
    address = cluster.address("web")
    text = cluster.tctl("users", "add", "carol", f"{LOGIN},pi").stdout
    assert re.fullmatch(
        "User carol has been created but requires a password. Share this URL with the user to complete user setup, "
        "link is valid for 1h0m0s:\n"
        "\n"
        rf"https://{re.escape(address)}/web/invite/[0-9a-f]{{32}}"
        "\n"
        "\n"
        rf"NOTE: Make sure {re.escape(address)} points at a Skerry proxy which users can access\."
        "\n",
        text,
    )
    page = Visitor(cluster.anchors).get(link_in(text))
    assert page.status == 200
    assert Form(page.text).secret
    assert "<svg" in page.text
    assert "carol" in page.text


def test_page_behind_the_link_ends_with_the_login_line_to_type(harbour: Harbour) -> None:
    cluster = harbour.cluster
    dave = Person("dave", cluster.folder / "home of dave")
    dave.home.mkdir()
    page = cluster.accept(cluster.invite("dave"), dave)
    line = f"tsh login --proxy={cluster.address('web')} --user=dave --ca-pin={cluster.pin}"
    assert page.status == 200
    assert f'data-copy="{line}"' in page.text
    done = cluster.tsh(dave, *shlex.split(line)[1:], typed=f"{dave.password}\n{dave.next_code()}\n".encode())
    assert done.returncode == 0, done.stderr


def test_resetting_a_user_prints_the_message_and_voids_what_was_before(cluster: RealCluster) -> None:
    erin = cluster.add_user("erin")
    cluster.sign_in(erin)
    assert cluster.tsh(erin, "ls").returncode == 0
    address = cluster.address("web")
    text = cluster.tctl("users", "reset", "erin").stdout
    assert re.fullmatch(
        "User erin has been reset. Share this URL with the user to complete password reset, "
        "link is valid for 8h0m0s:\n"
        "\n"
        rf"https://{re.escape(address)}/web/reset/[0-9a-f]{{32}}"
        "\n"
        "\n"
        rf"NOTE: Make sure {re.escape(address)} points at a Skerry proxy which users can access\."
        "\n",
        text,
    )
    assert cluster.tsh(erin, "ls").returncode != 0
    assert cluster.try_sign_in(erin, erin.password, erin.next_code()).returncode == 1
    erin.password = "insecure new password"
    assert cluster.accept(link_in(text), erin).status == 200
    cluster.sign_in(erin)


def test_adding_a_token_prints_the_message_and_a_command_that_joins(cluster: RealCluster) -> None:
    address = cluster.address("web")
    text = cluster.tctl("tokens", "add", "--type=node", "--labels=env=staging").stdout
    assert re.fullmatch(
        r"The invite token: (?P<token>[0-9a-f]{32})\n"
        r"This token will expire in 30 minutes\.\n"
        r"\n"
        r"There are no archives to install the agent from \(`make dist` into proxy_service\.agent_archives\)\.\n"
        r"\n"
        r"Run this on the new node, where the agent is installed, to join the cluster, without a service:\n"
        r"\n"
        r"> edge-agent start \\\n"
        r"   --token=(?P=token) \\\n"
        r"   --ca-pin=sha256:[0-9a-f]{64} \\\n"
        rf"   --controller={re.escape(address)}\n"
        r"\n"
        r"Please note:\n"
        r"\n"
        r"  - This invitation token will expire in 30 minutes\n"
        r"  - It can be used once\n"
        rf"  - {re.escape(address)} must be reachable from the new node,\n"
        r"    and so must the doors for devices there \(by default 3024, 3025 and 8883\)\n",
        text,
    )
    mark = cluster.controller.mark()
    # A device of its own would need neither option: it has its own name and /var/lib.
    own = shlex.join(["--nodename=kiosk", f"--data-dir={cluster.folder / 'kiosk'}"])
    agent = cluster.run("agent kiosk", ["/bin/sh", "-c", f"exec {command_in(text)} {own}"])
    node_id = agent.await_line(r"joined cluster harbour as kiosk \((\S+)\), labels: env=staging")[1]
    cluster.await_tunnel(node_id, since=mark)
    assert cluster.tctl("tokens", "ls").stdout == "No active tokens found.\n"


def test_token_listing_hides_all_but_the_last_four(cluster: RealCluster) -> None:
    token = cluster.token("--uses=3", "--labels=site=harbour", "--ttl=2h")
    lines = cluster.tctl("tokens", "ls").stdout.splitlines()
    assert re.fullmatch(r"Token\s+Type\s+Labels\s+Uses\s+Expiry Time \(UTC\)", lines[0].rstrip())
    assert lines[2].startswith(f"****{token.text[-4:]} Node ")
    assert "site=harbour" in lines[2]
    assert token.text not in "\n".join(lines)


def test_user_listing_tells_who_has_yet_to_enrol(cluster: RealCluster) -> None:
    cluster.add_user("frank")
    cluster.invite("grace", f"{LOGIN},pi")
    rows = [line.split() for line in cluster.tctl("users", "ls").stdout.splitlines()[2:]]
    assert rows == [["frank", "access", LOGIN, "active"], ["grace", "access", f"{LOGIN},pi", "invited"]]


def test_removing_a_node_cuts_it_off_and_leaves_the_others(cluster: RealCluster) -> None:
    alice = cluster.add_user("alice")
    cluster.sign_in(alice)
    gone, kept = cluster.start_agent("edge-1"), cluster.start_agent("edge-2")
    mark = cluster.controller.mark()
    done = cluster.tctl("nodes", "rm", "edge-1")
    assert done.stdout == f'node "edge-1" ({gone.node_id}) has been removed\n'
    cluster.controller.await_line(rf"node {gone.node_id} was removed: its connection from \S+ is cut", since=mark)
    cluster.controller.await_line(rf"node {gone.node_id} is not enrolled", since=mark)  # it dials, and is refused
    assert cluster.tsh(alice, "ssh", f"{LOGIN}@edge-1", "true").returncode != 0
    assert cluster.tsh(alice, "ssh", f"{LOGIN}@{kept.node_id}", "true").returncode == 0
    assert gone.node_id not in cluster.tctl("nodes", "ls", "-v").stdout
    assert cluster.await_event("node.delete", server_id=gone.node_id)["server_hostname"] == "edge-1"


def test_status_tells_a_running_controller_from_a_stopped_one(cluster: RealCluster) -> None:
    assert f"Controller  running, web door at {cluster.address('web')}\n" in cluster.tctl("status").stdout
    cluster.controller.stop()
    assert "Controller  not running\n" in cluster.tctl("status").stdout


def test_wrong_command_lines_are_one_message_and_status_2(harbour: Harbour) -> None:
    for wrong in (["users", "add", "Bad Name", "root"], ["users", "add", "henry"], ["tokens", "add", "--ttl=soon"]):
        done = harbour.cluster.tctl(*wrong, status=2)
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("ERROR: ")
