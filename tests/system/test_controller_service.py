"""The controller as a service: what its service manager is told, and what it does when that tells it something."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.harness.notify_socket import NotifySocket, notify_socket
from tests.harness.open_session import open_session
from tests.harness.real_cluster import RealCluster
from tests.harness.running_program import BIN, await_pid_end, children_of, clean_environment

pytestmark = pytest.mark.system
UP = "STATUS=cluster harbour: 5 of 5 processes run"
LONG = 150.0  # a role may be silent for 30 s; then it is asked to end, and starts anew on a busy machine
BROKER_LONG = 600.0  # the broker for five minutes


@pytest.fixture
def manager() -> Iterator[NotifySocket]:
    with tempfile.TemporaryDirectory() as folder, notify_socket(Path(folder)) as listening:
        yield listening


@pytest.fixture
def service(make_cluster: Callable[..., RealCluster], manager: NotifySocket) -> RealCluster:
    """A controller that a service manager has started."""
    cluster = make_cluster()
    cluster.environment.update(manager.variables(watchdog=3))
    return cluster.start()


def debug(cluster: RealCluster, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [str(BIN / "controller"), "debug", "-c", str(cluster.config), *arguments],
        capture_output=True, text=True, timeout=60, env=clean_environment(), check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def change(cluster: RealCluster, **teleport: object) -> None:
    settings = json.loads(cluster.config.read_text(encoding="utf-8"))
    settings["teleport"] |= teleport
    cluster.config.write_text(json.dumps(settings), encoding="utf-8")


def test_the_manager_is_told_of_start_pulse_and_end(service: RealCluster, manager: NotifySocket) -> None:
    ready = manager.await_line("READY=1")
    assert ready == f"READY=1\n{UP}"
    before = manager.messages().index(ready)
    early = [message for message in manager.messages()[:before] if message != "WATCHDOG=1"]
    assert all(message.startswith("STATUS=cluster harbour: ") for message in early), "nothing else before it is up"
    mark = manager.mark()
    for _ in range(3):
        manager.await_message(lambda message: message == "WATCHDOG=1", since=mark)
        mark = manager.mark()
    service.controller.send(signal.SIGTERM)
    assert manager.await_line("STOPPING=1").splitlines()[1].startswith("STATUS=stopping: sessions may end within 10 s")
    extended = manager.await_message(lambda message: message.startswith("EXTEND_TIMEOUT_USEC="))
    assert int(extended.partition("=")[2]) >= 15_000_000  # the drain time, and what a role may take beside
    assert service.controller.await_end() == 0


def test_a_hangup_while_it_ends_does_not_say_that_it_is_up(service: RealCluster, manager: NotifySocket) -> None:
    manager.await_line("READY=1")
    os.kill(service.role_pid("proxy"), signal.SIGSTOP)  # it is waited for, and killed in the end
    service.controller.send(signal.SIGTERM)
    manager.await_line("STOPPING=1")
    told, mark = manager.mark(), service.controller.mark()
    service.controller.send(signal.SIGHUP)
    service.controller.await_line("the settings are read again", since=mark)
    assert service.controller.await_end() == 0
    assert not [each for each in manager.messages()[told:] if each.startswith(("READY=1", "RELOADING=1"))]


def test_what_is_told_to_the_supervisor_alone_reaches_no_other_process(service: RealCluster) -> None:
    for pid in children_of(service.controller.pid):
        names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
        assert not names & {b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID"}


@pytest.mark.timeout(1500)
def test_roles_and_a_broker_that_hang_are_begun_anew_and_everything_else_goes_on(
    service: RealCluster, manager: NotifySocket
) -> None:
    alice = service.add_user("alice")
    service.sign_in(alice)
    agent = service.start_agent("edge-1")
    agent.program.await_line("connected to the broker")
    log, mark, told = service.controller, service.controller.mark(), manager.mark()
    hung = {role: service.role_pid(role) for role in ("proxy", "web")}
    others = {role: service.role_pid(role) for role in ("api", "presence")}
    workers = children_of(hung["web"])
    broker, heard = service.role_pid("broker"), agent.program.mark()
    for pid in (*hung.values(), broker):
        os.kill(pid, signal.SIGSTOP)
    for role, pid in hung.items():
        log.await_line(rf"\] {role} has not answered for \d+ s: it hangs, and is ended", LONG, since=mark)
        await_pid_end(pid)
    for pid in workers:
        await_pid_end(pid)
    manager.await_line(UP, since=told)
    with open_session(alice, "root@edge-1") as session:
        assert session.echo("still here") == "still here"
    assert {role: service.role_pid(role) for role in others} == others
    log.await_line(r"\] broker has not answered for \d+ s: it hangs, and is ended", BROKER_LONG, since=mark)
    await_pid_end(broker)
    agent.program.await_line("connected to the broker", LONG, since=heard)
    service.await_event("controller.hung", process="broker")
    ended = {event["process"]: event["code"] for event in service.events("controller.hung")}
    assert ended.items() >= {"proxy": "SK052E", "web": "SK052E", "broker": "SK052E"}.items()
    doctor = [str(BIN / "controller"), "doctor", "-c", str(service.config), "--format", "json"]
    looked = subprocess.run(doctor, capture_output=True, text=True, timeout=100, env=clean_environment(), check=False)
    found = {finding["check"]: finding for finding in json.loads(looked.stdout)}
    assert found["hung"]["state"] == "warn"
    assert set(re.findall(r"(\w+) \(\d+x\)", found["hung"]["found"])) >= set(ended)


def test_a_hangup_has_the_log_level_read_again_in_every_process(service: RealCluster, manager: NotifySocket) -> None:
    manager.await_line("READY=1")
    change(service, log={"severity": "DEBUG"})
    mark, told = service.controller.mark(), manager.mark()
    service.controller.send(signal.SIGHUP)
    reloading = manager.await_line("RELOADING=1", since=told)
    assert reloading.splitlines()[1].startswith("MONOTONIC_USEC=")
    assert manager.await_line("READY=1", since=told).splitlines()[1] == UP
    service.controller.await_line(r"INFO .*the settings are read again: the log level is DEBUG", since=mark)
    assert debug(service, "get-log-level") == "DEBUG\n"
    service.start_agent("edge-1")  # a device that joins has each role say something that is for debugging alone
    for part in ("WEB", "API", "PROXY", "PRESENCE"):
        service.controller.await_line(rf" DEBUG +\[({part}|asyncio|asyncssh)", since=mark)


def test_settings_that_are_wrong_at_a_hangup_are_one_line_and_everything_goes_on(
    service: RealCluster, manager: NotifySocket
) -> None:
    manager.await_line("READY=1")
    pids = {role: service.role_pid(role) for role in ("proxy", "web", "api", "presence")}
    good = service.config.read_text(encoding="utf-8")
    service.config.write_text("teleport: {log: {severity: loud", encoding="utf-8")
    mark, told = service.controller.mark(), manager.mark()
    service.controller.send(signal.SIGHUP)
    manager.await_line("RELOADING=1", since=told)
    manager.await_line("READY=1", since=told)
    said = service.controller.await_line(r"ERROR .*the settings are not read again", since=mark).string
    assert f"and everything goes on as it was: {service.config}:1: " in said
    # A role that falls meanwhile comes back: it runs by what the controller was started with.
    os.kill(pids["web"], signal.SIGKILL)
    service.controller.await_line(r"\] web started, pid", since=mark)
    manager.await_line(UP, since=told)
    assert [line for line in service.controller.log().splitlines() if "not YAML" in line] == [said]
    service.config.write_text(good, encoding="utf-8")


def test_another_level_is_ordered_without_the_file_and_the_next_hangup_takes_it_back(service: RealCluster) -> None:
    assert debug(service, "set-log-level", "debug") == "The log level is DEBUG now; it was INFO.\n"
    assert debug(service, "get-log-level") == "DEBUG\n"
    mark = service.controller.mark()
    os.kill(service.role_pid("web"), signal.SIGKILL)
    service.controller.await_line(
        r"DEBUG \[WEB\] role WEB of cluster harbour", since=mark
    )  # one that begins later, too
    service.controller.send(signal.SIGHUP)
    service.controller.await_line(r"the log level is INFO", since=mark)
    assert debug(service, "get-log-level") == "INFO\n"
    assert "should be one of DEBUG, INFO, WARN, ERROR" in debug(service, "set-log-level", "loud", status=2)
    told = json.loads(debug(service, "processes", "--format=json"))
    assert {each["name"] for each in told} == {"broker", "proxy", "web", "api", "presence"}


def test_where_no_controller_runs_its_debug_commands_say_so(make_cluster: Callable[..., RealCluster]) -> None:
    said = debug(make_cluster(), "get-log-level", status=1)
    assert said.startswith("ERROR: ")
    assert said.count("\n") == 1
    assert "`controller start`" in said


def test_a_terminal_that_is_closed_ends_the_controller_that_was_started_there(
    make_cluster: Callable[..., RealCluster],
) -> None:
    cluster = make_cluster()
    command = [str(BIN / "controller"), "start", "-c", str(cluster.config)]
    terminal = pexpect.spawn(command[0], command[1:], env=clean_environment(), timeout=LONG)
    try:
        terminal.expect("cluster harbour is ready")
        terminal.kill(signal.SIGHUP)
        terminal.expect("stopped")
        terminal.expect(pexpect.EOF)
        terminal.wait()
        assert terminal.exitstatus == 0
    finally:
        terminal.close(force=True)
