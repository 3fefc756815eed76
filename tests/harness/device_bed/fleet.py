"""A cluster on a bed: a controller's host, devices that join it, and Alice in the office, who works on them."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from tests.harness.built_packages import package
from tests.harness.device_bed.bed import CONTROLLER_NAME, Bed
from tests.harness.device_bed.device import Device
from tests.harness.real_cluster import Person, link_in
from tests.harness.running_program import BIN, RunningProgram
from tests.harness.web_visitor import Form, Visitor

PATIENCE = 120.0
WEB = f"{CONTROLLER_NAME}:3080"
SETTINGS = {
    "teleport": {"data_dir": "/var/lib/skerry"},
    "auth_service": {"cluster_name": "skerry"},
    "proxy_service": {"public_addr": WEB, "requests_per_minute": 1_000_000},
}


class Fleet:
    """Made with its controller running; devices are added by `join` or by whatever a test tries."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.controller = bed.devices.get("controller") or bed.host("controller")
        self.alice = Person("alice", bed.folder / "home of alice")
        self.alice.home.mkdir(mode=0o700)

    # --- the controller -------------------------------------------------------------------------------------------

    def install_controller(self) -> Fleet:
        """Install the Debian package as its README says, and start it."""
        host = self.controller
        if not host.is_on:
            host.boot()
        deb = package("controller-deb-amd64")
        host.put(deb, f"/var/cache/{deb.name}")
        host.shell(f"apt-get -qq install -y /var/cache/{deb.name}", timeout=300)
        host.write("/etc/skerry/controller.yaml", json.dumps(SETTINGS))  # JSON is YAML
        host.shell(
            "systemctl disable --quiet --now mosquitto && systemctl enable --quiet --now skerry-controller", timeout=180
        )
        return self

    def tctl(self, *arguments: str, check: bool = True) -> str:
        """Run one of the admin's commands on the controller's host, and return what it prints."""
        return self.controller.run("tctl", "-c", "/etc/skerry/controller.yaml", *arguments, check=check).stdout

    def token(self, *options: str) -> dict[str, Any]:
        """Have a join token made: `token`, `ca_pin`, `controller` and what else the command tells."""
        made: dict[str, Any] = json.loads(self.tctl("tokens", "add", "--type=node", "--format=json", *options))
        return made

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return what the controller knows of each device, by name."""
        return {node["name"]: node for node in json.loads(self.tctl("nodes", "ls", "--format=json"))}

    def await_node(
        self, name: str, is_so: Callable[[dict[str, Any]], bool], timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until the controller knows this of a device."""
        deadline = time.monotonic() + timeout
        while True:
            node = self.nodes().get(name, {})
            if node and is_so(node):
                return node
            assert time.monotonic() < deadline, f"{name} is not so within {timeout:.0f} s; it is {node}"
            time.sleep(0.3)

    def await_online(self, name: str, version: str = "", *, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until a device is online, with that version where one is named."""
        return self.await_node(name, lambda node: is_online(node) and version in {"", node.get("version")}, timeout)

    # --- devices --------------------------------------------------------------------------------------------------

    def one_liner(self, *options: str) -> str:
        """Return the line that the admin is given for a new device."""
        told = self.tctl("tokens", "add", "--type=node", *options)
        return next(line.removeprefix("> ") for line in told.splitlines() if line.startswith("> curl "))

    def join(self, device: Device, *options: str, timeout: float = 300.0) -> None:
        """Install the agent as a person does, with the line that the controller prints."""
        done = device.run("bash", "-c", self.one_liner(*options), timeout=timeout, check=False)
        assert done.returncode == 0, f"{device.name}: {done.stdout}{done.stderr}"

    # --- people ---------------------------------------------------------------------------------------------------

    def admit(self, link: str) -> None:
        """Do as Alice what a person does behind a link: password, second factor, code."""
        anchors = self.controller.run("cat", "/var/lib/skerry/tls/web.crt").stdout
        local = link.replace(CONTROLLER_NAME, "127.0.0.1")

        def act() -> int:
            visitor = Visitor(anchors)
            form = Form(visitor.get(local).text)
            self.alice.secret = form.secret
            filled = {"password": self.alice.password, "otp": self.alice.next_code()}
            return visitor.submit(local, {**form.fields, **filled}).status

        assert self.controller.place.space.call(act) == 200

    def sign_in(self, *options: str, logins: str = "root,ubuntu") -> None:
        """Have Alice there, and signed in at the office."""
        self.admit(link_in(self.tctl("users", "add", "alice", logins, "--roles=access,admin,auditor")))
        pin = self.token("--ttl=1m")["ca_pin"]
        typed = f"{self.alice.password}\n{self.alice.next_code()}\n"
        done = self.tsh("login", f"--proxy={WEB}", "--user=alice", f"--ca-pin={pin}", *options, typed=typed)
        assert done.returncode == 0, done.stderr

    def tsh(self, *arguments: str, typed: str = "", timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `tsh` as Alice in the office, its streams on pipes."""
        return subprocess.run(
            [*self.office, str(BIN / "tsh"), *arguments],
            input=typed, capture_output=True, text=True, env=self.alice.environment, timeout=timeout, check=False,
        )  # fmt: skip

    def ssh(self, target: str, command: str, *, timeout: float = 60.0) -> str:
        """Run a command on a device as Alice, which must succeed, and return what it prints."""
        done = self.tsh("ssh", target, command, timeout=timeout)
        assert done.returncode == 0, f"tsh ssh {target} {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start_tsh(self, *arguments: str) -> RunningProgram:
        """Start `tsh` as Alice in the office, listened to line by line."""
        return RunningProgram(
            f"tsh {shlex.join(arguments)}", [*self.office, str(BIN / "tsh"), *arguments], self.alice.environment
        )

    @cached_property
    def office(self) -> tuple[str, ...]:
        """What stands in front of a command that is to run in the office, where the controller's name is known."""
        return self.bed.in_office


def is_online(node: dict[str, Any]) -> bool:
    """Tell whether the controller says so of one of its nodes."""
    return bool(node.get("status") == "online")
