"""controller.yaml: the one of the quick start runs as it stands, and a wrong one is one clear line."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN, Person, RealCluster, Token
from tests.harness.running_program import BIN, clean_environment
from tests.harness.web_visitor import Form, Visitor

pytestmark = pytest.mark.system

QUICK_START = """\
app_service: {debug_app: true, enabled: true}
auth_service:
  cluster_name: teleport-quickstart
  enabled: true
  listen_addr: "127.0.0.1:3025"
  tokens: ["proxy,node,app:f7adb7ccdf04037bcd2b52ec6010fd6f0caec94ba190b765"]
proxy_service:
  enabled: true
  listen_addr: "0.0.0.0:3023"
  tunnel_listen_addr: "0.0.0.0:3024"
  web_listen_addr: "0.0.0.0:3080"
  https_keypairs: [{key_file: /path/localhost.key, cert_file: /path/localhost.crt}]
ssh_service: {enabled: true, labels: {env: staging}}
teleport: {data_dir: /var/lib/skerry}
"""
ANY_PORTS = {"listen_addr": "127.0.0.1:0", "tunnel_listen_addr": "127.0.0.1:0", "web_listen_addr": "127.0.0.1:0"}
STATIC_TOKEN = "f7adb7ccdf04037bcd2b52ec6010fd6f0caec94ba190b765"


def start(config: Path) -> subprocess.CompletedProcess[str]:
    """Run `controller start`, which is expected to give up."""
    return subprocess.run(
        [BIN / "controller", "start", "-c", config],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("teleport:\n  data_dri: /tmp\n", r":2: teleport\.data_dri\b.*", id="unknown key"),
        pytest.param(
            "proxy_service:\n  drain_timeout: [1]\n", r":2: proxy_service\.drain_timeout\b.*", id="wrong type"
        ),
        pytest.param("ssh_service:\n  enabled: perhaps\n", r":2: ssh_service\.enabled\b.*", id="not a truth value"),
        pytest.param(
            'auth_service:\n  listen_addr: "127.0.0.1:99999"\n', r":2: auth_service\.listen_addr\b.*", id="port"
        ),
        pytest.param("teleport:\n  data_dir: /a\n  data_dir: /b\n", r":3: .*data_dir.*", id="duplicate key"),
        pytest.param("teleport: {data_dir: /a\n", r":\d+: .*", id="not YAML"),
        pytest.param("- teleport\n", r":1: .*", id="a list"),
        pytest.param(
            'auth_service:\n  tokens: ["f7adb7"]\n', r":2: auth_service\.tokens\b.*", id="token without roles"
        ),
    ],
)
def test_wrong_configuration_is_one_line_with_file_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    config = tmp_path / "controller.yaml"
    config.write_text(text)
    done = start(config)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"ERROR: {re.escape(str(config))}{complaint}\n", done.stderr), done.stderr
    by_admin = subprocess.run([BIN / "tctl", "-c", config, "status"], capture_output=True, text=True, check=False)
    assert by_admin.returncode == 2
    assert by_admin.stderr == done.stderr


def test_configuration_that_cannot_be_read_is_one_line_with_its_name(tmp_path: Path) -> None:
    missing, folder, binary = tmp_path / "missing.yaml", tmp_path / "folder.yaml", tmp_path / "binary.yaml"
    folder.mkdir()
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (missing, folder, binary):
        done = start(path)
        assert done.returncode == 2
        assert re.fullmatch(rf"ERROR: {re.escape(str(path))}: .+\n", done.stderr), done.stderr


def test_port_that_is_taken_is_one_line_with_its_key(make_cluster: Callable[..., RealCluster]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        cluster = make_cluster({"proxy_service": {"web_listen_addr": address}})
        done = start(cluster.config)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"ERROR: proxy_service\.web_listen_addr: cannot listen on {re.escape(address)}: Address already in use: .+\n",
        done.stderr,
    ), done.stderr
    assert not cluster.data_dir.exists()  # nothing is left behind


def test_data_directory_that_cannot_be_made_is_one_line_with_file_and_key(
    tmp_path: Path, make_cluster: Callable[..., RealCluster]
) -> None:
    (tmp_path / "file").write_text("in the way")
    wanted = tmp_path / "file" / "data"
    cluster = make_cluster({"teleport": {"data_dir": str(wanted)}, "proxy_service": ANY_PORTS})
    done = start(cluster.config)
    assert done.returncode == 1
    assert done.stderr == (
        f"ERROR: {cluster.config}: teleport.data_dir: cannot use {wanted}: Not a directory: "
        "give a directory that this user may make and write\n"
    )


def test_another_cluster_name_than_at_the_first_start_is_one_line_with_the_old_one(
    make_cluster: Callable[..., RealCluster],
) -> None:
    cluster = make_cluster().start()
    cluster.controller.stop()
    cluster.config.write_text(cluster.config.read_text().replace('"harbour"', '"lighthouse"'))
    done = start(cluster.config)
    assert done.returncode == 1
    assert re.fullmatch(
        rf'ERROR: the cluster in {re.escape(str(cluster.data_dir))} is named "harbour", and .* put it back .*\n',
        done.stderr,
    ), done.stderr
    assert cluster.tctl("status", status=1).stderr == done.stderr


@pytest.mark.parametrize("fault", ["missing", "not a key", "of another certificate"])
def test_bad_key_pair_is_one_line_with_its_file(
    tmp_path: Path, make_cluster: Callable[..., RealCluster], fault: str
) -> None:
    key, certificate = self_signed(tmp_path, "localhost")
    if fault == "missing":
        key.unlink()
    elif fault == "not a key":
        key.write_text("not a key\n")
    else:
        other = tmp_path / "other"
        other.mkdir()
        key = self_signed(other, "localhost")[0]
    pair = [{"key_file": str(key), "cert_file": str(certificate)}]
    done = start(make_cluster({"proxy_service": ANY_PORTS | {"https_keypairs": pair}}).config)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("ERROR: ")
    assert str(key) in lines[0] or str(certificate) in lines[0]


def self_signed(folder: Path, name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, Path]:
    """Make a key and a certificate for it as the openssl handbook says; `names` are what it is good for."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName={names}"] if names else []
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def quick_start(make_cluster: Callable[..., RealCluster], tmp_path: Path) -> RealCluster:
    """The quick start's controller: its YAML as it stands, but for addresses and paths."""
    self_signed(tmp_path, "localhost")
    return start_quickly(make_cluster(), tmp_path)


