"""A whole cluster of real processes on loopback: `controller`, `tctl`, `edge-agent` and `tsh` as people run them.

Nothing is faked and nothing is waited for by sleeping: the programs' own log lines say how far they are.
"""

from __future__ import annotations

import getpass
import json
import re
import shlex
import signal
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyotp
from cryptography import x509

from tests.harness.empty_home import with_empty_homes
from tests.harness.running_program import BIN, PATIENCE, RunningProgram, children_of, clean_environment, stopped
from tests.harness.warm_program import TCTL, TSH, as_text, warm_program
from tests.harness.web_visitor import Form, Page, Visitor

LOGIN = getpass.getuser()
PASSWORD = "insecure correct horse battery"
_STEP = 30


@dataclass
class Person:
    """A user of the cluster: what they know, and the home their `tsh` keeps its files in."""

    name: str
    home: Path
    password: str = PASSWORD
    secret: str = ""
    spent: set[int] = field(default_factory=set)

    def next_code(self) -> str:
        """Return a code that is good now and was never returned before.

        The controller takes the present step and both its neighbours; where all three are spent, this waits for
        the next step, as a person does.
        """
        while True:
            now = time.time()
            present, left = int(now) // _STEP, _STEP - now % _STEP
            # The step before is refused as soon as the present one ends: the last choice, and not when that is near.
            for step in [present, present + 1] + ([present - 1] if left > 10 else []):
                if step not in self.spent:
                    self.spent.add(step)
                    return pyotp.TOTP(self.secret).at(step * _STEP)
            time.sleep(left)

    def wrong_code(self) -> str:
        """Return six digits that are no code within minutes of now."""
        present, totp = int(time.time()) // _STEP, pyotp.TOTP(self.secret)
        near = {totp.at(step * _STEP) for step in range(present - 10, present + 10)}
        return next(code for code in ("111111", "222222", *map(str, range(300000, 300030))) if code not in near)

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment(HOME=str(self.home))

    @property
    def keys(self) -> Path:
        """Where `tsh` keeps this person's key, certificate and known hosts."""
        return self.home / ".tsh" / "keys" / "127.0.0.1"


@dataclass
class Agent:
    """A device that has joined."""

    program: RunningProgram
    name: str
    node_id: str
    data_dir: Path
    prefix: tuple[str, ...] = ()  # what stands in front of its command, such as ``ip netns exec NAME``
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """A join token, with what stands beside it in the admin's command."""

    text: str
    controller: str
    pin: str


