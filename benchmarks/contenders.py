"""The two roads that are compared, each set up whole on 127.0.0.1 with the programs a person would start.

Ours: controller, agent and tsh. OpenSSH's: an sshd as bastion; the device's ``ssh -N -R`` to it in front of a second
sshd; the user's ``ssh -J``. Keys, certificates, known hosts and accounts are made for the run and go with it.
"""

from __future__ import annotations

import getpass
import json
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyotp

from benchmarks.program import BIN, BenchError, free_port, run, start, wait_for, wait_for_port
from scripts.demo import accept_invite

SSHD = "/usr/sbin/sshd"
NODE = "edge-1"
USER = "alice"


@dataclass(frozen=True, slots=True)
class Contender:
    """One road from the user to the device.

    Attributes:
        name: what the result calls it.
        command: what to put before options for a session.
        target: what to put between options and the remote command.
        force_pty: the option that demands a terminal, though standard input is none.
        device: the processes on the device's side that stand while nobody works on it.
        variables: what the client program needs in its environment.
        directory: where the road keeps its files.
    """

    name: str
    command: tuple[str, ...]
    target: str
    force_pty: str
    device: tuple[int, ...]
    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def ssh(self, remote: str, *options: str) -> list[str]:
        """Return the command line that runs `remote` on the device."""
        return [*self.command, *options, self.target, remote]


@contextmanager
def skerry(directory: Path, *, name: str = "Skerry", recording: str = "best_effort") -> Iterator[Contender]:
    """Set up our road: a controller, a device that has joined, a user who has signed in.

    `recording` is what the cluster's `record_session` says, its default unless said otherwise.
    """
    directory.mkdir()
    variables = {"SKERRY_HOME": str(directory / "tsh")}
    login = getpass.getuser()
    with ExitStack() as stack:
        config = _start_controller(stack, directory, recording)
        tctl = [str(BIN / "tctl"), "-c", str(config)]
        token = json.loads(run([*tctl, "tokens", "add", "--type=node", "--format=json"]))
        controller, pin = str(token["controller"]), str(token["ca_pin"])
        agent_log = directory / "agent.log"
        command = [str(BIN / "edge-agent"), "start", f"--controller={controller}", f"--ca-pin={pin}"]
        command += [f"--nodename={NODE}", f"--data-dir={directory / 'agent'}", f"--token={token['token']}"]
        agent = start(stack, command, agent_log)
        sign_in(tctl, directory, variables, (controller, pin, login))
        wait_for(agent_log, "the tunnel to .* is up", "the agent's tunnel")
        tsh = (str(BIN / "tsh"), "ssh")
        yield Contender(name, tsh, f"{login}@{NODE}", "-t", (agent.pid,), directory, variables)


def _start_controller(stack: ExitStack, directory: Path, recording: str) -> Path:
    config = directory / "controller.yaml"
    config.write_text(
        f"""\
teleport:
  data_dir: {directory / "controller"}
auth_service:
  cluster_name: bench
  listen_addr: "127.0.0.1:0"
  record_session: "{recording}"
proxy_service:
  listen_addr: "127.0.0.1:0"
  tunnel_listen_addr: "127.0.0.1:0"
  web_listen_addr: "127.0.0.1:0"
mqtt:
  listen_addr: "127.0.0.1:0"
""",
        encoding="utf-8",
    )
    log = directory / "controller.log"
    start(stack, [str(BIN / "controller"), "start", "-c", str(config)], log)
    wait_for(log, r"cluster \S+ is ready: \S+", "the start of the controller")
    return config


def sign_in(tctl: list[str], directory: Path, variables: Mapping[str, str], where: tuple[str, str, str]) -> None:
    """Make the user `USER` and sign them in. `where`: the controller's web address, its pin, and their login."""
    controller, pin, login = where
    link = re.search(r"https://\S+", run([*tctl, "users", "add", USER, login]))
    if link is None:
        raise BenchError("`tctl users add` printed no link")
    password = secrets.token_urlsafe(12)
    anchors = (directory / "controller" / "tls" / "web.crt").read_text(encoding="ascii")
    secret = accept_invite(link.group(), anchors, password)
    # The code of this half minute was spent on the invite; the next one is good already.
    code = pyotp.TOTP(secret).at(int(time.time()) + 30)
    command = [str(BIN / "tsh"), "login", f"--proxy={controller}", f"--user={USER}", f"--ca-pin={pin}"]
    run(command, [password, code], variables)


@contextmanager
def openssh(directory: Path, *, cipher: str | None = None) -> Iterator[Contender]:
    """Set up OpenSSH's road. With `cipher`, every connection of it uses that, and curve25519, its fastest exchange."""
    directory.mkdir(mode=0o700)
    forced = f"Ciphers {cipher}\nKexAlgorithms curve25519-sha256\n" if cipher else ""
    bastion, device, back = (free_port() for _ in range(3))
    for name in ("user", "host"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)])
    config = _write_client_config(directory, (bastion, back), forced)
    ssh = ("ssh", "-F", str(config))
    with ExitStack() as stack:
        _start_sshd(stack, directory, ("bastion", bastion), forced)
        sshd = _start_sshd(stack, directory, ("device", device), forced)
        tunnel = [*ssh, "-N", "-R", f"127.0.0.1:{back}:127.0.0.1:{device}", "bastion"]
        dialled = start(stack, tunnel, directory / "tunnel.log")
        wait_for_port(back, "the bastion's end of the tunnel")
        name = f"OpenSSH, {cipher}" if cipher else "OpenSSH, its defaults"
        yield Contender(name, (*ssh, "-J", "bastion"), "device", "-tt", (sshd.pid, dialled.pid), directory)


def _write_client_config(directory: Path, ports: tuple[int, int], forced: str) -> Path:
    public = (directory / "host.pub").read_text(encoding="ascii")
    (directory / "known_hosts").write_text("".join(f"{name} {public}" for name in ("bastion", "device")))
    (directory / "authorized_keys").write_text((directory / "user.pub").read_text(encoding="ascii"))
    hosts = "".join(
        f"Host {name}\nHostName 127.0.0.1\nPort {port}\nHostKeyAlias {name}\n"
        for name, port in zip(("bastion", "device"), ports, strict=True)
    )
    config = directory / "ssh_config"
    config.write_text(
        f"""\
{hosts}
Host *
IdentityFile {directory / "user"}
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile {directory / "known_hosts"}
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
ExitOnForwardFailure yes
LogLevel ERROR
{forced}""",
        encoding="utf-8",
    )
    return config


def _start_sshd(stack: ExitStack, directory: Path, place: tuple[str, int], forced: str) -> subprocess.Popen[bytes]:
    name, port = place
    config = directory / f"sshd_{name}"
    config.write_text(
        f"""\
ListenAddress 127.0.0.1:{port}
HostKey {directory / "host"}
PidFile none
AuthorizedKeysFile {directory / "authorized_keys"}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel ERROR
{forced}""",
        encoding="utf-8",
    )
    separation = Path("/run/sshd")  # a package's boot script makes it; here nothing was booted
    if Path("/run").stat().st_uid == 0 and not separation.exists() and getpass.getuser() == "root":
        separation.mkdir(mode=0o755)
        stack.callback(separation.rmdir)
    process = start(stack, [SSHD, "-D", "-e", "-f", str(config)], directory / f"{name}.log")
    wait_for_port(port, f"sshd ({name})")
    return process
