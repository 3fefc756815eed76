"""`edge-agent doctor` and `support-bundle` on a device of a real cluster, with each fault made for real."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness.faketime import environment_at
from tests.harness.real_cluster import Agent, RealCluster
from tests.harness.running_program import BIN, clean_environment
from tests.harness.tiny_disk import fill, remount, tiny_disk
from tests.system.conftest import Harbour

Findings = dict[str, dict[str, Any]]


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "edge-agent"), *arguments],
        env=environment or clean_environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def look(*arguments: str, environment: dict[str, str] | None = None) -> Findings:
    """Run the doctor, and return its findings by name; the exit status has to fit them."""
    done = run("doctor", "--format=json", *arguments, environment=environment)
    assert done.returncode in {0, 1}, done.stderr
    assert not done.stderr, done.stderr
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode == 1) == any(finding["state"] == "fail" for finding in findings.values())
    for finding in findings.values():
        assert finding["state"] == "ok" or finding["check"] in {"disk", "upgrade"} or finding["mend"], finding
    return findings


def doors(findings: Findings) -> dict[str, str]:
    return {name.removeprefix("port "): found["state"] for name, found in findings.items() if name.startswith("port ")}


def of(agent: Agent) -> str:
    return f"--data-dir={agent.data_dir}"


def told_of(agent: Agent, cluster: RealCluster) -> list[dict[str, Any]]:
    """Return what the audit log has of a device's coming and going, and every lock."""
    events = cluster.events("node.online", "node.offline", "lock.created")
    return [event for event in events if event.get("server_id", agent.node_id) == agent.node_id]


def unused_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        return int(free.getsockname()[1])


