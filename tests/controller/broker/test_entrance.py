from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from controller.addresses import BoundAddresses
from controller.broker.entrance import open_entrance
from controller.broker.error import BrokerError
from controller.config import parse_config
from tests.controller.broker.lab import PATIENCE, Lab, running

ANY = "0.0.0.0"  # noqa: S104 - compared with


def external(lab: Lab, **keys: str) -> str:
    section = {"broker": "external", "url": f"mqtts://localhost:{lab.port}", **keys}
    return (
        f"teleport: {{data_dir: '{lab.config.data_dir}'}}\nauth_service: {{cluster_name: harbour}}\nmqtt: {section}\n"
    )


def test_the_name_that_is_verified_is_the_cluster_s_wherever_it_is_dialled(lab: Lab) -> None:
    entrance = open_entrance(lab.config, lab.bound, lab.authority, lab.clock())
    assert entrance is not None
    assert entrance.server_name == "mqtt.harbour"
    with (
        socket.create_connection(entrance.address, timeout=PATIENCE) as sock,
        entrance.context.wrap_socket(sock, server_hostname=entrance.server_name) as tls,
    ):
        assert tls.version() is not None
    with (
        socket.create_connection(entrance.address, timeout=PATIENCE) as sock,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        entrance.context.wrap_socket(sock, server_hostname="mqtt.elsewhere")


def test_a_broker_that_listens_everywhere_is_dialled_on_loopback(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.release()
    everywhere = replace(lab.bound, mqtt=(ANY, 8883))
    entrance = open_entrance(lab.config, everywhere, lab.authority, lab.clock())
    assert entrance is not None
    assert entrance.address == ("127.0.0.1", 8883)


def test_where_there_is_no_broker_there_is_no_entrance(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.release()
    bound: BoundAddresses = replace(lab.bound, mqtt=None)
    assert open_entrance(lab.config, bound, lab.authority, lab.clock()) is None


def test_another_broker_that_has_our_files_is_reached_like_our_own(lab: Lab) -> None:
    config = parse_config(external(lab), "controller.yaml")
    entrance = open_entrance(config, replace(lab.bound, mqtt=None), lab.authority, lab.clock())
    assert entrance is not None
    assert (entrance.address, entrance.server_name) == (("localhost", lab.port), "mqtt.harbour")
    caller = lab.caller(entrance.context, "controller")
    caller.subscribe("#")
    caller.publish("c/policy", b"x", retain=True)
    assert caller.next_message()[1] == b"x"


def test_another_broker_may_have_an_authority_and_a_certificate_for_us_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path / "theirs") as theirs:
        chain, key = theirs.authority.issue_broker_client(theirs.clock())
        (tmp_path / "us.crt").write_text(chain)
        (tmp_path / "us.key").write_text(key.reveal())
        (tmp_path / "ca.crt").write_text("".join(theirs.authority.tls_authorities()))
        ours = Lab(tmp_path / "ours")
        ours.release()
        files = {"ca_file": "ca.crt", "cert_file": "us.crt", "key_file": "us.key"}
        config = parse_config(
            external(theirs, **{key: str(tmp_path / name) for key, name in files.items()}), "controller.yaml"
        )
        entrance = open_entrance(config, ours.bound, ours.authority, ours.clock())
        assert entrance is not None
        assert entrance.server_name == "localhost"
        theirs.caller(entrance.context, "controller").publish("c/policy", b"x")


@pytest.mark.parametrize("files", [{"ca_file": "none.crt"}, {"cert_file": "none.crt", "key_file": "none.key"}])
def test_files_that_are_not_there_are_one_line_that_names_the_keys(tmp_path: Path, files: dict[str, str]) -> None:
    lab = Lab(tmp_path)
    lab.release()
    given = {key: str(tmp_path / name) for key, name in files.items()}
    config = parse_config(external(lab, **given), "controller.yaml")
    with pytest.raises(BrokerError, match=r"^mqtt: ca_file, cert_file or key_file cannot be used: No such file"):
        open_entrance(config, lab.bound, lab.authority, lab.clock())
