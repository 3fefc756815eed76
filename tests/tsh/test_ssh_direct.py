"""`tsh ssh --direct`: straight to a node's own door."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.simulated_authority import SshAuthority
from tests.harness.simulated_proxy import OTP, PASSWORD, SimulatedNode, SimulatedProxy
from tests.harness.tsh_program import TIMEOUT, TshProgram
from tests.tsh.conftest import ME, login_arguments


@contextmanager
def own_door(node: SimulatedNode, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve a node on a port of its own, and yield that."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        served: list[subprocess.Popen[bytes]] = []

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    command, both = ["/usr/sbin/sshd", "-i", "-f", str(node.config)], peer.fileno()
                    environment = os.environ | node.environment
                    served.append(
                        subprocess.Popen(command, stdin=both, stdout=both, stderr=subprocess.DEVNULL, env=environment)
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for sshd in served:
                sshd.wait(20)


def test_a_command_runs_without_the_proxy(proxy: SimulatedProxy, alice: TshProgram) -> None:
    before = len(proxy.connections)
    with own_door(proxy.nodes[0]) as port:
        done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", f"{ME}@web1", "echo out; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"")
    assert (len(proxy.connections), proxy.channels, proxy.requests) == (before, [], [])


def test_the_node_may_be_named_by_its_uuid_and_reached_by_ipv6(proxy: SimulatedProxy, alice: TshProgram) -> None:
    with own_door(proxy.nodes[0], "::1") as port:
        done = alice.run("ssh", "--direct", f"[::1]:{port}", proxy.nodes[0].node_id.upper(), "echo out")
    assert (done.returncode, done.stdout) == (0, b"out\n")


def test_a_node_that_is_another_is_told_nothing(proxy: SimulatedProxy, alice: TshProgram) -> None:
    with own_door(proxy.nodes[1]) as port:
        done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", "web1", "echo out")
    assert (done.returncode, done.stdout) == (255, b"")
    assert f'what answers at 127.0.0.1:{port} did not prove to be "web1" of cluster harbour'.encode() in done.stderr
    assert f"it proved to be {proxy.nodes[1].node_id} instead. Nothing was sent to it".encode() in done.stderr


def test_a_node_of_another_cluster_is_told_nothing(proxy: SimulatedProxy, alice: TshProgram) -> None:
    mine, proxy.host_ca = proxy.host_ca, SshAuthority()
    stranger = proxy.add_node("web1")
    proxy.host_ca = mine
    proxy.nodes.remove(stranger)
    with own_door(stranger) as port:
        done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", "web1", "echo out")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"signed by an authority that is not this cluster's host CA" in done.stderr
    assert b"If the cluster's CA was rotated, log in again: tsh login " in done.stderr


def test_a_certificate_that_has_expired_is_said_before_anything_is_dialled(
    proxy: SimulatedProxy, newcomer: TshProgram
) -> None:
    proxy.lifetime = timedelta(seconds=-1)
    assert newcomer.run(*login_arguments(proxy), typed=f"{PASSWORD}\n{OTP}\n".encode()).returncode == 0
    with own_door(proxy.nodes[0]) as port:
        done = newcomer.run("ssh", "--direct", f"127.0.0.1:{port}", "web1", "echo out")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"your certificate for 127.0.0.1 expired at " in done.stderr
    assert b"log in: tsh login " in done.stderr


def test_a_login_that_should_be_permitted_is_told_of_rotations(proxy: SimulatedProxy, alice: TshProgram) -> None:
    mine, proxy.user_ca = proxy.user_ca, SshAuthority()
    modern = proxy.add_node("buoy")
    proxy.user_ca = mine
    proxy.nodes.remove(modern)
    login = f"login --proxy=127.0.0.1:{proxy.web_port} --user=alice"
    with own_door(modern) as port:
        done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", f"{ME}@buoy", "echo out")
    assert (done.returncode, done.stdout) == (255, b"")
    assert f"access denied to {ME} connecting to buoy at 127.0.0.1:{port}. ".encode() in done.stderr
    assert f"before a rotation of the user CA, log in again: tsh {login}\n".encode() in done.stderr
    assert alice.run(*login.split(), typed=f"{PASSWORD}\n{OTP}\n".encode()).returncode == 0
    assert proxy.requests


def test_a_login_that_is_not_permitted_is_refused_by_the_node(proxy: SimulatedProxy, alice: TshProgram) -> None:
    with own_door(proxy.nodes[0]) as port:
        done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", "stranger@web1", "echo out")
        text = f"ERROR: access denied to stranger connecting to web1 at 127.0.0.1:{port}\n"
    assert (done.returncode, done.stderr) == (255, text.encode())


@pytest.mark.parametrize(
    ("banner", "reason"),
    [('Skerry: lock targeting User:"alice" is in force', ': lock targeting User:"alice" is in force'), ("Hello", "")],
)
def test_a_node_that_says_why_it_lets_nobody_in_is_quoted_and_no_greeting(
    proxy: SimulatedProxy, alice: TshProgram, tmp_path: Path, banner: str, reason: str
) -> None:
    words = tmp_path / "words"
    words.write_text(f"{banner}\r\n")
    node = proxy.add_node("buoy")
    proxy.nodes.remove(node)
    node.config.write_text(f"{node.config.read_text()}\nBanner {words}\n")
    with own_door(node) as port:
        done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", "stranger@buoy", "echo out")
        text = f"ERROR: access denied to stranger connecting to buoy at 127.0.0.1:{port}{reason}\n"
    assert (done.returncode, done.stderr) == (255, text.encode())


def test_plain_openssh_goes_straight_to_the_node_with_what_tsh_config_prints(
    proxy: SimulatedProxy, alice: TshProgram, tmp_path: Path
) -> None:
    config = tmp_path / "skerry.conf"
    config.write_bytes(alice.run("config").stdout)
    with own_door(proxy.nodes[0]) as port:
        for alias, status, out in (("web1", 7, b"out\n"), ("web2", 255, b"")):
            options = ["ProxyCommand=none", f"HostKeyAlias={alias}", "HostName=127.0.0.1", f"Port={port}"]
            flags = [word for option in options for word in ("-o", option)]
            done = subprocess.run(
                ["ssh", "-F", config, *flags, f"{ME}@web1.harbour", "echo out; exit 7"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
            assert (done.returncode, done.stdout) == (status, out), done.stderr
    assert proxy.channels == []


def test_where_nothing_listens_the_setting_is_named(alice: TshProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = alice.run("ssh", "--direct", f"127.0.0.1:{port}", "web1", "echo out")
    assert done.returncode == 255
    assert f"cannot reach web1 at 127.0.0.1:{port}: nothing listens there; its agent".encode() in done.stderr
    assert b"`listen_addr`" in done.stderr


def test_labels_need_the_proxy(proxy: SimulatedProxy, alice: TshProgram) -> None:
    done = alice.run("ssh", "--direct", "127.0.0.1:1", "env=staging", "echo out")
    assert (done.returncode, proxy.requests) == (255, [])
    assert b"--direct needs the node's name or UUID" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--direct", "127.0.0.1:x"), b"should be HOST:PORT, not '127.0.0.1:x'"),
        (("--direct", ""), b"should be HOST or HOST:PORT"),
        (("--direct", ":3022"), b"should be HOST or HOST:PORT"),
        (("--direct", "127.0.0.1:0"), b"should be HOST or HOST:PORT"),
        (("--direct", "127.0.0.1", "-p", "22"), b"say the port in --direct HOST:PORT"),
    ],
)
def test_a_door_that_is_none_is_a_wrong_command_line(
    alice: TshProgram, arguments: tuple[str, ...], said: bytes
) -> None:
    done = alice.run("ssh", *arguments, "web1", "echo out")
    assert done.returncode == 2
    assert said in done.stderr


def test_one_that_answers_and_says_nothing_is_given_up_when_it_leaves(alice: TshProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with alice.started("ssh", "--direct", f"127.0.0.1:{port}", "web1", "echo out") as program:
            peer, _ = listener.accept()
            peer.close()
            assert program.process.wait(20) == 255
            assert f"Connection to web1 at 127.0.0.1:{port} lost".encode() in program.stderr.read()
