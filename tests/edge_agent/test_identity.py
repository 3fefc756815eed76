from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from edge_agent.config import Settings
from edge_agent.identity import DataDirectory, Identity, IdentityError, generate_keys
from edge_agent.join import make_request
from protocol.names import parse_node_name, parse_token
from protocol.secret import Secret
from tests.harness.simulated_controller import TOKEN, SimulatedController


def save(directory: DataDirectory, controller: SimulatedController) -> Identity:
    keys = generate_keys()
    settings = Settings(("127.0.0.1", 1), parse_node_name("n"), directory.path)
    request = make_request(settings, Secret(parse_token(TOKEN)), keys)
    granted = controller.take_join(json.dumps(request.to_dict()).encode())
    return directory.save(keys, granted, settings.controller)


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path / "data")
    made.claim()
    return made


@pytest.fixture
def simulated(tmp_path: Path) -> SimulatedController:
    return SimulatedController(tmp_path)


def test_an_identity_is_read_as_it_was_written(directory: DataDirectory, simulated: SimulatedController) -> None:
    saved = save(directory, simulated)
    loaded = directory.load()
    assert loaded
    assert loaded.granted == saved.granted
    assert loaded.host_private.reveal() == saved.host_private.reveal()
    assert "PRIVATE" not in repr(loaded)


def test_the_controllers_address_is_kept_and_may_change(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    saved = save(directory, simulated)
    assert saved.controller == ("127.0.0.1", 1)
    directory.keep_controller(saved, ("fd00::1", 3080))
    loaded = directory.load()
    assert loaded
    assert loaded.controller == ("fd00::1", 3080)
    assert loaded.granted == saved.granted


def test_an_identity_of_before_the_address_was_kept_is_one(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    saved = save(directory, simulated)
    directory.write("identity.json", json.dumps({"version": 1, "granted": saved.granted.to_dict()}).encode())
    loaded = directory.load()
    assert loaded
    assert loaded.controller is None


@pytest.mark.parametrize("controller", ["no port", "x:99999", 7, ["x", 1]])
def test_an_address_that_is_none_is_named_with_the_mend(
    directory: DataDirectory, simulated: SimulatedController, controller: object
) -> None:
    record = {"version": 1, "controller": controller, "granted": save(directory, simulated).granted.to_dict()}
    directory.write("identity.json", json.dumps(record).encode())
    with pytest.raises(IdentityError, match=r"identity\.json: not an identity .*; move it away"):
        directory.load()


def test_all_of_it_is_private(directory: DataDirectory, simulated: SimulatedController) -> None:
    save(directory, simulated)
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["identity.json", "host_key", "tls_key.pem", "tls_certificate.pem"])
def test_an_identity_with_a_part_missing_is_none(
    directory: DataDirectory, simulated: SimulatedController, name: str
) -> None:
    save(directory, simulated)
    (directory.path / name).unlink()
    assert directory.load() is None


def test_another_joins_key_makes_it_none(directory: DataDirectory, simulated: SimulatedController) -> None:
    save(directory, simulated)
    directory.write("host_key", generate_keys().host_private().reveal())
    assert directory.load() is None


@pytest.mark.parametrize("record", ["", "{", "[]", '{"version": 2}', '{"version": 1, "granted": {}}', "[" * 100_000])
def test_a_record_that_is_none_is_named_with_the_mend(
    directory: DataDirectory, simulated: SimulatedController, record: str
) -> None:
    save(directory, simulated)
    directory.write("identity.json", record.encode())
    with pytest.raises(IdentityError, match=r"identity\.json: not an identity .*; move it away"):
        directory.load()


def test_a_leftover_of_a_crash_is_written_over(directory: DataDirectory, simulated: SimulatedController) -> None:
    (directory.path / ".host_key.new").write_text("left over")
    save(directory, simulated)
    assert directory.load()


def test_one_agent_at_a_time(directory: DataDirectory) -> None:
    second = DataDirectory(directory.path)
    with pytest.raises(IdentityError, match="another agent"):
        second.claim()
    directory.release()
    second.claim()
    second.release()


def test_a_place_where_no_directory_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IdentityError, match="cannot be used as data directory"):
        DataDirectory(tmp_path / "file" / "data").claim()
