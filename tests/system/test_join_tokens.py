"""Join tokens on real devices: how often, until when, with which labels, and what a refused device is told."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.real_cluster import RealCluster, Token
from tests.harness.running_program import RunningProgram, children_of, clean_environment, stopped
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system


def try_join(cluster: RealCluster, name: str, token: Token, *options: str) -> RunningProgram:
    """Start a device and wait until it has joined or has given up."""
    program = cluster.run(f"agent {name}", cluster.agent_command(name, token, *options))
    program.await_line(r"joined cluster|ERROR: ")
    return program


def refusal_of(program: RunningProgram) -> tuple[int, str]:
    """Return exit status and output of a device that was not let in."""
    status = program.await_end()
    program.await_silence()
    return status, program.log()


def labels_of(program: RunningProgram) -> str:
    return program.await_line(r"joined cluster \S+ as \S+ \(\S+\), labels: (.*)")[1]


def await_no_tokens(cluster: RealCluster) -> None:
    """Wait until the clock has made every token void: there is no line to wait for."""
    deadline = time.monotonic() + 20
    while cluster.tctl("tokens", "ls").stdout != "No active tokens found.\n":
        assert time.monotonic() < deadline, "the token does not expire"


def test_spent_expired_unknown_and_removed_tokens_are_refused_in_the_same_words(cluster: RealCluster) -> None:
    spent = cluster.token()
    assert labels_of(try_join(cluster, "first", spent)) == "no labels"
    expired = cluster.token("--ttl=1s")
    await_no_tokens(cluster)
    removed = cluster.token()
    cluster.tctl("tokens", "rm", removed.text)
    unknown = Token("0" * 32, spent.controller, spent.pin)
    tokens = {"spent": spent, "expired": expired, "removed": removed, "unknown": unknown}
    answers = {name: refusal_of(try_join(cluster, name, token)) for name, token in tokens.items()}
    words = (
        f"ERROR: cannot join: {spent.controller} refused: the controller did not accept this token; "
        "ask for a new token (tctl tokens add --type=node)"
    )
    assert set(answers.values()) == {(1, words)}
    refused = {event["node_name"]: event for event in cluster.events("TJ002E")}
    assert refused.keys() == tokens.keys()
    assert {refused[name]["token"] for name in tokens} == {f"****{token.text[-4:]}" for token in tokens.values()}
    assert refused["spent"]["check"] == "J3"
    assert refused["expired"]["check"] == "J2"
    assert refused["unknown"]["check"] == refused["removed"]["check"] == "J1"
    assert len({refused[name]["error"] for name in ("spent", "expired", "unknown")}) == 3
    assert not (cluster.folder / "spent" / "identity.json").exists()


def test_devices_that_race_for_one_use_get_one_between_them(cluster: RealCluster) -> None:
    token = cluster.token()
    # All knock while nobody answers: then both workers of the web door have their hands full of them at once.
    with stopped(*children_of(cluster.role_pid("web"))):
        racers = [cluster.run(f"agent {number}", cluster.agent_command(f"{number}", token)) for number in range(6)]
        await_connections(cluster.port("web"), len(racers))
    for racer in racers:
        racer.await_line(r"joined cluster|ERROR: cannot join")
    winners = [racer for racer in racers if racer.find("joined cluster")]
    assert len(winners) == 1
    assert {refusal_of(racer)[0] for racer in racers if racer not in winners} == {1}
    assert len(cluster.events("TJ002I")) == 1
    assert len(cluster.events("TJ002E")) == 5


def await_connections(port: int, count: int) -> None:
    """Wait until so many connections to a port are open, accepted by somebody or not."""
    deadline = time.monotonic() + 30
    wanted = f":{port:04X} 01"  # where to, and the state: established
    while Path("/proc/net/tcp").read_text(encoding="ascii").count(wanted) < count:
        assert time.monotonic() < deadline, "the devices do not dial"


def test_token_for_two_uses_lets_two_in_and_not_three(cluster: RealCluster) -> None:
    token = cluster.token("--uses=2")
    for name in ("first", "second"):
        assert labels_of(try_join(cluster, name, token)) == "no labels"
    assert refusal_of(try_join(cluster, "third", token))[0] == 1


def test_static_token_lets_in_as_many_as_come(make_cluster: Callable[..., RealCluster]) -> None:
    text = "f7adb7ccdf04037bcd2b52ec6010fd6f0caec94ba190b765"
    cluster = make_cluster({"auth_service": {"cluster_name": "harbour", "tokens": [f"proxy,node,app:{text}"]}})
    cluster.start()
    made = cluster.token()
    static = Token(text, made.controller, made.pin)
    for name in ("first", "second", "third"):
        assert labels_of(try_join(cluster, name, static, "--labels=env=staging")) == "env=staging"
    assert "****b765" in cluster.tctl("tokens", "ls").stdout
    assert "take it out there" in cluster.tctl("tokens", "rm", text, status=1).stderr


def test_labels_that_the_token_fixes_win_over_what_the_device_says(cluster: RealCluster) -> None:
    token = cluster.token("--labels=env=production")
    joined = try_join(cluster, "kiosk", token, "--labels=env=staging,floor=2")
    assert labels_of(joined) == "env=production, floor=2"


def test_device_may_claim_the_labels_it_is_let_and_no_others(cluster: RealCluster) -> None:
    token = cluster.token("--labels=env=production", "--claimable=floor", "--uses=2")
    joined = try_join(cluster, "kiosk", token, "--labels=floor=2,role=admin")
    assert labels_of(joined) == "env=production, floor=2"
    nothing = cluster.token("--claimable=")
    assert labels_of(try_join(cluster, "other", nothing, "--labels=floor=2")) == "no labels"


def test_wrong_pin_keeps_the_token_at_home(harbour: Harbour) -> None:
    cluster = harbour.cluster
    token = cluster.token()
    wrong = Token(token.text, token.controller, "sha256:" + "0" * 64)
    mark = cluster.controller.mark()
    status, said = refusal_of(try_join(cluster, "lost", wrong))
    assert status == 1
    assert "did not prove to be the controller" in said
    assert "the token was not sent" in said
    assert not cluster.controller.find("/v1/join", since=mark)
    cluster.tctl("tokens", "rm", token.text)


def test_insecure_join_says_so_loudly(cluster: RealCluster) -> None:
    token = cluster.token()
    command = [part for part in cluster.agent_command("kiosk", token, "--insecure") if not part.startswith("--ca-pin")]
    program = cluster.run("agent kiosk", command)
    program.await_line(rf"^WARNING: --insecure: the certificate of {re.escape(token.controller)} is NOT checked")
    program.await_line("joined cluster harbour as kiosk")


def test_device_without_token_or_identity_is_told_what_to_do(harbour: Harbour) -> None:
    command = harbour.cluster.agent_command("nobody", Token("", "127.0.0.1:1", "sha256:" + "0" * 64))
    command = [part for part in command if not part.startswith("--token")]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")
    assert "--token TOKEN (tctl tokens add --type=node)" in done.stderr
