from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.addresses import BoundAddresses
from controller.authority import ROTATABLE_KINDS
from controller.cluster import Cluster
from controller.policy.rotation import Phase
from controller.tls_files import prepare_web, web_pins
from protocol.addresses import join_address
from protocol.decision import Granted
from protocol.version import __version__
from tests.controller.harbour import ADMIN, PING, WEB, Device
from tests.controller.tctl.conftest import STATIC_TOKEN, on_terminal

ON: tuple[Phase, ...] = ("init", "update_clients", "update_servers")
Tctl = Callable[..., subprocess.CompletedProcess[str]]


def test_status_shows_the_cluster_and_its_authorities(tctl: Tctl, cluster: Cluster) -> None:
    (pin,) = web_pins(cluster)
    (user,), (host,), (tls,) = (cluster.authority.fingerprints(kind) for kind in ROTATABLE_KINDS)
    *shown, broker = tctl("status").stdout.splitlines()
    assert shown == [
        "Cluster     harbour",
        "Controller  not running",
        f"Version     {__version__}",
        "user CA     never updated",
        f"            {user}",
        "host CA     never updated",
        f"            {host}",
        "tls CA      never updated",
        f"            {tls}",
        f"CA pin      {pin}",
        "Nodes       none have joined",
        "Tunnels     0",
        "Sessions    0",
        "Uploads     nothing waits on nodes",
    ]
    assert broker.startswith("Broker      down")
    told = json.loads(tctl("status", "--format", "json").stdout)
    assert (told["cluster"], told["version"], told["ca_pins"]) == ("harbour", __version__, [pin])
    assert told["authorities"]["tls"]["keys"] == [{"fingerprint": tls, "signs": True}]
    assert (told["nodes"]["total"], told["sessions"], told["uploads"]["files"]) == (0, 0, 0)
    assert (told["broker"]["up"], bool(told["broker"]["reason"])) == (False, True)


def test_on_a_terminal_a_long_line_goes_on_below_and_what_is_copied_stays_whole(
    tctl: Tctl, cluster: Cluster, config: Path
) -> None:
    wide, narrow = tctl("status").stdout.splitlines(), on_terminal(config, 50, "status")
    (pin,) = web_pins(cluster)
    assert f"CA pin      {pin}" in narrow
    assert all(len(line) <= 50 or len(line[12:].split()) == 1 for line in narrow)
    assert len(narrow) > len(wide)
    assert " ".join(narrow).split() == " ".join(wide).split()


def test_the_fingerprints_are_what_openssh_and_openssl_print(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "host.pub").write_text(cluster.authority.ssh_authorities("host")[0])
    (tmp_path / "tls.crt").write_text(cluster.authority.tls_authorities()[0])
    for command, kind in (
        (["ssh-keygen", "-l", "-f", "host.pub"], "host"),
        (["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", "tls.crt"], "tls"),
    ):
        shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
        (fingerprint,) = cluster.authority.fingerprints("host" if kind == "host" else "tls")
        assert fingerprint in shown


def test_status_shows_both_keys_of_an_authority_that_is_rotated_and_both_pins(tctl: Tctl, cluster: Cluster) -> None:
    cluster.authority.rotate("tls", "init", cluster.clock())
    first, second = cluster.authority.fingerprints("tls")
    shown = tctl("status").stdout
    assert re.search(rf"\ntls CA +init \(mode: manual, started: [^)]*\)\n +{first} \(signs\)\n", shown)
    assert f" {second} (trusted)\n" in shown
    assert [line.split()[-1] for line in shown.splitlines() if line.startswith("CA pin")] == list(web_pins(cluster))
    told = json.loads(tctl("status", "-f", "json").stdout)["authorities"]["tls"]
    assert (told["phase"], told["next"], told["nodes_to_renew"]) == ("init", ["update_clients", "rollback"], None)


