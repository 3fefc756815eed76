"""Stock OpenSSH, and what is built on it, reach a device with the certificate that `tsh login` wrote."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN
from tests.harness.running_program import RunningProgram, clean_environment
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
TIMEOUT = 50


@dataclass(frozen=True)
class OpenSsh:
    """OpenSSH's programs with the configuration that `tsh config` prints, and nothing of this machine's own."""

    config: Path
    node: str

    def run(self, program: str, *arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [program, "-F", str(self.config), *arguments],
            input=typed,
            capture_output=True,
            env=clean_environment(),
            timeout=TIMEOUT,
            check=False,
        )


@pytest.fixture
def openssh(harbour: Harbour, tmp_path: Path) -> OpenSsh:
    printed = harbour.cluster.tsh(harbour.alice, "config")
    assert printed.returncode == 0, printed.stderr
    config = tmp_path / "ssh_config"
    config.write_bytes(printed.stdout)
    return OpenSsh(config, f"{LOGIN}@edge-1.harbour")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file of bytes"
    path.write_bytes(os.urandom(3_000_001))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def by_hand(harbour: Harbour, node: str, known_hosts: Path) -> list[str]:
    """Return the `ssh` command of a person who writes the options out: certificate, trust, jump."""
    keys, alice = harbour.alice.keys, harbour.alice.name
    identity = ["-o", "IdentitiesOnly=yes", "-i", str(keys / alice), "-o", f'CertificateFile="{keys / alice}-cert.pub"']
    trust = ["-o", f'UserKnownHostsFile="{known_hosts}"', "-o", "StrictHostKeyChecking=yes"]
    options = " ".join(f"'{part}'" for part in [*identity, *trust])
    jump = f"ssh -F /dev/null {options} -p {harbour.cluster.port('ssh')} -W %h:%p {alice}@127.0.0.1"
    return ["ssh", "-F", "/dev/null", *identity, *trust, "-o", f"ProxyCommand={jump}", f"{LOGIN}@{node}"]


def test_configuration_that_tsh_prints_is_enough_for_ssh(openssh: OpenSsh) -> None:
    done = openssh.run("ssh", openssh.node, "echo $SSH_SKERRY_NODE_NAME; cat; exit 5", typed=b"typed")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"edge-1\ntyped", b"")


def test_options_written_by_hand_are_enough_for_ssh(harbour: Harbour) -> None:
    command = by_hand(harbour, "edge-2", harbour.alice.keys / "known_hosts")
    done = subprocess.run([*command, "hostname; id -un"], capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == LOGIN.encode()


def test_known_hosts_trust_the_host_authority_and_nothing_else(harbour: Harbour, tmp_path: Path) -> None:
    lines = (harbour.alice.keys / "known_hosts").read_text().splitlines()
    assert lines
    assert all(line.startswith("@cert-authority * ssh-ed25519 ") for line in lines)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "foreign"], check=True)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"@cert-authority * {(tmp_path / 'foreign.pub').read_text()}")
    done = subprocess.run(
        [*by_hand(harbour, "edge-1", known_hosts), "true"], capture_output=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


@pytest.mark.parametrize("options", [(), ("-O",)], ids=["over sftp", "by the old protocol"])
def test_scp_copies_both_ways(openssh: OpenSsh, file: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    up = openssh.run("scp", *options, str(file), f"{openssh.node}:{there}")
    assert (up.returncode, up.stderr) == (0, b"")
    down = openssh.run("scp", *options, f"{openssh.node}:{there}", str(back))
    assert (down.returncode, down.stderr) == (0, b"")
    assert digest(file) == digest(there) == digest(back)


def test_sftp_puts_lists_and_gets(openssh: OpenSsh, file: Path, tmp_path: Path) -> None:
    batch = f'put "{file}" {tmp_path}/there\nls -l {tmp_path}/there\nget {tmp_path}/there {tmp_path}/back\n'
    done = openssh.run("sftp", "-b", "-", openssh.node, typed=batch.encode())
    assert done.returncode == 0, done.stderr
    assert b"3000001" in done.stdout
    assert digest(tmp_path / "back") == digest(file)


def test_rsync_sends_a_tree_and_afterwards_only_what_changed(openssh: OpenSsh, tmp_path: Path) -> None:
    tree, there = tmp_path / "tree", tmp_path / "there"
    (tree / "deep").mkdir(parents=True)
    for number in range(50):
        (tree / "deep" / f"{number}.txt").write_text(f"file {number}\n" * number)
    command = ["rsync", "-a", "--itemize-changes", "-e", f"ssh -F {openssh.config}"]
    command += [f"{tree}/", f"{openssh.node}:{there}/"]
    first = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    assert first.returncode == 0, first.stderr
    assert {path.name for path in (there / "deep").iterdir()} == {f"{number}.txt" for number in range(50)}
    (tree / "deep" / "7.txt").write_text("changed")
    second = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    assert [line.split()[-1] for line in second.stdout.decode().splitlines() if "<f" in line] == ["deep/7.txt"]
    assert (there / "deep" / "7.txt").read_text() == "changed"


@pytest.fixture
def master(openssh: OpenSsh, tmp_path: Path) -> Iterator[list[str]]:
    """A connection that others share: the options with which they do."""
    options = ["-o", f"ControlPath={tmp_path}/mux"]
    command = ["ssh", "-F", str(openssh.config), *options, "-M", "-N", "-o", "PermitLocalCommand=yes"]
    program = RunningProgram("ssh -M", [*command, "-v", openssh.node], clean_environment())
    try:
        program.await_line("Entering interactive session")
        yield options
    finally:
        program.stop()
        program.await_silence()


def test_five_sessions_at_once_share_one_connection(openssh: OpenSsh, master: list[str]) -> None:
    # Each session waits for the files of all the others: none ends unless all five run at the same time.
    script = 'd=$1; n=$2; : > $d/$n; while [ "$(ls $d | wc -l)" -lt 5 ]; do sleep 0.05; done; cat'
    folder = Path(master[1].removeprefix("ControlPath=")).parent / "meeting"
    folder.mkdir()
    commands = [f"sh -c '{script}' - {folder} {number}" for number in range(5)]
    with ThreadPoolExecutor(5) as pool:
        done = list(
            pool.map(
                lambda command: openssh.run("ssh", *master, openssh.node, command, typed=command.encode()), commands
            )
        )
    assert [(one.returncode, one.stdout.decode()) for one in done] == [(0, command) for command in commands]


@pytest.fixture
def web_page() -> Iterator[tuple[int, bytes]]:
    """A web server on the device: its port, and what it says."""
    page = os.urandom(1_000_000)

    class Server(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port, page
        server.shutdown()
        thread.join()


def test_local_forwarding_reaches_a_web_server_beside_the_agent(
    openssh: OpenSsh, harbour: Harbour, web_page: tuple[int, bytes], tmp_path: Path
) -> None:
    port, page = web_page
    options = ["-F", str(openssh.config), "-N", "-v", "-L", f"{tmp_path}/door:127.0.0.1:{port}"]
    program = RunningProgram("ssh -L", ["ssh", *options, openssh.node], clean_environment())
    try:
        program.await_line("Entering interactive session")
        fetched = subprocess.run(
            ["curl", "-sS", "--unix-socket", tmp_path / "door", "http://device/"],
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    finally:
        program.stop()
        program.await_silence()
    assert fetched.stdout == page, fetched.stderr
    seen = harbour.cluster.await_event("port", code="T3003I", addr=f"127.0.0.1:{port}")
    assert seen["user"] == "alice"
    assert seen["server_hostname"] == "edge-1"


def test_many_small_commands_in_parallel_all_come_back(openssh: OpenSsh, master: list[str]) -> None:
    # As Ansible works with pipelining: each task a new session with its program on standard input.
    programs = [f"import sys; print({number} * 7); sys.exit({number} % 3)" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        done = list(
            pool.map(
                lambda text: openssh.run(
                    "ssh", *master, openssh.node, "/bin/sh -c '/usr/bin/env python3'", typed=text.encode()
                ),
                programs,
            )
        )
    expected = [(number % 3, f"{number * 7}\n".encode()) for number in range(40)]
    assert [(one.returncode, one.stdout) for one in done] == expected


def test_wrong_login_is_refused_by_the_device_and_audited(harbour: Harbour) -> None:
    command = by_hand(harbour, "edge-1", harbour.alice.keys / "known_hosts")
    done = subprocess.run([*command[:-1], "nobody@edge-1", "true"], capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 255
    assert b"Permission denied" in done.stderr
    event = harbour.cluster.await_event("auth", login="nobody", success=False)
    assert event["code"] == "T3007W"
    assert event["server_id"] == harbour.edge_1.node_id