@contextmanager
def somebody(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Have somebody else listen, who does `answer` with whoever comes; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve() -> None:
            try:
                while True:
                    with door.accept()[0] as visitor:
                        answer(visitor)
            except OSError:
                return  # closed: it is over

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(door.getsockname()[1])
        finally:
            door.shutdown(socket.SHUT_RDWR)
            thread.join()


def copied(agent: Agent, place: Path) -> Path:
    """Return a copy of a device's data directory, for tests that edit it."""
    shutil.copytree(agent.data_dir, place, ignore=shutil.ignore_patterns("*.sock", "lock"))
    place.chmod(0o700)
    return place


def edit_identity(data: Path, **granted: str) -> None:
    path = data / "identity.json"
    identity = json.loads(path.read_text())
    identity["granted"] |= granted
    path.write_text(json.dumps(identity))


# --- all is well ------------------------------------------------------------------------------------------------------


def test_a_device_that_is_online_has_every_door_proved_and_nobody_notices(harbour: Harbour) -> None:
    agent, cluster = harbour.edge_1, harbour.cluster
    before = told_of(agent, cluster)
    mark = agent.program.mark()
    findings = look(of(agent))
    assert doors(findings) == {"web": "ok", "tunnel": "ok", "api": "ok", "mqtt": "ok"}
    assert findings["agent"]["found"].startswith("online as edge-1")
    assert findings["certificates"]["state"] == findings["identity"]["state"] == findings["data"]["state"] == "ok"
    assert "as the controller's" in findings["clock"]["found"]
    assert "version" not in {name for name, finding in findings.items() if finding["state"] != "ok"}
    assert "host key by the cluster's authority" in findings["port tunnel"]["found"]
    assert told_of(agent, cluster) == before
    assert not agent.program.find("tunnel.*(lost|gone)", since=mark)
    assert findings["agent"]["state"] == "ok"


def test_it_tells_people_in_a_table_with_what_to_do_below(harbour: Harbour) -> None:
    done = run("doctor", of(harbour.edge_1), f"--controller=127.0.0.1:{unused_port()}")
    assert re.search(r"^Check +State Found$", done.stdout, re.MULTILINE)
    assert re.search(r"^  port web: see that the controller runs.*$", done.stdout, re.MULTILINE)
    assert done.returncode == 1


def test_a_device_that_has_not_joined_is_told_whether_the_pin_is_right(harbour: Harbour, tmp_path: Path) -> None:
    cluster, data = harbour.cluster, f"--data-dir={tmp_path / 'none'}"
    where = (data, f"--controller={cluster.address('web')}")
    right = look(*where, f"--ca-pin={cluster.pin}")
    assert doors(right) == {"web": "ok", "tunnel": "ok", "api": "ok", "mqtt": "ok"}
    assert "the pin is that of its authority" in right["port web"]["found"]
    identity = right["identity"]
    assert (identity["state"], identity["found"]) == ("fail", "this device has not joined")
    verb = "install" if Path("/run/systemd/system").is_dir() else "start"
    assert identity["command"].startswith(f"edge-agent {verb} --controller ")
    assert not (tmp_path / "none").exists()
    wrong = look(*where, f"--ca-pin=sha256:{'0' * 64}")
    assert doors(wrong) == {"web": "fail"}
    assert "does not match the CA pin" in wrong["port web"]["found"]


def test_without_a_controller_it_says_how_to_name_one(tmp_path: Path) -> None:
    findings = look(f"--data-dir={tmp_path}", environment=clean_environment(HOME=str(tmp_path)))
    assert "--controller" in findings["settings"]["mend"]
    assert not doors(findings)


# --- the way to the controller ----------------------------------------------------------------------------------------


def test_a_closed_port_is_named_with_its_number(harbour: Harbour, tmp_path: Path) -> None:
    data, port = copied(harbour.edge_1, tmp_path / "data"), unused_port()
    edit_identity(data, tunnel_address=f":{port}")
    findings = look(f"--data-dir={data}")
    assert doors(findings) == {"web": "ok", "tunnel": "fail", "api": "ok", "mqtt": "ok"}
    assert findings["port tunnel"]["found"] == f"127.0.0.1:{port}: connection refused"
    assert f"TCP port {port}" in findings["port tunnel"]["mend"]


def test_a_door_that_never_answers_is_given_up_and_keeps_no_other_from_being_tried(
    harbour: Harbour, tmp_path: Path
) -> None:
    data = copied(harbour.edge_1, tmp_path / "data")
    silence = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        silence.wait(60)

    with somebody(say_nothing) as port:
        edit_identity(data, tunnel_address=f":{port}", api_address=f":{port}")
        findings = look(f"--data-dir={data}")
        silence.set()
    assert doors(findings) == {"web": "ok", "tunnel": "fail", "api": "fail", "mqtt": "ok"}
    assert "no answer within 5 s" in findings["port tunnel"]["found"]


def test_somebody_else_in_the_place_of_a_door_is_told_from_the_controller(harbour: Harbour, tmp_path: Path) -> None:
    data, cluster = copied(harbour.edge_1, tmp_path / "data"), harbour.cluster
    edit_identity(data, api_address=f":{cluster.port('web')}", mqtt_address=f":{cluster.port('web')}")
    edit_identity(data, tunnel_address=f":{cluster.port('ssh')}")
    findings = look(f"--data-dir={data}")
    assert doors(findings)["api"] == doors(findings)["mqtt"] == "fail"
    assert "not who it should be" in findings["port api"]["found"]
    assert "not who it should be" in findings["port mqtt"]["found"]


def test_a_name_that_does_not_resolve_is_the_first_to_mend(tmp_path: Path) -> None:
    findings = look(f"--data-dir={tmp_path}", "--controller=controller.invalid:3080")
    assert findings["name"]["state"] == "fail"
    assert findings["name"]["found"].startswith("controller.invalid does not resolve: ")
    assert not doors(findings)


def test_a_node_that_was_removed_learns_it_at_the_doors_for_devices(harbour: Harbour, tmp_path: Path) -> None:
    cluster = harbour.cluster
    agent = cluster.start_agent("skiff")
    data = copied(agent, tmp_path / "data")
    cluster.tctl("nodes", "rm", "skiff")
    findings = look(f"--data-dir={data}")
    assert findings["port api"]["state"] == "fail"
    agent.program.stop()
    assert "removed or locked" in findings["port api"]["mend"]
    assert doors(findings)["web"] == "ok"


# --- the device -------------------------------------------------------------------------------------------------------


def test_certificates_that_have_expired_while_the_controller_was_out_of_reach_fail(
    harbour: Harbour, tmp_path: Path
) -> None:
    data, nowhere = copied(harbour.edge_1, tmp_path / "data"), f":{unused_port()}"
    (data / "clock.json").unlink(missing_ok=True)
    edit_identity(data, api_address=nowhere, tunnel_address=nowhere, mqtt_address=nowhere)
    later = clean_environment() | environment_at(datetime.now(UTC) + timedelta(days=40))
    findings = look(f"--data-dir={data}", f"--controller=127.0.0.1{nowhere}", environment=later)
    assert findings["certificates"]["state"] == "fail"
    assert findings["certificates"]["found"].startswith("expired since ")
    assert "--rejoin" in findings["certificates"]["mend"]


@pytest.mark.parametrize("year", [1970, 2040])
def test_a_clock_that_is_years_off_is_told_and_fails_nothing_else(harbour: Harbour, tmp_path: Path, year: int) -> None:
    data = copied(harbour.edge_1, tmp_path / "data")
    moment = datetime(year, 1, 1, 0, 1, tzinfo=UTC)
    findings = look(f"--data-dir={data}", environment=clean_environment() | environment_at(moment))
    assert findings["clock"]["state"] == "warn"
    assert re.search(rf"it says {year}-01-01 .* days (behind|ahead of) the controller's", findings["clock"]["found"])
    assert findings["certificates"]["state"] == "ok"
    assert set(doors(findings).values()) == {"ok"}


def test_a_disk_that_is_full_or_read_only_fails(harbour: Harbour, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 80 * 2**20) as disk:
        data = copied(harbour.edge_1, disk / "data")
        roomy = look(f"--data-dir={data}")["disk"]
        fill(disk)
        full = look(f"--data-dir={data}")["disk"]
        remount(disk, "ro")
        fixed = look(f"--data-dir={data}")["disk"]
        remount(disk, "rw")
    assert roomy["state"] == "warn"
    assert full["state"] == "fail"
    assert "no session is recorded" in full["found"]
    assert fixed["state"] == "fail"
    assert "read-only" in fixed["found"]


def test_keys_that_others_can_read_are_named(harbour: Harbour, tmp_path: Path) -> None:
    data = copied(harbour.edge_1, tmp_path / "data")
    (data / "host_key").chmod(0o644)
    findings = look(f"--data-dir={data}")
    assert findings["data"]["state"] == "fail"
    assert "host_key has the mode 0644" in findings["data"]["found"]
    subprocess.run(findings["data"]["command"], shell=True, check=True)  # noqa: S602 - what a person is told to type
    assert look(f"--data-dir={data}")["data"]["state"] == "ok"


def test_an_identity_that_makes_no_sense_and_wrong_settings_are_said_in_one_line_each(
    harbour: Harbour, tmp_path: Path
) -> None:
    data, settings = copied(harbour.edge_1, tmp_path / "data"), tmp_path / "edge_agent.yaml"
    (data / "identity.json").write_text("{")
    settings.write_text("controller: a:1\nheartbeat_interval: often\n")
    findings = look(f"--data-dir={data}", f"--config={settings}")
    assert findings["identity"]["state"] == findings["settings"]["state"] == "fail"
    assert f"{settings}:2" in findings["settings"]["found"]
    assert "\n" not in findings["settings"]["found"] + findings["identity"]["found"]


def test_who_is_not_root_is_told_what_cannot_be_seen(harbour: Harbour, tmp_path: Path) -> None:
    data = copied(harbour.edge_1, tmp_path / "data")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", str(BIN / "edge-agent"), "doctor", "--format=json",
         f"--data-dir={data}", f"--controller={harbour.cluster.address('web')}"],
        env=clean_environment(HOME="/nonexistent"), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert findings["access"]["state"] == findings["identity"]["state"] == "warn"


