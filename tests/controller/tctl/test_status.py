from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from controller.addresses import BoundAddresses
from controller.cluster import Cluster
from controller.tls_files import prepare_web, web_pins
from protocol.addresses import join_address
from protocol.version import __version__

Tctl = Callable[..., subprocess.CompletedProcess[str]]


def test_status_shows_the_cluster_and_its_authorities(tctl: Tctl, cluster: Cluster) -> None:
    (pin,) = web_pins(cluster)
    assert tctl("status").stdout.splitlines() == [
        "Cluster     harbour",
        "Controller  not running",
        f"Version     {__version__}",
        "user CA     never updated",
        "host CA     never updated",
        "tls CA      never updated",
        f"CA pin      {pin}",
    ]
    told = json.loads(tctl("status", "--format", "json").stdout)
    assert (told["cluster"], told["version"], told["ca_pins"]) == ("harbour", __version__, [pin])


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
    assert done.stdout.startswith(f"Skerry v{__version__} python ")
    assert tctl("--version").stdout == done.stdout
