"""The device and the person of a test: a real edge-agent process, and OpenSSH's own client to reach it with."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.harness.simulated_controller import TOKEN, Person, SimulatedController
from tests.harness.throwaway_login import login_name

ROOT = Path(__file__).resolve().parents[2]
# Whom the tests log in as. Root makes a user of its own (see tests/edge_agent/conftest.py), whose shell reads no
# start-up file that somebody else wrote; others are themselves.
OWN = login_name("o") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


class Agent:
    """A real edge-agent process. Its log is read as it comes."""

    def __init__(
        self,
        controller: SimulatedController,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """Start it; `within` is what stands in front of its command line."""
        self._controller = controller
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*within, sys.executable, "-c", "from edge_agent.cli import main; main()", "start", *arguments],
            cwd=ROOT,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            self._controller.happened()

    def wait_for_line(self, text: str, timeout: float = 15.0) -> str:
        return self._controller.wait_for(
            lambda: next((line for line in self.lines if text in line), None), f"{text!r} in the log", timeout
        )

    @property
    def memory(self) -> int:
        """Resident memory in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def wait(self, timeout: float = 15.0) -> int:
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        assert self.process.stderr
        self.process.stderr.close()
        return code

    def stop(self, timeout: float = 15.0) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(timeout)


class Shell:
    """OpenSSH's own client, pointed at one port."""

    def __init__(self, controller: SimulatedController, port: int, node_id: str) -> None:
        self._controller = controller
        self.port = port
        self.node_id = node_id

    def options(self, person: Person) -> list[str]:
        settings = {
            "CertificateFile": person.certificate,
            "UserKnownHostsFile": self._controller.known_hosts(),
            "HostKeyAlias": self.node_id,
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        listed = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["-F", "/dev/null", "-i", str(person.key), *listed]

    def command(self, person: Person, *arguments: str, login: str = OWN) -> list[str]:
        return ["ssh", *self.options(person), "-p", str(self.port), "-l", login, "127.0.0.1", *arguments]

    def run(
        self,
        person: Person,
        *arguments: str,
        login: str = OWN,
        text: bytes | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        command = self.command(person, *arguments, login=login)
        environment = dict(os.environ) | dict(more or {})
        if text is None:
            nothing = subprocess.DEVNULL
            return subprocess.run(command, capture_output=True, timeout=30, check=False, env=environment, stdin=nothing)
        return subprocess.run(command, capture_output=True, timeout=30, check=False, env=environment, input=text)


def join_arguments(controller: SimulatedController, name: str, data: Path) -> list[str]:
    return [
        *("--controller", controller.address, "--token", TOKEN, "--ca-pin", controller.tls_ca.pin),
        *("--nodename", name, "--data-dir", str(data)),
    ]