class RealCluster:
    """A controller in a folder of its own, and the devices and people that tests add to it.

    Args:
        folder: where everything lies; empty.
        sections: YAML sections that replace or complete those of the configuration, section by section.
        prefix: what stands in front of `controller start`, such as ``ip netns exec NAME``.
        host: where the doors listen.
        is_warm: whether `tctl` and `tsh` are forked from a process that has loaded them, which is faster; that one's
            arguments and environment are what the kernel tells of them.
    """

    def __init__(
        self,
        folder: Path,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        prefix: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        is_warm: bool = True,
    ) -> None:
        self.folder = folder
        self.is_warm = is_warm
        self.prefix = prefix
        self.host = host
        self.data_dir = folder / "controller"
        self.config = folder / "controller.yaml"
        self.device_home = folder / "home on devices"
        self.programs: list[RunningProgram] = []
        self.controller: RunningProgram
        self.certificate = ""  # of the web door, where it is not the controller's own
        settings: dict[str, dict[str, Any]] = {
            "teleport": {"data_dir": str(self.data_dir)},
            "auth_service": {"cluster_name": "harbour", "listen_addr": f"{host}:0"},
            "proxy_service": {
                "listen_addr": f"{host}:0",
                "tunnel_listen_addr": f"{host}:0",
                "web_listen_addr": f"{host}:0",
                "requests_per_minute": 1_000_000,
            },
            "mqtt": {"listen_addr": f"{host}:0"},
        }
        for name, section in (sections or {}).items():
            settings[name] = settings.get(name, {}) | dict(section)
        self.config.write_text(json.dumps(settings, indent=1), encoding="utf-8")  # JSON is YAML

    # --- the controller -----------------------------------------------------------------------------------------

    def start(self) -> RealCluster:
        """Start the controller and wait until it says that it is ready."""
        command = [*self.prefix, str(BIN / "controller"), "start", "-c", str(self.config)]
        self.controller = self.run(f"controller {len(self.programs)}", command)
        self.controller.await_line(r"cluster \S+ is ready")
        return self

    def run(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> RunningProgram:
        """Start a program that is ended with the cluster."""
        program = RunningProgram(name, command, environment or self.environment)
        self.programs.append(program)
        return program

    @cached_property
    def environment(self) -> dict[str, str]:
        """What controller and devices run with: here everybody's home is an empty folder."""
        return clean_environment(**with_empty_homes(self.device_home))

    def keep_ports(self) -> None:
        """Write the ports that were chosen into the configuration, so that the next start has the same."""
        settings = json.loads(self.config.read_text(encoding="utf-8"))
        proxy = settings["proxy_service"]
        proxy["listen_addr"], proxy["tunnel_listen_addr"] = self.address("ssh"), self.address("tunnel")
        proxy["web_listen_addr"], settings["auth_service"]["listen_addr"] = self.address("web"), self.address("api")
        if settings["mqtt"].get("broker", "mosquitto") == "mosquitto":
            settings["mqtt"]["listen_addr"] = self.address("mqtt")
        self.config.write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def address(self, door: str) -> str:
        """Return ``HOST:PORT`` of the door ``web``, ``ssh``, ``tunnel``, ``api`` or ``mqtt``."""
        host, port = json.loads((self.data_dir / "addresses.json").read_text(encoding="utf-8"))[door]
        return f"{host}:{port}"

    def port(self, door: str) -> int:
        return int(self.address(door).rpartition(":")[2])

    def role_pid(self, role: str) -> int:
        """Return the pid of the role process that was started last."""
        return int(self.controller.find(rf"\] {role} started, pid (\d+)")[-1][1])

    def rotate(self, kind: str, phase: str) -> None:
        """Enter a phase of an authority's rotation, and wait until the doors show what it brings."""
        mark = self.controller.mark()
        self.tctl("auth", "rotate", f"--type={kind}", f"--phase={phase}")
        if kind == "tls":
            signing = x509.load_pem_x509_certificate(self.tctl("auth", "export", "--type=tls").stdout.encode())
            self._await_certificate_by(signing)
        elif kind == "host" and phase in {"update_servers", "rollback"}:
            self.controller.await_line("the proxy's host certificate is renewed", since=mark)

    def _await_certificate_by(self, signing: x509.Certificate) -> None:
        """Wait until the web door's certificate is by that authority: the log does not tell whose a changed one is.

        Its workers turn one by one: each is asked, while the others stand still.
        """
        deadline, workers = time.monotonic() + PATIENCE, children_of(self.role_pid("web"))
        for worker in workers:
            while self._shown_by(worker, workers).issuer != signing.subject:
                assert time.monotonic() < deadline, "the web door still shows a certificate by another authority"
                time.sleep(0.1)

    def _shown_by(self, worker: int, workers: list[int]) -> x509.Certificate:
        with stopped(*(pid for pid in workers if pid != worker)):
            return self._shown()

    def _shown(self) -> x509.Certificate:
        """Return the certificate that the web door shows right now."""
        host, _, port = self.address("web").rpartition(":")
        return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port)), timeout=PATIENCE).encode())

    def tctl(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one of the admin's commands to its end, and see that it ends with `status`."""
        command = ("-c", str(self.config), *arguments)
        done = as_text(self._run(TCTL, command, clean_environment(), timeout=60))
        assert done.returncode == status, f"tctl {shlex.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def _run(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, timeout: float, typed: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `tctl` or `tsh` to its end: forked warm, but from its start where it has a host or a clock of its own."""
        if self.is_warm and not self.prefix:
            return warm_program(name).converse(*arguments, environment=environment, typed=typed, timeout=timeout)
        command = [*self.prefix, str(BIN / name), *arguments]
        return subprocess.run(
            command, input=typed, capture_output=True, env=dict(environment), timeout=timeout, check=False
        )

    def ask(self, *arguments: str) -> str:
        """Return what one of the admin's commands tells that changes nothing; it is asked again and again.

        Only where the controller has a clock of its own is it run from its start: no host of its own is needed to read.
        """
        if self.prefix[:1] == ("env",) or not self.is_warm:
            return self.tctl(*arguments).stdout
        done = warm_program().run("-c", str(self.config), *arguments, environment=clean_environment())
        assert done.returncode == 0, f"{shlex.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the audit events of these names or codes, all without any, the oldest first."""
        chosen = [f"--type={','.join(kinds)}"] if kinds else []
        lines = self.ask("audit", "ls", "--format", "json", *chosen).splitlines()
        return [json.loads(line) for line in lines]

    def await_event(self, *kinds: str, **fields: object) -> dict[str, Any]:
        """Wait for an event with these fields (``__`` in a name stands for a dot), and return the newest such.

        What a node reports arrives a moment later; there is no line to wait for, so the log is asked again.
        """
        wanted = {name.replace("__", "."): value for name, value in fields.items()}
        deadline = time.monotonic() + PATIENCE
        while True:
            found = [event for event in self.events(*kinds) if wanted.items() <= event.items()]
            if found:
                return found[-1]
            assert time.monotonic() < deadline, f"no {kinds} with {wanted} among {self.events(*kinds)}"
            time.sleep(0.1)

    # --- people ---------------------------------------------------------------------------------------------------

    @property
    def anchors(self) -> str:
        return self.certificate or (self.data_dir / "tls" / "web.crt").read_text(encoding="ascii")

    def invite(self, name: str, logins: str = LOGIN, *options: str) -> str:
        """Add a user and return the link that `tctl` prints."""
        return link_in(self.tctl("users", "add", name, logins, *options).stdout)

    def accept(self, link: str, person: Person) -> Page:
        """Do what a person does behind a link: password, second factor, code. Return the page that answers."""
        visitor = Visitor(self.anchors)
        form = Form(visitor.get(link).text)
        person.secret = form.secret
        person.spent.clear()
        return visitor.submit(link, {**form.fields, "password": person.password, "otp": person.next_code()})

    def add_user(self, name: str, logins: str = LOGIN) -> Person:
        """Add a user and enrol them through the page of their link."""
        home = self.folder / f"home of {name}"
        home.mkdir(mode=0o700)
        person = Person(name, home)
        page = self.accept(self.invite(name, logins), person)
        assert page.status == 200, page.text
        return person

    def sign_in(self, person: Person, *options: str) -> str:
        """Run `tsh login` with the right answers, and return what it prints."""
        done = self.try_sign_in(person, person.password, person.next_code(), *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def try_sign_in(
        self, person: Person, password: str, code: str, *options: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `tsh login` with these answers on standard input."""
        trust = options or (f"--ca-pin={self.pin}",)
        arguments = [f"--proxy={self.address('web')}", f"--user={person.name}", *trust]
        return self.tsh(person, "login", *arguments, typed=f"{password}\n{code}\n".encode())

    @cached_property
    def pin(self) -> str:
        """The CA pin that `tctl` prints."""
        found = re.search(r"sha256:[0-9a-f]{64}", self.tctl("status").stdout)
        assert found, "tctl status prints no pin"
        return found[0]

    def tsh(
        self, person: Person, *arguments: str, typed: bytes = b"", timeout: float = 50
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `tsh` to its end, its streams on pipes."""
        return self._run(TSH, arguments, person.environment, timeout=timeout, typed=typed)

    # --- devices --------------------------------------------------------------------------------------------------

    def token(self, *options: str) -> Token:
        """Have `tctl` make a join token."""
        made = json.loads(self.tctl("tokens", "add", "--type=node", "--format=json", *options).stdout)
        return Token(made["token"], made["controller"], made["ca_pin"])

    def agent_command(self, name: str, token: Token, *options: str) -> list[str]:
        """Return the command that a person runs on the device."""
        where = [f"--controller={token.controller}", f"--ca-pin={token.pin}", f"--token={token.text}"]
        return [
            str(BIN / "edge-agent"),
            "start",
            *where,
            f"--nodename={name}",
            f"--data-dir={self.folder / name}",
            *options,
        ]

    def start_agent(
        self,
        name: str,
        labels: str = "",
        *,
        prefix: tuple[str, ...] = (),
        folder: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> Agent:
        """Start a device with a token of its own, and wait until its tunnel is up at both ends.

        `settings` are what its edge_agent.yaml says.
        """
        token = self.token(*([f"--labels={labels}"] if labels else []))
        options = [f"--data-dir={self.folder / folder}"] if folder else []
        kept = self._write_settings(name, settings)
        mark = self.controller.mark()
        program = self.run(f"agent {name}", [*prefix, *self.agent_command(name, token, *options, *kept)])
        node_id = program.await_line(r"joined cluster \S+ as \S+ \(([0-9a-f-]{36})\)")[1]
        self.await_tunnel(node_id, since=mark)
        return Agent(program, name, node_id, self.folder / (folder or name), prefix, kept)

    def _write_settings(self, name: str, settings: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Write a device's edge_agent.yaml, and return the option that names it."""
        if settings is None:
            return ()
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
        return (f"--config={path}",)

    def restart_agent(self, agent: Agent) -> None:
        """Start a device again on what it has kept, without a token; its program must have ended."""
        mark = self.controller.mark()
        self.relaunch_agent(agent)
        self.await_tunnel(agent.node_id, since=mark)

    def relaunch_agent(self, agent: Agent) -> None:
        """Start a device again as `restart_agent` does, and wait for nothing. It knows where its controller is."""
        command = [*agent.prefix, str(BIN / "edge-agent"), "start", f"--data-dir={agent.data_dir}", *agent.options]
        agent.program = self.run(f"agent {agent.name}", command)

    def await_tunnel(self, node_id: str, *, since: int) -> None:
        """Wait until the controller says that the node's tunnel is up."""
        self.controller.await_line(f"tunnel door: node {node_id} connected", since=since)

    # --- the end --------------------------------------------------------------------------------------------------

    def logs(self) -> list[tuple[str, str]]:
        """Return name and log of every program."""
        return [(program.name, program.log()) for program in self.programs]

    def close(self) -> None:
        """End everything: the devices first, so that the controller has nobody to wait for."""
        for program in reversed(self.programs):
            if program.is_running:
                program.send(signal.SIGCONT)
                program.send(signal.SIGTERM)
        for program in self.programs:
            program.stop()
        for program in self.programs:
            program.await_silence()


def link_in(text: str) -> str:
    """Return the link in what `tctl` printed."""
    found = re.search(r"https://\S+", text)
    assert found, f"no link in {text!r}"
    return found[0]
