"""A real agent under a service manager that listens: what it says, what it passes on, and what it is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest

from edge_agent.policy.status import AgentStatus
from edge_agent.service_manager import own_unit
from protocol.service_manager import FOR_THE_SERVICE
from tests.harness.ear import Ear
from tests.harness.road import OWN, ROOT, Agent, Shell, join_arguments
from tests.harness.simulated_controller import TOKEN, SimulatedController

pytestmark = pytest.mark.system
Start = Callable[..., Agent]


@dataclass
class Manager:
    """What systemd is to a service: its ear, its runtime directory, and what it puts into the environment."""

    notices: Ear
    runtime: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            **dict.fromkeys(FOR_THE_SERVICE - {"LISTEN_FDS", "WATCHDOG_PID", "JOURNAL_STREAM"}, "of the service"),
            "CREDENTIALS_DIRECTORY": "/nowhere",
            "NOTIFY_SOCKET": self.notices.name,
            "RUNTIME_DIRECTORY": str(self.runtime),
            "WATCHDOG_USEC": "3000000",
            **self.more,
        }

    def status(self) -> AgentStatus:
        return AgentStatus.decode((self.runtime / "status.json").read_bytes())


@pytest.fixture
def manager() -> Iterator[Manager]:
    runtime = Path(tempfile.mkdtemp(prefix="sk-", dir="/tmp"))  # the path of a socket is short
    runtime.chmod(0o711)
    made = Manager(Ear(), runtime)
    yield made
    made.notices.close()
    shutil.rmtree(runtime)


def command(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "SKERRY_"))}
    return subprocess.run(
        [sys.executable, "-m", "edge_agent", *arguments],
        cwd=ROOT,
        env=clean | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def environment_of(pid: int) -> set[str]:
    return {entry.partition(b"=")[0].decode() for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}


def test_a_service_says_that_it_is_up_beats_and_says_that_it_ends(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    notices = manager.notices
    assert notices.wait_for("READY=1").startswith("READY=1\nSTATUS=")
    notices.wait_for("STATUS=online as n1, 0 sessions")
    mark = notices.mark()
    for _ in range(2):
        notices.wait_for("WATCHDOG=1", since=mark)
        mark = notices.mark()
    agent.process.send_signal(signal.SIGSTOP)
    try:
        assert notices.is_silent(3.0)  # a hung agent does not beat, as long as the manager may wait for it
    finally:
        agent.process.send_signal(signal.SIGCONT)
    mark = notices.mark()
    notices.wait_for("WATCHDOG=1", since=mark)
    agent.process.terminate()
    notices.wait_for("STOPPING=1", since=mark)
    assert agent.wait() == 0
    assert not (manager.runtime / "status.json").exists()


def test_a_socket_on_a_path_is_heard_as_well(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    manager.notices.close()
    manager.notices = Ear(manager.runtime / "notify")
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    start_agent(own_controller, *arguments, environment=manager.environment)
    manager.notices.wait_for("STATUS=online as n1, 0 sessions")


def test_a_manager_that_is_gone_costs_one_line(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    manager.notices.close()
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    own_controller.wait_for_node("n1")
    assert agent.stop() == 0
    complaints = [line for line in agent.lines if "the service manager does not hear us" in line]
    assert len(complaints) == 2  # of the process that joined, and of the one that served


def test_an_agent_that_waits_for_its_controller_is_up_and_says_what_for(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    arguments = ["--controller", address, "--token", TOKEN, "--ca-pin", own_controller.tls_ca.pin]
    start_agent(own_controller, *arguments, "--data-dir", str(tmp_path / "data"), environment=manager.environment)
    notices = manager.notices
    assert "STATUS=not joined: joining" in notices.wait_for("READY=1")
    notices.wait_for(f"STATUS=not joined: {address} cannot be reached")
    mark = notices.mark()
    notices.wait_for("WATCHDOG=1", since=mark)
    status = manager.status()
    assert (status.node, status.is_online) == ("", False)
    assert "cannot be reached" in status.tunnel.reason
    found = command("status", "--agent", environment={"RUNTIME_DIRECTORY": str(manager.runtime)})
    assert found.returncode == 3
    assert f"not joined: {address} cannot be reached" in found.stdout


def test_a_join_that_is_refused_for_good_is_not_asked_for_again_at_once(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    arguments[arguments.index(TOKEN)] = "another-token-0123456789"
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    manager.notices.wait_for("STATUS=not joined: cannot join")
    mark = manager.notices.mark()
    manager.notices.wait_for("WATCHDOG=1", since=mark)
    assert agent.process.poll() is None
    agent.process.terminate()
    assert agent.wait() == 0  # that was asked for, and is no failure
    assert len([line for line in agent.lines if "cannot join" in line]) == 1


def test_the_token_may_be_a_credential(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "join-token").write_text(f"{TOKEN}\n")
    manager.more = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    at = arguments.index("--token")
    agent = start_agent(own_controller, *arguments[:at], *arguments[at + 2 :], environment=manager.environment)
    own_controller.wait_for_node("n1")
    agent.wait_for_line("/etc/skerry/join-token: this device has joined, and needs the join token no more")


@pytest.mark.parametrize("content", ["\n", "", None])
def test_an_empty_credential_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "join-token").write_text(content)
    result = command(
        "start", "--controller", "c.example.com:1", "--data-dir", str(tmp_path / "data"),
        environment={"CREDENTIALS_DIRECTORY": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 1
    assert "holds no identity: say --token TOKEN" in result.stderr


def test_nothing_that_is_for_the_service_reaches_what_it_starts(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    node_id = own_controller.wait_for_node("n1")
    shell = Shell(own_controller, own_controller.door_to(node_id), node_id)
    printed = shell.run(own_controller.person("alice", (OWN,)), "env; cat /proc/self/oom_score_adj; ulimit -Sn")
    names = {line.partition("=")[0] for line in printed.stdout.decode().splitlines()}
    assert "SSH_SESSION_ID" in names
    assert not names & FOR_THE_SERVICE
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children")

    def worker() -> int | None:
        found = children.read_text(encoding="ascii").split()
        return next((int(pid) for pid in found if b"_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()), None)

    # It reports the session, and stays for some seconds.
    assert not environment_of(own_controller.wait_for(worker, "a worker of the agent's", 30)) & FOR_THE_SERVICE


def test_programs_have_the_limits_that_the_agent_was_started_with(
    own_controller: SimulatedController, start_agent: Start, tmp_path: Path
) -> None:
    import resource

    agent = start_agent(own_controller, *join_arguments(own_controller, "n1", tmp_path / "data"))
    node_id = own_controller.wait_for_node("n1")
    shell = Shell(own_controller, own_controller.door_to(node_id), node_id)
    printed = shell.run(own_controller.person("alice", (OWN,)), "ulimit -Sn; ulimit -Hn")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert [int(number) for number in printed.stdout.split()] == [soft, hard]
    assert resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE)[0] >= min(8192, hard)


def test_the_status_follows_the_link_and_the_sessions(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    notices = manager.notices
    node_id = own_controller.wait_for_node("n1")
    notices.wait_for("STATUS=online as n1, 0 sessions")
    status = manager.status()
    assert (status.pid, status.node_id, status.controller) == (agent.process.pid, node_id, own_controller.address)
    assert (manager.runtime / "status.json").stat().st_mode & 0o777 == 0o600
    shell = Shell(own_controller, own_controller.door_to(node_id), node_id)
    client = subprocess.Popen(
        shell.command(own_controller.person("alice", (OWN,)), "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    notices.wait_for("STATUS=online as n1, 1 session")
    assert manager.status().people == (f"alice as {OWN}",)
    mark = notices.mark()
    client.communicate(timeout=30)
    notices.wait_for("STATUS=online as n1, 0 sessions", since=mark)
    asked = {"RUNTIME_DIRECTORY": str(manager.runtime)}
    online = command("status", "--format", "json", environment=asked)
    assert online.returncode == 0
    assert json.loads(online.stdout)["tunnel"]["state"] == "up"
    own_controller.close_tunnel_door()
    notices.wait_for("STATUS=offline as n1 (tunnel down since", since=mark)
    offline = command("status", environment=asked)
    assert offline.returncode == 3
    assert re.search(r"Tunnel +: down since \d\d \w+ \d{4} \d\d:\d\d UTC: .", offline.stdout)


def test_an_agent_that_was_killed_is_not_said_to_run(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    own_controller.wait_for_node("n1")
    agent.process.kill()
    agent.wait()
    assert (manager.runtime / "status.json").exists()
    result = command("status", "--agent", "--data-dir", str(manager.runtime))
    has_systemd = Path("/run/systemd/system").is_dir()
    start, join = ("systemctl start skerry-agent", "install") if has_systemd else ("edge-agent start", "start")
    told = f"no agent runs on this device: {start}; where the device has not joined: edge-agent {join} --help\n"
    assert (result.returncode, result.stderr) == (1, f"ERROR: not inside a Skerry session, and {told}")


def test_the_log_level_is_changed_while_it_runs_and_is_back_as_the_settings_say(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text("log: {severity: INFO}\n")
    arguments = ("-c", str(settings), *join_arguments(own_controller, "n1", tmp_path / "data"))
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    own_controller.wait_for_node("n1")
    manager.notices.wait_for("STATUS=online as n1, 0 sessions")
    there = ("--data-dir", str(manager.runtime))
    assert command("debug", "get-log-level", *there).stdout == "INFO\n"
    done = command("debug", "set-log-level", "debug", *there)
    assert (done.stdout, done.returncode) == ("the agent logs what is DEBUG and above\n", 0), done.stderr
    agent.wait_for_line("logging what is DEBUG and above")
    assert manager.notices.wait_for("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert command("debug", "get-log-level", *there).stdout == "DEBUG\n"
    settings.write_text("log: {severity: ERROR}\n")
    manager.notices.wait_for("READY=1", since=manager.notices.after("RELOADING=1"))
    mark = manager.notices.mark()
    agent.process.send_signal(signal.SIGHUP)
    manager.notices.wait_for("RELOADING=1", since=mark)
    manager.notices.wait_for("READY=1", since=mark)
    assert command("debug", "get-log-level", *there).stdout == "ERROR\n"


def test_the_log_level_of_an_agent_is_its_owner_s_to_change_and_no_link_is_followed(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    start_agent(own_controller, *arguments, environment=manager.environment)
    own_controller.wait_for_node("n1")
    manager.notices.wait_for("STATUS=online as n1, 0 sessions")
    victim, others = tmp_path / "victim", tmp_path / "others"
    victim.write_text("precious")
    others.mkdir()
    (others / "status.json").write_bytes((manager.runtime / "status.json").read_bytes())
    (others / ".log-level.new").symlink_to(victim)
    others.chmod(0o777)
    refused = command("debug", "set-log-level", "debug", "--data-dir", str(others))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{others} is not " in refused.stderr
    (manager.runtime / ".log-level.new").symlink_to(victim)
    done = command("debug", "set-log-level", "debug", "--data-dir", str(manager.runtime))
    assert done.returncode == 0, done.stderr
    assert victim.read_text() == "precious"


def test_settings_that_cannot_be_read_again_change_nothing(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text("log: {severity: WARN}\n")
    arguments = ("-c", str(settings), *join_arguments(own_controller, "n1", tmp_path / "data"))
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    own_controller.wait_for_node("n1")
    manager.notices.wait_for("STATUS=online as n1, 0 sessions")
    settings.write_text("log: {severity: LOUD}\n")
    agent.process.send_signal(signal.SIGHUP)
    line = agent.wait_for_line("what is logged stays as it is", 60)
    assert f"{settings}:1: log.severity: should be one of DEBUG, INFO, WARN, ERROR" in line
    manager.notices.wait_for("RELOADING=1")
    assert manager.status().severity == "WARN"
    assert agent.stop() == 0


def test_whoever_is_in_a_session_is_told_that_the_agent_stops(
    own_controller: SimulatedController, start_agent: Start, manager: Manager, tmp_path: Path
) -> None:
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    agent = start_agent(own_controller, *arguments, environment=manager.environment)
    node_id = own_controller.wait_for_node("n1")
    shell = Shell(own_controller, own_controller.door_to(node_id), node_id)
    client = subprocess.Popen(
        shell.command(own_controller.person("alice", (OWN,)), "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    manager.notices.wait_for("STATUS=online as n1, 1 session")
    assert agent.stop(60) == 0
    assert b"Skerry: the agent on n1 is stopping; this session ends\n" in client.communicate(timeout=30)[1]


def test_the_unit_of_a_process_is_found_in_its_control_group(tmp_path: Path) -> None:
    told = tmp_path / "cgroup"
    for text, unit in (
        ("0::/system.slice/skerry-agent.service\n", "skerry-agent.service"),
        ("9:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
        ("0::/user.slice/session-1.scope\n", None),
        ("0::/x; rm -rf.service\n", None),
    ):
        told.write_text(text)
        assert own_unit(told) == unit
    assert own_unit(tmp_path / "none") is None


def test_an_agent_that_was_started_on_a_terminal_ends_with_it(
    own_controller: SimulatedController, tmp_path: Path
) -> None:
    command = ["-c", "from edge_agent.cli import main; main()", "start"]
    arguments = join_arguments(own_controller, "n1", tmp_path / "data")
    terminal = pexpect.spawn(sys.executable, [*command, *arguments], cwd=str(ROOT), timeout=60)
    node_id = own_controller.wait_for_node("n1")
    os.kill(terminal.pid, signal.SIGHUP)  # a wish, as long as the terminal is there
    terminal.expect("logging what is INFO and above")
    os.close(terminal.child_fd)
    own_controller.wait_for(lambda: node_id not in own_controller.tunnels, "the end of the tunnel", 60)
    terminal.closed, terminal.child_fd = True, -1
    assert terminal.wait() == 0