# --- the bundle -------------------------------------------------------------------------------------------------------


def test_a_bundle_has_what_helps_and_no_secret_of_the_device(harbour: Harbour, tmp_path: Path) -> None:
    token, data = harbour.cluster.token(), tmp_path / "data"
    command = harbour.cluster.agent_command("dinghy", token, f"--data-dir={data}")
    agent = harbour.cluster.run("dinghy", command)
    agent.await_line("the tunnel to .* is up")
    settings = tmp_path / "edge_agent.yaml"
    settings.write_text(f"controller: {token.controller}\n# joined with --token {token.text}\n")
    (data / "spool").mkdir(exist_ok=True)
    (data / "spool" / "9a7f9f5e.skr.refused").write_bytes(b"what was recorded here")
    output = tmp_path / "bundle.tar.gz"
    done = run("support-bundle", of_data(data), f"--config={settings}", "-o", str(output))
    assert done.returncode == 0, done.stderr
    assert output.stat().st_mode & 0o777 == 0o600
    with tarfile.open(output) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive.getmembers()}
        content = {name: file.read() for name, file in files.items() if file}
    assert {"doctor.txt", "doctor.json", "status.json", "versions.txt", "edge_agent.yaml", "identity.json",
            "unit.txt", "journal.txt", "disk.txt", "spool.txt", "upgrade.json"} <= content.keys()  # fmt: skip
    for name in content:
        assert name in done.stdout
    assert json.loads(content["status.json"])["node"] == "dinghy"
    assert b"9a7f9f5e.skr.refused" in content["spool.txt"]
    assert b"BEGIN CERTIFICATE" in content["tls_certificate.pem"]
    everything = b"\n".join(content.values())
    for secret in secrets_of(data, token.text):
        assert secret not in everything
    assert b"PRIVATE KEY" not in everything
    assert b"what was recorded here" not in everything
    agent.stop()
    harbour.cluster.tctl("nodes", "rm", "dinghy")
    again = run("support-bundle", of_data(data), f"--config={settings}", "-o", str(output))
    assert again.returncode == 1
    assert again.stderr == f"ERROR: {output} is there already: name another file with -o\n"
    assert sorted(path.name for path in tmp_path.glob(".*.part")) == []


