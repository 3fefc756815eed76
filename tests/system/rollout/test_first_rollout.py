"""README's "Roll out to your fleet", word for word: from an empty host to three devices, upgraded, one removed again.

What `make` would build, `dist/` is given from the tests' cache of the same packages; what the page leaves to be filled
in (PIN, TOKEN, KEY) is filled in from what the commands print. All else is as it stands there, in order.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.distribution.source import own_version
from tests.harness.built_packages import package
from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import Fleet
from tests.harness.device_bed.versions import DOES_NOT_START, broken_package

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[3]
SECTION = "## Roll out to your fleet"
OWN, NEXT, BROKEN = own_version(), "0.2.0", "0.3.0"
BUILT = ("controller-deb-amd64", "agent-deb-amd64", "agent-archive-amd64")
SITES = ("edge-1", "edge-2", "edge-3")
LIMIT = 700.0


@dataclass(frozen=True)
class Step:
    """A command of the page, where it is typed, and what is printed below it."""

    command: str
    place: str
    printed: tuple[str, ...]


def steps() -> Iterator[Step]:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.split(f"\n{SECTION}\n")[1].split("\n## ")[0]
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for part in re.split(r"^(?=\$ |root@\S+:~# )", block, flags=re.MULTILINE)[1:]:
            first, *printed = part.splitlines()
            prompt, _, command = first.partition(" ")
            yield Step(command, prompt.removesuffix("$").removeprefix("root@").removesuffix(":~#"), tuple(printed))


@dataclass
class Office:
    """Where the page is followed: an admin's checkout, home and shell."""

    bed: Bed
    fleet: Fleet
    folder: Path
    exports: list[str] = field(default_factory=list)
    said: str = ""

    def run(self, command: str, typed: str = "", *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Type a command, in the office's network; what was exported before counts."""
        script = "\n".join(["set -euo pipefail", *self.exports, command])
        environment = self.fleet.alice.environment | {"ANSIBLE_NOCOLOR": "1", "PYTHONWARNINGS": "ignore"}
        home = self.fleet.alice.home
        done = subprocess.run(
            [*self.bed.in_office_as(home), "bash", "-c", script],
            input=typed, capture_output=True, text=True, cwd=self.folder, env=environment, timeout=LIMIT, check=False,
        )  # fmt: skip
        print(f"$ {command}\n{done.stdout}{done.stderr}")
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
        self.said = done.stdout
        return done

    def deliver(self, version: str) -> None:
        """Have in `dist/` what `make dist` puts there."""
        (self.folder / "dist").mkdir(exist_ok=True)
        for kind in BUILT:
            path = package(kind, version)
            shutil.copy(path, self.folder / "dist" / path.name)


@pytest.fixture(scope="module")
def office(device_bed: Bed) -> Office:
    """An empty controller host, three empty devices, and a checkout."""
    fleet = Fleet(device_bed)
    devices = [device_bed.device(name) for name in SITES]
    device_bed.boot(fleet.controller, *devices)
    folder = device_bed.folder / "checkout"
    folder.mkdir()
    for name in ("Makefile", "deploy", "requirements", ".venv", ".venv-ansible"):
        (folder / name).symlink_to(ROOT / name)
    keys = fleet.alice.home / ".ssh"
    keys.mkdir(mode=0o700)
    shutil.copy(device_bed.key, keys / "id_ed25519")
    _know(fleet.controller, "skerry.example.com", keys)
    for device in devices:
        _know(device, device.address, keys)
    return Office(device_bed, fleet, folder)


def _know(device: Device, name: str, keys: Path) -> None:
    """Have the admin know a host by its key, as somebody does who has set it up."""
    key = device.run("cat", "/etc/ssh/ssh_host_ed25519_key.pub").stdout
    with (keys / "known_hosts").open("a", encoding="ascii") as known:
        known.write(f"{name} {key}")


def follow(office: Office, step: Step) -> None:
    """Do one step of the page, and see that it prints what stands there."""
    words = step.command.split()
    if step.command.startswith("make "):
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert set(words[1:]) <= targets
        office.deliver(NEXT if (office.folder / "dist").exists() else OWN)
    elif step.command.startswith("export "):
        office.exports.append(step.command)
    elif step.place:
        paste(office, step)
    elif step.command.startswith("tsh login "):
        sign_in(office, step.command)
    else:
        before_and_after(office, step)


def before_and_after(office: Office, step: Step) -> None:
    cables = [office.bed.sites[name] for name in ("edge-1", "edge-2")]
    is_first = "skerry.edge.rollout" in step.command
    if is_first:
        for site in cables:
            site.plug_in(office.bed.office)
    office.run(step.command)
    if is_first:
        again = office.run(step.command)
        assert "changed=0" in again.stdout
        assert not re.search(r"changed=[1-9]|failed=[1-9]|unreachable=[1-9]", again.stdout), "it is to change nothing"
        for site in cables:
            site.pull_out(office.bed.office)
    elif step.command.startswith("tsh ls"):
        assert [line.rstrip() for line in office.said.splitlines()] == list(step.printed)
    elif step.command.startswith("cat "):
        assert re.sub(r"[0-9a-f]{32}", "*", office.said.strip()) == re.sub(r"[0-9a-f]{32}", "*", step.printed[0])


def sign_in(office: Office, command: str) -> None:
    """Do what Alice does with the link that was printed last, and sign in as the page says."""
    alice = office.fleet.alice
    office.fleet.admit(office.said.strip())
    pin = office.fleet.token("--ttl=1m")["ca_pin"]
    office.run(command.replace("sha256:PIN", pin), f"{alice.password}\n{alice.next_code()}\n")


def paste(office: Office, step: Step) -> None:
    """Paste the line that was printed last on a device; it is the one of the page."""
    line = next(line.removeprefix("> ") for line in office.said.splitlines() if line.startswith("> curl "))
    pattern = (
        re.escape(step.command).replace("KEY", r"\S+").replace("TOKEN", "[0-9a-f]{32}").replace("PIN", "[0-9a-f]{64}")
    )
    assert re.fullmatch(pattern, line), line
    done = office.bed.devices[step.place].run("bash", "-c", line, timeout=300)
    print(done.stdout)


def versions(office: Office) -> dict[str, object]:
    return {name: node["version"] for name, node in office.fleet.nodes().items() if node["status"] == "online"}


@pytest.fixture(scope="module")
def page(office: Office) -> list[Step]:
    found = list(steps())
    assert len(found) > 12
    assert office.fleet.controller.is_on
    return found


def upto(page: list[Step], word: str) -> int:
    return next(number for number, step in enumerate(page) if word in step.command)


def test_page_leads_from_an_empty_host_to_three_devices(office: Office, page: list[Step]) -> None:
    before = office.fleet.controller.run("dpkg", "-l").stdout
    assert "skerry" not in before
    assert "mosquitto" not in before
    for step in page[: upto(page, "sed -i") - 1]:
        follow(office, step)
    assert versions(office) == dict.fromkeys(SITES, OWN)
    for name in SITES:
        assert office.run(f"tsh ssh root@{name} hostname").stdout == f"{name}\n"


def test_page_s_upgrade_brings_the_new_version_everywhere_through_the_tunnels(office: Office, page: list[Step]) -> None:
    for step in page[upto(page, "sed -i") - 1 : upto(page, "skerry.edge.remove")]:
        follow(office, step)
    assert versions(office) == dict.fromkeys(SITES, NEXT)
    assert NEXT in office.fleet.tctl("status")


def test_upgrade_to_a_version_that_does_not_start_is_rolled_back_and_the_run_stops(office: Office) -> None:
    broken_package(BROKEN, office.folder / "dist", DOES_NOT_START)
    started = main_pid(office.bed.devices["edge-2"])
    command = "ansible-playbook -i inventory skerry.edge.upgrade -e skerry_via=tunnel"
    options = f"-e edge_agent_version={BROKEN} -e edge_agent_upgrade_wait=20s -e edge_agent_upgrade_drain=2s"
    done = office.run(f"{command} {options} --limit skerry_devices", check=False)
    assert done.returncode != 0
    assert "rolled" in done.stdout
    for name in SITES:
        office.fleet.await_online(name, NEXT)
        assert office.run(f"tsh ssh root@{name} hostname").stdout == f"{name}\n"
    assert main_pid(office.bed.devices["edge-2"]) == started, "nothing was done to those after it"
    told = json.loads(office.run("tsh ssh root@edge-1 edge-agent upgrade --status --format=json").stdout)
    assert (told["state"], told["to"]) == ("rolled_back", BROKEN)


def test_page_s_removal_leaves_nothing_of_the_device(office: Office, page: list[Step]) -> None:
    for step in page[upto(page, "skerry.edge.remove") :]:
        follow(office, step)
    assert set(office.fleet.nodes()) == {"edge-1", "edge-2"}
    device = office.bed.devices["edge-3"]
    assert not [
        name for name in device.footprint("/var/log", "/var/lib/dpkg") if "skerry" in name or "edge-agent" in name
    ]


def main_pid(device: Device) -> str:
    return device.unit("skerry-agent", "MainPID")["MainPID"]