def test_status_counts_nodes_and_those_that_a_rotation_still_waits_for(tctl: Tctl, cluster: Cluster) -> None:
    for name in ("gw-1", "gw-2"):
        joined = cluster.enrolment.join(Device(name).request(STATIC_TOKEN), PING, WEB)
        assert isinstance(joined, Granted)
    assert json.loads(tctl("status", "-f", "json").stdout)["nodes"]["total"] == 2
    assert "\nNodes       2: 2 " in tctl("status").stdout
    later = cluster.clock() + timedelta(minutes=1)
    for phase in ON:
        cluster.authority.rotate("host", phase, later)
    told = json.loads(tctl("status", "-f", "json").stdout)["authorities"]
    assert (told["host"]["nodes_to_renew"], told["tls"]["nodes_to_renew"]) == (2, None)
    assert told["host"]["awaited"] == ["gw-1", "gw-2"]
    assert "; 2 nodes have not renewed yet: gw-1, gw-2\n" in tctl("status").stdout
    first, second = cluster.enrolment.nodes.list()
    cluster.enrolment.nodes.remove(second.node_id, ADMIN)
    assert f"; 1 node has not renewed yet: {first.name}\n" in tctl("status").stdout
    cluster.enrolment.nodes.remove(first.node_id, ADMIN)
    assert "; all nodes have renewed\n" in tctl("status").stdout


def test_the_controller_s_own_command_prints_the_same(tctl: Tctl, config: Path) -> None:
    def own(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "controller.cli", "status", "-c", str(config), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert own().returncode == 0
    assert own().stdout.splitlines()[:10] == tctl("status").stdout.splitlines()[:10]
    assert json.loads(own("--format", "json").stdout)["cluster"] == "harbour"
    nowhere = own("-c", "/nonexistent/controller.yaml")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "/nonexistent/controller.yaml: cannot be read" in nowhere.stderr


@contextmanager
def web_door(cluster: Cluster, host: str) -> Iterator[BoundAddresses]:
    """Serve the controller's own certificate to one visitor after the other; yield where."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        address = (host, listener.getsockname()[1])
        bound = BoundAddresses(address, address, address, address)
        bound.save(cluster.config.data_dir)
        pair = prepare_web(cluster, bound)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert_file, pair.key_file)

        def serve() -> None:
            with suppress(OSError):  # the listener was shut: the test is over
                while True:
                    visitor = listener.accept()[0]
                    with suppress(OSError), visitor, context.wrap_socket(visitor, server_side=True):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield bound
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def is_running(tctl: Tctl) -> bool:
    """Ask for people and for programs, and return what both say."""
    running: bool = json.loads(tctl("status", "--format=json").stdout)["running"]
    assert ("\nController  not running\n" in tctl("status").stdout) != running
    return running


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_status_says_that_the_controller_runs_while_its_web_door_answers(
    tctl: Tctl, cluster: Cluster, host: str
) -> None:
    with web_door(cluster, host) as bound:
        assert f"\nController  running, web door at {join_address(*bound.web)}\n" in tctl("status").stdout
        assert is_running(tctl)
    assert not is_running(tctl)


def test_a_door_open_to_everyone_is_asked_on_this_host(tctl: Tctl, cluster: Cluster) -> None:
    with web_door(cluster, "127.0.0.1") as bound:
        everywhere = ("0.0.0.0", bound.web[1])  # noqa: S104 - written down, not bound
        replace(bound, web=everywhere).save(cluster.config.data_dir)
        assert is_running(tctl)


def test_another_program_on_the_port_is_not_the_controller(tctl: Tctl, cluster: Cluster) -> None:
    with web_door(cluster, "127.0.0.1") as bound:
        pass
    with socket.create_server(bound.web) as other:

        def hang_up() -> None:
            other.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert "\nController  not running\n" in tctl("status").stdout
        thread.join(10)


def test_version_needs_no_cluster_and_no_configuration(tctl: Tctl) -> None:
    done = tctl("-c", "/nonexistent/controller.yaml", "version")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Skerry v{__version__} tctl python3.")
    assert tctl("--version").stdout == done.stdout