def of_data(data: Path) -> str:
    return f"--data-dir={data}"


def secrets_of(data: Path, token: str) -> list[bytes]:
    """Return each line of each private key, its bytes in other forms, and the token."""
    found = [token.encode()]
    for name in ("host_key", "tls_key.pem"):
        pem = (data / name).read_bytes()
        lines = [line for line in pem.splitlines() if not line.startswith(b"-----") and len(line) >= 8]
        raw = base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-----")))
        found += [*lines, raw, base64.b64encode(pem), raw.hex().encode()]
    assert len(found) > 6
    return found


def test_a_bundle_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("support-bundle", of_data(tmp_path / "none"), "-o", str(tmp_path / "no such" / "bundle.tar.gz"))
    assert done.returncode == 1
    assert re.fullmatch(r"ERROR: cannot write .*: No such file or directory; name another place with -o\n", done.stderr)


def test_a_web_door_with_a_certificate_by_nobody_is_not_believed(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    def answer(visitor: socket.socket) -> None:
        try:
            context.wrap_socket(visitor, server_side=True).close()
        except ssl.SSLError:
            return

    with somebody(answer) as port:
        findings = look(f"--data-dir={tmp_path / 'none'}", f"--controller=localhost:{port}")
    assert "not who it should be" in findings["port web"]["found"]


def test_a_web_door_that_talks_without_end_is_cut_short_and_obeyed_in_nothing(tmp_path: Path) -> None:
    def answer(visitor: socket.socket) -> None:
        with suppress(OSError):
            visitor.sendall(b"\x1b[2J" * 50_000)

    with somebody(answer) as port:
        done = run("doctor", f"--data-dir={tmp_path / 'none'}", f"--controller=localhost:{port}")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert len(done.stdout) < 5000
