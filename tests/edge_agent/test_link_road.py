"""Joining, and the link to the controller through its troubles: the real agent against the simulated controller."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.road import OWN, ROOT, Agent, Shell, join_arguments
from tests.harness.simulated_broker import SimulatedBroker
from tests.harness.simulated_controller import TOKEN, Answer, SimulatedController

pytestmark = pytest.mark.system
Start = Callable[..., Agent]
_LONG = 60.0
WRONG_PIN = "sha256:" + "0" * 64


def token_was_sent(controller: SimulatedController) -> bool:
    return any(TOKEN.encode() in body for body in controller.bodies)


def road_to(controller: SimulatedController, name: str) -> Shell:
    node_id = controller.wait_for_node(name)
    return Shell(controller, controller.door_to(node_id), node_id)


def test_joining_claims_the_labels_and_logs_who_it_is(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"), "--labels", "a=b,env=x")
    node_id = own_controller.wait_for_node("n1")
    assert dict(own_controller.joins[0].labels) == {"a": "b", "env": "x"}
    agent.wait_for_line(f"joined cluster simulated as n1 ({node_id}), labels: a=b, env=x")
    assert agent.stop() == 0


def test_the_identity_is_private_and_the_token_is_not_in_it(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    for path in (tmp_path / "d").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()


def test_with_an_identity_no_token_is_needed_and_a_new_one_is_ignored(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    node_id = own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    agent = _restart(own_controller, start_agent, tmp_path, node_id)
    assert agent.stop() == 0
    _restart(own_controller, start_agent, tmp_path, node_id, "--token", "another-token-0123456789")
    assert len(own_controller.joins) == 1


def _restart(
    controller: SimulatedController, start_agent: Start, tmp_path: Path, node_id: str, *arguments: str
) -> Agent:
    controller.wait_for(lambda: not controller.tunnels, "the end of the tunnel")
    agent = start_agent(controller, "--controller", controller.address, "--data-dir", str(tmp_path / "d"), *arguments)
    assert controller.wait_for_node("n1") == node_id
    return agent


def test_half_an_identity_is_none(own_controller: SimulatedController, start_agent: Start, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "host_key").write_text("cut off")
    start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    own_controller.wait_for_node("n1")


def test_without_identity_and_token_it_says_what_to_do(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, "--controller", own_controller.address, "--data-dir", str(tmp_path / "d"))
    assert agent.wait() == 1
    assert "holds no identity: say --token" in agent.lines[-1]


@pytest.mark.parametrize("way", ["file", "environment", "settings"])
def test_the_token_may_come_another_way(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    at = arguments.index("--token")
    del arguments[at : at + 2]
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text(f"token_file: {file}\n")
    more = {"file": ["--token", str(file)], "settings": ["-c", str(settings)]}.get(way, [])
    start_agent(own_controller, *arguments, *more, environment={"SKERRY_TOKEN": TOKEN} if way == "environment" else {})
    own_controller.wait_for_node("n1")


def test_a_wrong_pin_sends_no_token(own_controller: SimulatedController, start_agent: Start, tmp_path: Path) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    arguments[arguments.index("--ca-pin") + 1] = WRONG_PIN
    agent = start_agent(own_controller, *arguments)
    assert agent.wait() == 1
    assert "did not prove to be the controller" in agent.lines[-1]
    assert not token_was_sent(own_controller)
    assert own_controller.requests == [("GET", "/v1/authorities")]


def test_without_a_pin_a_certificate_of_nobodys_is_sent_no_token(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    at = arguments.index("--ca-pin")
    del arguments[at : at + 2]
    agent = start_agent(own_controller, *arguments)
    assert agent.wait() == 1
    assert "the token was not sent" in agent.lines[-1]
    assert own_controller.requests == []
    insecure = start_agent(own_controller, *arguments, "--insecure")
    own_controller.wait_for_node("n1")
    assert insecure.lines[0].startswith("WARNING: --insecure: ")


def test_a_refused_token_is_final_and_says_so(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    arguments[arguments.index("--token") + 1] = "a-wrong-token-0123456789"
    agent = start_agent(own_controller, *arguments)
    assert agent.wait() == 1
    assert "the controller did not accept this token; ask for a new token" in agent.lines[-1]
    assert not (tmp_path / "d" / "identity.json").exists()


def test_a_controller_that_is_busy_is_asked_again_when_it_said(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.answer = Answer(503, "too many at once", {"Retry-After": "1"})
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    line = agent.wait_for_line("too many at once")
    assert 1.0 <= float(line.rpartition(" in ")[2].removesuffix(" s")) <= 2.0
    own_controller.answer = None
    own_controller.wait_for_node("n1")


def test_a_controller_that_is_not_there_yet_is_waited_for(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    arguments[arguments.index("--controller") + 1] = "127.0.0.1:9"
    agent = start_agent(own_controller, *arguments)
    agent.wait_for_line("127.0.0.1:9 cannot be reached: Connection refused")
    assert agent.stop() == 0


def test_two_agents_do_not_share_a_data_directory(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    own_controller.wait_for_node("n1")
    second = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    assert second.wait() == 1
    assert "another agent runs on this data directory" in second.lines[-1]


def test_it_comes_back_when_the_controller_does(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    own_controller.wait_for_node("n1")
    own_controller.close_tunnel_door()
    agent.wait_for_line("the tunnel is gone")
    agent.wait_for_line("did not come up")
    own_controller.open_tunnel_door()
    shell = road_to(own_controller, "n1")
    assert shell.run(own_controller.person("alice", (OWN,)), "echo back").stdout == b"back\n"


def test_the_tunnel_doors_own_wish_to_wait_is_honoured(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.tunnel_words = "full house; retry-after: 2"
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    agent.wait_for_line("full house")
    line = agent.wait_for_line("trying again in")
    assert 2.0 <= float(line.rpartition(" in ")[2].removesuffix(" s")) <= 3.0
    own_controller.tunnel_words = ""
    own_controller.wait_for_node("n1")


def test_a_controller_that_stops_in_order_says_when_to_come_back(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    node_id = own_controller.wait_for_node("n1")
    own_controller.say_goodbye(node_id, "the controller is stopping; retry-after: 2")
    agent.wait_for_line("the tunnel is gone: the controller is stopping; retry-after: 2")
    line = agent.wait_for_line("trying again in")
    assert 2.0 <= float(line.rpartition(" in ")[2].removesuffix(" s")) <= 3.0
    own_controller.wait_for_node("n1")


def test_a_node_that_is_refused_says_so_and_waits_most_of_a_minute(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.tunnel_refuses = True
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    agent.wait_for_line("refuses this node's certificate; has the node been removed or locked?")
    line = agent.wait_for_line("trying again in")
    assert 30.0 <= float(line.rpartition(" in ")[2].removesuffix(" s")) <= 60.0


def test_an_agent_that_was_asked_to_stay_away_for_long_can_be_stopped(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.tunnel_words = "full house; retry-after: 3000"
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    agent.wait_for_line("trying again in 300")
    assert agent.stop(_LONG) == 0


def test_a_tunnel_door_that_goes_away_half_way_is_tried_again(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.tunnel_takes_no_forward = True
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    agent.wait_for_line("did not come up: Failed to create remote TCP listener")
    own_controller.tunnel_takes_no_forward = False
    own_controller.wait_for_node("n1")


def test_a_tunnel_door_that_knows_the_node_and_turns_it_back_is_quoted(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.tunnel_farewell = "lock targeting Node is in force"
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    agent.wait_for_line("did not come up: lock targeting Node is in force")
    own_controller.tunnel_farewell = ""
    own_controller.wait_for_node("n1")


def test_a_tunnel_door_that_is_not_the_proxy_gets_no_tunnel(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.close_tunnel_door()
    own_controller.proxy_name = "another-cluster"
    own_controller.open_tunnel_door()
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    agent.wait_for_line("did not prove to be the proxy: ")
    assert not own_controller.tunnels


def test_sessions_hear_of_the_end_and_the_agent_leaves_in_order(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    shell = road_to(own_controller, "n1")
    person = own_controller.person("alice", (OWN,))
    stubborn = "trap '' HUP TERM; echo up; while :; do sleep 1; done"
    clients = [
        subprocess.Popen(
            shell.command(person, *options, stubborn),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for options in ((), ("-tt",))
    ]
    for client in clients:
        assert client.stdout
        assert client.stdout.readline().strip() == b"up"
    assert agent.stop(_LONG) == 0  # the programs would go on for ever
    for client in clients:
        output = client.communicate(timeout=10)[0]
        assert b" is stopping; this session ends" in output
    ended = [event for event in own_controller.events if event.code == "T2004I"]
    assert [event.fields["exitSignal"] for event in ended] == ["KILL", "KILL"]


def test_the_last_word_gets_out_though_the_https_worker_is_slow_to_start(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif sys.orig_argv[-1] == 'edge_agent.https_worker':\n    time.sleep(3)\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    agent = start_agent(own_controller, *arguments, environment=environment)
    shell = road_to(own_controller, "n1")
    command = shell.command(own_controller.person("alice", (OWN,)), "echo up; exec sleep 300")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout
        assert client.stdout.readline() == b"up\n"
        assert agent.stop() == 0
    assert [event.code for event in own_controller.events] == ["T2000I", "T3002E", "T2004I"]


def test_events_wait_for_the_controller_and_lose_nothing(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.api_is_down = True
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    shell = road_to(own_controller, "n1")
    assert shell.run(own_controller.person("alice", (OWN,)), "exit 5").returncode == 5
    agent.wait_for_line("events cannot be sent yet")
    assert agent.stop() == 0
    assert own_controller.events == []
    lines = (tmp_path / "d" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line).get("code") for line in lines] == [None, "T2000I", "T3002E", "T2004I"]
    own_controller.api_is_down = False
    start_agent(own_controller, "--controller", own_controller.address, "--data-dir", str(tmp_path / "d"))
    own_controller.wait_for_event("T2004I", exitCode=5)
    assert [event.sequence for event in own_controller.events] == [1, 2, 3]


def test_a_disk_that_is_full_stops_neither_sessions_nor_events(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    own_controller.mode = "best_effort"
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    shell = road_to(own_controller, "n1")
    subprocess.run(["prlimit", f"--pid={agent.process.pid}", "--fsize=10:10"], check=True)
    assert shell.run(own_controller.person("alice", (OWN,)), "exit 6").returncode == 6
    own_controller.wait_for_event("T2004I", exitCode=6)
    agent.wait_for_line("the event queue cannot be written")
    assert agent.stop() == 0


def test_an_idle_agent_stays_small(
    own_controller: SimulatedController, broker: SimulatedBroker, start_agent: Start, tmp_path: Path
) -> None:
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text("labels: {env: staging}\n")
    arguments = ("-c", str(settings), *join_arguments(own_controller, "n1", tmp_path / "d"))
    memory = []
    for _ in range(2):
        mark = len(broker.heard.beats)
        agent = start_agent(own_controller, *arguments, environment={"PYTHONDONTWRITEBYTECODE": ""})
        broker.wait_for_beat(own_controller.wait_for_node("n1"), lambda beat: beat.tunnel, since=mark)
        memory.append(agent.memory)
        maps = Path(f"/proc/{agent.process.pid}/maps").read_text(encoding="utf-8")
        assert "libssl" not in maps, "Python's own OpenSSL is loaded beside cryptography's: some 4 MiB"
        assert agent.stop() == 0
    # An installed agent finds its bytecode written, and so did the second one here. The goal is 40 MiB, and `make bench
    # ONLY=memory` measures it; what is measured beside other tests varies by more than the agent has to spare.
    assert memory[-1] <= 42 * 1024, memory


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("controler: x:1\n", "edge_agent.yaml:1: controler: unknown key (did you mean 'controller'?)"),
        ("controller: x:1\nlabels: [a]\n", "edge_agent.yaml:2: labels: should be a mapping"),
        ("controller: x:1\nlog: {severity: LOUD}\n", "edge_agent.yaml:2: log.severity: should be one of"),
        ("controller: 'no port:'\n", "edge_agent.yaml:1: controller: should be HOST:PORT"),
        ("nodename: ../x\n", "edge_agent.yaml:1: nodename: not a valid node name"),
        ("ca_pin: sha256:beef\ncontroller: x:1\n", "edge_agent.yaml:1: ca_pin: not a CA pin"),
        ("a: [\n", "edge_agent.yaml:2: not YAML"),
    ],
)
def test_a_fault_in_the_settings_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "edge_agent.yaml"
    path.write_text(text)
    result = edge_agent("start", "-c", str(path))
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--controller", "x y"), "--controller: should be HOST:PORT"),
        (("--controller", "x", "--labels", "env"), "--labels: not a label: 'env'"),
        (("--controller", "x", "--ca-pin", "md5:1"), "--ca-pin: not a CA pin"),
        (("--controller", "x", "-c", "/nonexistent/edge_agent.yaml"), "/nonexistent/edge_agent.yaml: cannot be read"),
        (("--controller", "x", "--nodename", "-"), "--nodename: not a valid node name"),
    ],
)
def test_a_fault_in_the_options_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    result = edge_agent("start", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_settings_that_it_prints_can_be_read(tmp_path: Path) -> None:
    from edge_agent.config import Options, load_settings

    path = tmp_path / "edge_agent.yaml"
    path.write_text(edge_agent("configure", "--controller", "skerry.example.com:3080").stdout)
    settings = load_settings(Options(config=str(path)), euid=0)
    assert settings.controller == ("skerry.example.com", 3080)
    assert settings.data_dir == Path("/var/lib/skerry-agent")
    path.write_text(re.sub(r"(?m)^#(?! )", "", path.read_text()))
    assert load_settings(Options(config=str(path)), euid=0).labels == {"env": "staging"}


def test_status_outside_a_session_says_so() -> None:
    result = edge_agent("status")
    assert result.returncode == 1
    assert "not inside a Skerry session" in result.stderr


def test_help_needs_neither_ssh_nor_cryptography() -> None:
    code = "import sys\nfrom edge_agent.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'asyncssh', 'cryptography', 'yaml', 'asyncio', 'ssl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def edge_agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from edge_agent.cli import main; main()", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SKERRY_"))}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("phase", ["join", "tunnel"])
def test_it_can_be_stopped_while_nobody_answers(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path, phase: str
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "d")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if phase == "join":
            arguments[arguments.index("--controller") + 1] = f"127.0.0.1:{port}"
        else:
            own_controller.close_tunnel_door()
            own_controller.tunnel_port = port
        agent = start_agent(own_controller, *arguments)
        silent.settimeout(15)
        with silent.accept()[0] as accepted:
            assert accepted.recv(1)  # the agent has begun to talk
            assert agent.stop(_LONG) == 0
            assert not any("no answer" in line or "timed out" in line for line in agent.lines), "it was waited for"


def test_eight_sessions_cost_at_most_two_mebibytes_each(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "d"))
    shell = road_to(own_controller, "n1")
    person = own_controller.person("alice", (OWN,))
    assert shell.run(person, "-tt", "true").returncode == 0
    before = agent.memory
    clients = [
        subprocess.Popen(shell.command(person, "-tt", "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(8)
    ]
    for client in clients:
        assert client.stdin
        assert client.stdout
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert client.stdout.readline().strip() == b"hello"
    assert (agent.memory - before) / 8 <= 2 * 1024
    for client in clients:
        client.kill()
        client.communicate()
