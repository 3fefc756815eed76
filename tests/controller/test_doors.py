from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from controller.config import ControllerConfig, parse_config
from controller.doors import StartError, bind_doors, claimed, require_nobody

DOORS = {
    "web": "proxy_service.web_listen_addr",
    "ssh": "proxy_service.listen_addr",
    "tunnel": "proxy_service.tunnel_listen_addr",
    "api": "auth_service.listen_addr",
    "mqtt": "mqtt.listen_addr",
}


def config(**addresses: str) -> ControllerConfig:
    sections: dict[str, list[str]] = {"auth_service": [], "proxy_service": [], "mqtt": []}
    for door, key in DOORS.items():
        section, _, name = key.partition(".")
        sections[section].append(f"{name}: '{addresses.get(door, '127.0.0.1:0')}'")
    text = "".join(f"{section}: {{{', '.join(keys)}}}\n" for section, keys in sections.items())
    return parse_config(text, "controller.yaml")


def close(doors: object) -> None:
    for name in DOORS:
        getattr(doors, name).close()


def test_port_0_is_a_port_that_the_system_chose_and_each_door_listens() -> None:
    doors = bind_doors(config())
    try:
        bound = doors.addresses()
        ports = {bound.web[1], bound.ssh[1], bound.tunnel[1], bound.api[1]}
        assert bound.mqtt is not None
        assert len(ports | {bound.mqtt[1]}) == 5
        assert 0 not in ports | {bound.mqtt[1]}
        for port in ports:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    finally:
        close(doors)


def test_doors_that_are_only_looked_at_do_not_listen_and_are_still_found_taken() -> None:
    doors = bind_doors(config(), is_listening=False)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(doors.addresses().web, timeout=5)
    finally:
        close(doors)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(StartError):
        bind_doors(config(web=f"127.0.0.1:{other.getsockname()[1]}"), is_listening=False)


def test_ipv6_addresses_can_be_listened_on() -> None:
    doors = bind_doors(config(web="[::1]:0"))
    try:
        assert doors.addresses().web[0] == "::1"
    finally:
        close(doors)


@pytest.mark.parametrize("door", DOORS)
def test_a_port_that_is_taken_is_one_line_with_the_key_and_what_to_do(door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(StartError) as caught:
            bind_doors(config(**{door: address}))
    assert str(caught.value) == (
        f"{DOORS[door]}: cannot listen on {address}: Address already in use: "
        "end what listens there, or give another address"
    )


def test_two_doors_cannot_have_one_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StartError, match=r"^proxy_service\.listen_addr: cannot listen"):
        bind_doors(config(web=address, ssh=address))


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:1", f"{'a' * 70}.example:1"])
def test_an_address_that_is_not_this_host_s_is_refused(address: str) -> None:
    with pytest.raises(StartError, match=r"^auth_service\.listen_addr: cannot listen on .*another address$"):
        bind_doors(config(api=address))


def test_after_a_failure_no_door_is_left_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        web = f"127.0.0.1:{free.getsockname()[1]}"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError):
        bind_doors(config(web=web, api=f"127.0.0.1:{taken.getsockname()[1]}"))
    doors = bind_doors(config(web=web))
    close(doors)


def test_a_folder_is_made_for_nobody_else(tmp_path: Path) -> None:
    from controller.cluster import open_cluster

    text = f"teleport: {{data_dir: '{tmp_path / 'a' / 'b'}'}}\n"
    cluster = open_cluster(parse_config(text, "controller.yaml"))
    assert cluster.config.data_dir.stat().st_mode & 0o777 == 0o700
    assert cluster.purge() == 0


def test_nobody_who_may_look_into_the_data_directory_can_keep_the_controller_from_starting(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "controller.lock").touch(mode=0o644)  # as earlier versions left it
    with claimed(tmp_path), pytest.raises(StartError, match="a controller runs on"), claimed(tmp_path):
        pass
    assert (tmp_path / "controller.lock").stat().st_mode & 0o777 == 0o600


def test_a_second_controller_is_told_of_the_first_and_not_of_its_ports(tmp_path: Path) -> None:
    data_dir, settings = tmp_path / "data", tmp_path / "controller.yaml"
    data_dir.mkdir(0o700)
    require_nobody(data_dir)
    with claimed(data_dir), socket.create_server(("127.0.0.1", 0)) as taken:
        web = f'proxy_service: {{web_listen_addr: "127.0.0.1:{taken.getsockname()[1]}"}}'
        settings.write_text(f"teleport: {{data_dir: '{data_dir}'}}\n{web}\n")
        command = [sys.executable, "-m", "controller.cli", "start", "-c", str(settings)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = f"ERROR: a controller runs on {data_dir} (process {os.getpid()}): end it first"
    assert (done.returncode, done.stderr) == (1, f"{told} (systemctl stop skerry-controller)\n")
    require_nobody(data_dir)
