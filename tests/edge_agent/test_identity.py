from __future__ import annotations

import json
import stat
from dataclasses import replace
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


@pytest.mark.parametrize("name", ["identity.json", "host_key", "tls_key.pem"])
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


def test_new_certificates_take_the_place_of_the_old_ones(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    saved = save(directory, simulated)
    renewed = directory.renew(saved, replace(saved.granted, tls_certificate="new", generation=2))
    loaded = directory.load()
    assert loaded
    assert loaded.granted == renewed.granted
    assert loaded.controller == saved.controller
    assert loaded.host_private.reveal() == saved.host_private.reveal()
    assert (directory.path / "tls_certificate.pem").read_text() == "new"


def test_a_crash_between_the_two_files_of_a_renewal_is_mended(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    saved = save(directory, simulated)
    old = (directory.path / "tls_certificate.pem").read_bytes()
    directory.renew(saved, replace(saved.granted, tls_certificate="new", generation=2))
    directory.write("tls_certificate.pem", old)
    bystander = DataDirectory(directory.path)
    assert bystander.load()  # who does not hold the directory writes nothing
    assert (directory.path / "tls_certificate.pem").read_bytes() == old
    loaded = directory.load()
    assert loaded
    assert loaded.granted.generation == 2
    assert (directory.path / "tls_certificate.pem").read_text() == "new"


def test_a_certificate_s_file_that_is_gone_is_made_anew(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    saved = save(directory, simulated)
    file = directory.path / "tls_certificate.pem"
    file.unlink()
    assert DataDirectory(directory.path).load()  # who does not hold the directory writes nothing
    assert not file.exists()
    assert directory.load()
    assert file.read_text() == saved.granted.tls_certificate


@pytest.mark.parametrize("content", [None, b"another"])
def test_a_disk_that_will_not_have_the_certificate_s_file_mended_does_not_keep_the_node_from_starting(
    directory: DataDirectory, simulated: SimulatedController, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    save(directory, simulated)
    file = directory.path / "tls_certificate.pem"
    file.unlink() if content is None else directory.write(file.name, content)
    (directory.path / f".{file.name}.new").mkdir()  # in the way
    assert directory.load()
    assert f"cannot mend {file}" in caplog.text


def test_keys_to_join_with_are_there_before_and_stay(directory: DataDirectory) -> None:
    keys = directory.prepare_keys()
    again = directory.prepare_keys()
    assert keys.host_public == again.host_public
    assert keys.tls.private_numbers() == again.tls.private_numbers()
    assert directory.load() is None


@pytest.mark.parametrize("name", ["host_key", "tls_key.pem"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\n"])
def test_keys_that_are_not_both_good_are_made_anew(directory: DataDirectory, name: str, content: bytes | None) -> None:
    keys = directory.prepare_keys()
    (directory.path / name).unlink() if content is None else directory.write(name, content)
    made = directory.prepare_keys()
    assert made.host_public != keys.host_public


def test_keys_that_cannot_be_read_are_not_written_over(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    save(directory, simulated)
    (directory.path / "tls_key.pem").rename(directory.path / "kept")
    (directory.path / "tls_key.pem").symlink_to("tls_key.pem")  # reading fails, and not because it is not there
    with pytest.raises(IdentityError, match="cannot read or write the node's keys"):
        directory.prepare_keys()
    (directory.path / "tls_key.pem").unlink()
    (directory.path / "kept").rename(directory.path / "tls_key.pem")
    assert directory.load()


def test_a_node_that_waits_for_approval_has_an_identity_without_certificates(
    directory: DataDirectory, simulated: SimulatedController
) -> None:
    simulated.renewals.needs_approval = True
    save(directory, simulated)
    loaded = directory.load()
    assert loaded
    assert loaded.granted.pending
    assert loaded.granted.host_certificate == ""
