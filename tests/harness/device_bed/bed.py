"""A bed: a controller's host, an office, and devices behind gateways, each a booted Debian in its own network.

    with bed() as made:
        controller = made.host("controller", CONTROLLER)
        kiosk = made.device("kiosk")
        kiosk.boot()

Everything is taken away when the `with` ends, however it ends. What a killed test run left is taken away by the next.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from tests.harness.device_bed import groups
from tests.harness.device_bed.binfmt import emulation
from tests.harness.device_bed.device import Device, Place
from tests.harness.device_bed.image import image
from tests.harness.device_bed.network import PREFIX, Network, Site, is_left, leftovers, network
from tests.harness.device_bed.network import sweep as network_sweep
from tests.harness.namespaces import Namespace

CONTROLLER = "203.0.113.1"
CONTROLLER_NAME = "skerry.example.com"
OFFICE = "203.0.113.50"


class Bed:
    """Made by `bed`."""

    def __init__(self, folder: Path, net: Network, stack: ExitStack) -> None:
        self.folder = folder
        self.hosts = {CONTROLLER_NAME: CONTROLLER}
        self.sites: dict[str, Site] = {}
        self.devices: dict[str, Device] = {}
        self._net = net
        self._stack = stack

    @cached_property
    def office(self) -> Namespace:
        """Where an admin sits: on the wide network, outside all sites."""
        return self._net.host("office", OFFICE)

    @cached_property
    def in_office(self) -> tuple[str, ...]:
        """What stands in front of a command that is to run in the office, where the hosts' names are known."""
        names = self.folder / "hosts of the office"
        known = {"localhost": "127.0.0.1", **self.hosts}
        names.write_text("".join(f"{address} {name}\n" for name, address in known.items()), encoding="utf-8")
        return (*self.office.prefix, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(names))

    def in_office_as(self, home: Path) -> tuple[str, ...]:
        """What stands in front of a command in the office whose home is there: OpenSSH goes by /etc/passwd.

        (By nss_wrapper: a file mounted over the real one is gone as soon as anybody on this machine adds an account.)
        """
        people = self.folder / "people of the office"
        people.write_text(f"root:x:0:0:root:{home}:/bin/bash\n", encoding="utf-8")
        wrapped = {
            "LD_PRELOAD": "libnss_wrapper.so",
            "NSS_WRAPPER_PASSWD": str(people),
            "NSS_WRAPPER_GROUP": "/etc/group",
        }
        return (*self.in_office, "env", *(f"{name}={value}" for name, value in wrapped.items()))

    @cached_property
    def key(self) -> Path:
        """The admin's SSH key, which every device and host has been given."""
        path = self.folder / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "admin", "-f", str(path)], check=True)
        return path

    def host(self, name: str = "controller", address: str = CONTROLLER, *, size: str = "2g") -> Device:
        """Add a host with a public address, switched off: a Debian as fresh as a device's."""
        return self._add(name, self._net.host(name, address), "amd64", size)

    def device(self, name: str, *, architecture: str = "amd64", size: str = "2g") -> Device:
        """Add a device behind a gateway of its own, switched off."""
        self.sites[name] = self._net.site(name)
        return self._add(name, self.sites[name].device, architecture, size)

    def boot(self, *devices: Device) -> None:
        """Switch them on together and wait for all."""
        for device, count in [(device, device.switch_on()) for device in devices]:
            device.await_boot(count)

    def _add(self, name: str, space: Namespace, architecture: str, size: str) -> Device:
        if architecture != "amd64":
            self._stack.enter_context(emulation(architecture))
        folder = self.folder / name
        folder.mkdir()
        public = self.key.with_suffix(".pub").read_text(encoding="utf-8")
        place = Place(name, space, image(architecture), size, self.hosts, public)
        made = Device(place, folder)
        self._stack.callback(made.close)
        self.devices[name] = made
        return made


@contextmanager
def bed() -> Iterator[Bed]:
    """Make an empty one, and take away all that was added to it."""
    sweep()
    own = f"{PREFIX}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=own) as folder, network() as net, ExitStack() as stack:
        yield Bed(Path(folder), net, stack)


def sweep() -> None:
    """Take away what test runs left behind that were killed."""
    groups.sweep(leftovers())
    network_sweep()
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if is_left(folder.name):
            shutil.rmtree(folder, ignore_errors=True)  # another that begins now may be sweeping, too
