from __future__ import annotations

import ipaddress
import json
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from controller.addresses import (
    BoundAddresses,
    certificate_hosts,
    local_addresses,
    near,
    ping,
    public_web,
    reserved_names,
)
from controller.config import ControllerConfig, parse_config

BOUND = BoundAddresses(("0.0.0.0", 3080), ("0.0.0.0", 3023), ("127.0.0.1", 3024), ("::1", 3025))  # noqa: S104 - compared
PUBLIC = "public_addr: skerry.example:443, ssh_public_addr: ssh.example:22, tunnel_public_addr: '[2001:db8::1]:24'"


def config(data_dir: Path = Path("/nowhere"), proxy: str = "") -> ControllerConfig:
    head = f"teleport: {{data_dir: '{data_dir}'}}\nauth_service: {{cluster_name: harbour}}\n"
    return parse_config(f"{head}proxy_service: {{{proxy}}}\n", "controller.yaml")


def test_what_was_bound_is_found_again(tmp_path: Path) -> None:
    BOUND.save(tmp_path)
    assert BoundAddresses.load(config(tmp_path)) == BOUND
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_off_is_not_there_and_what_is_on_is_found_again(tmp_path: Path) -> None:
    BOUND.save(tmp_path)
    off = BoundAddresses.load(config(tmp_path))
    assert (off.mqtt, off.diag) == (None, None)
    on = replace(BOUND, mqtt=("127.0.0.1", 8883), diag=("127.0.0.1", 3000))
    on.save(tmp_path)
    assert BoundAddresses.load(config(tmp_path)) == on


def test_a_door_open_to_everyone_is_near_on_loopback() -> None:
    assert near(("0.0.0.0", 1)) == ("127.0.0.1", 1)  # noqa: S104 - compared
    assert near(("::", 1)) == ("::1", 1)
    assert near(("192.0.2.1", 1)) == ("192.0.2.1", 1)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("{", id="half"),
        pytest.param("[]", id="a list"),
        pytest.param('{"web": ["127.0.0.1", 1]}', id="one door"),
        pytest.param(json.dumps({name: [] for name in ("web", "ssh", "tunnel", "api")}), id="no ports"),
        pytest.param(json.dumps({name: ["a", "b"] for name in ("web", "ssh", "tunnel", "api")}), id="words"),
        pytest.param("\xff", id="noise"),
    ],
)
def test_without_a_good_file_the_configured_addresses_count(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "addresses.json").write_bytes(content.encode("latin-1"))
    found = BoundAddresses.load(config(tmp_path))
    assert (found.web[1], found.ssh[1], found.tunnel[1], found.api[1]) == (3080, 3023, 3024, 3025)


def test_the_address_in_links_is_the_public_one_or_this_host_s() -> None:
    assert public_web(config(proxy=PUBLIC), BOUND) == "skerry.example:443"
    assert public_web(config(), BOUND) == f"{socket.gethostname()}:3080"
    here = BoundAddresses(("127.0.0.1", 1), BOUND.ssh, BOUND.tunnel, BOUND.api)
    assert public_web(config(), here) == "127.0.0.1:1"


def test_a_door_without_a_public_address_is_on_the_host_that_was_dialled() -> None:
    plain = ping(config(), BOUND)
    assert (plain.cluster_name, plain.ssh_address, plain.tunnel_address, plain.api_address) == (
        "harbour",
        ":3023",
        ":3024",
        ":3025",
    )
    public = ping(config(proxy=PUBLIC), BOUND)
    assert (public.ssh_address, public.tunnel_address, public.api_address) == (
        "ssh.example:22",
        "[2001:db8::1]:24",
        ":3025",
    )


@pytest.mark.parametrize(
    ("section", "address"),
    [
        ("{}", ":8884"),
        ("{public_addr: mqtt.example}", "mqtt.example:8883"),
        ("{broker: external, url: 'mqtts://broker.example:1'}", "broker.example:1"),
        ("{broker: none}", ""),
        ("{broker: none, public_addr: mqtt.example}", ""),
    ],
)
def test_the_broker_s_address_is_told_where_there_is_a_broker(section: str, address: str) -> None:
    settings = parse_config(f"mqtt: {section}\n", "controller.yaml")
    bound = replace(BOUND, mqtt=("127.0.0.1", 8884) if settings.broker == "mosquitto" else None)
    assert ping(settings, bound).mqtt_address == address


def test_the_broker_s_address_is_kept_with_the_others(tmp_path: Path) -> None:
    bound = replace(BOUND, mqtt=("127.0.0.1", 8884))
    bound.save(tmp_path)
    assert BoundAddresses.load(config(tmp_path)) == bound


def test_before_the_first_start_the_broker_is_where_it_is_configured() -> None:
    found = BoundAddresses.load(config())
    assert found.mqtt is not None
    assert found.mqtt[1] == 8883
    assert BoundAddresses.load(parse_config("mqtt: {broker: none}", "x")).mqtt is None


def test_certificates_are_good_for_every_name_once_and_for_no_wildcard() -> None:
    hosts = certificate_hosts(config(proxy=PUBLIC), BOUND)
    assert hosts[:5] == ("skerry.example", "ssh.example", "2001:db8::1", "127.0.0.1", "::1")
    assert {socket.gethostname(), "localhost"} <= set(hosts)
    assert len(hosts) == len(set(hosts))
    assert not {"0.0.0.0", "::"} & set(hosts)  # noqa: S104 - compared


def here() -> str:
    return socket.gethostname()


def test_the_names_people_dial_are_reserved() -> None:
    reserved = reserved_names(config(proxy=PUBLIC), BOUND)
    assert reserved == tuple(host for host in certificate_hosts(config(proxy=PUBLIC), BOUND) if host != here())
    assert {"skerry.example", "ssh.example", "2001:db8::1", "localhost", *local_addresses()} <= set(reserved)


def test_this_machine_s_own_name_is_reserved_where_it_is_a_public_address_alone() -> None:
    assert here() not in reserved_names(config(), BOUND)
    assert here() in reserved_names(config(proxy=f"public_addr: {here()}"), BOUND)


def test_local_addresses_are_addresses_with_loopback_and_without_link_local_ones() -> None:
    found = [ipaddress.ip_address(text) for text in local_addresses()]
    assert ipaddress.ip_address("127.0.0.1") in found
    assert not any(address.is_link_local for address in found)
    assert len(found) == len(set(found))