def start_quickly(cluster: RealCluster, tmp_path: Path) -> RealCluster:
    text = re.sub(r'"[0-9.]+:30\d\d"', '"127.0.0.1:0"', QUICK_START)
    text = text.replace("/path/", f"{tmp_path}/").replace("/var/lib/skerry", str(cluster.data_dir))
    # Its own node takes this host's name. The broker's address, which the quick start leaves to the default, is said:
    # other tests may have that port.
    cluster.config.write_text(text + 'mqtt: {listen_addr: "127.0.0.1:0"}\n')
    cluster.certificate = (tmp_path / "localhost.crt").read_text()
    return cluster.start()


def test_quick_start_configuration_runs_as_it_stands(quick_start: RealCluster) -> None:
    cluster = quick_start
    log = cluster.controller
    warnings = log.find(r" WARN .*app_service: application access does not exist yet")
    assert len(warnings) == 1
    log.await_line(r"tunnel door: node \S+ connected")
    alice = cluster.add_user("alice")
    # The certificate is of the admin's own making: its pin is what tctl prints, and what tsh is told.
    token = cluster.token()
    assert token.pin == cluster.pin
    address = cluster.address("web").replace("127.0.0.1", "localhost")
    login = ["login", f"--proxy={address}", "--user=alice", f"--ca-pin={cluster.pin}"]
    done = cluster.tsh(alice, *login, typed=f"{alice.password}\n{alice.next_code()}\n".encode())
    assert done.returncode == 0, done.stderr
    assert b"Cluster:            teleport-quickstart\n" in done.stdout
    own = json.loads(cluster.tsh(alice, "ls", "--format=json").stdout)
    assert [(node["name"], node["labels"]) for node in own] == [(socket.gethostname(), {"env": "staging"})]
    static = Token(STATIC_TOKEN, token.controller, token.pin)
    mark = log.mark()
    joined = cluster.run("agent edge-1", cluster.agent_command("edge-1", static))
    node_id = joined.await_line(r"joined cluster teleport-quickstart as edge-1 \((\S+)\)")[1]
    cluster.await_tunnel(node_id, since=mark)
    for node in ("edge-1", "env=staging"):
        done = cluster.tsh(alice, "ssh", f"{LOGIN}@{node}", "id -un")
        assert done.stdout == f"{LOGIN}\n".encode(), done.stderr


@pytest.mark.parametrize("names", ["DNS:localhost", ""])
def test_quick_start_runs_its_own_node_whatever_name_the_certificate_bears(
    make_cluster: Callable[..., RealCluster], tmp_path: Path, names: str
) -> None:
    self_signed(tmp_path, "localhost", names)
    log = start_quickly(make_cluster(), tmp_path).controller
    log.await_line(r"tunnel door: node \S+ connected")
    assert bool(log.find("bears no name: this host's own agent does not check it")) == (not names)


def test_browser_sees_the_admins_own_certificate(quick_start: RealCluster) -> None:
    cluster = quick_start
    bob = Person("bob", cluster.folder)
    page = Visitor(cluster.anchors).get(cluster.invite("bob"))
    assert page.status == 200
    assert Form(page.text).secret != bob.secret


def test_printed_example_is_a_configuration_that_starts(make_cluster: Callable[..., RealCluster]) -> None:
    cluster = make_cluster()
    printed = subprocess.run([BIN / "controller", "configure"], capture_output=True, text=True, check=True).stdout
    text = re.sub(r'"0\.0\.0\.0:\d+"', '"127.0.0.1:0"', printed).replace("/var/lib/skerry", str(cluster.data_dir))
    cluster.config.write_text(text)
    cluster.start()
    assert not cluster.controller.find(r" (WARN|ERROR) ")
