"""Where the agent's parts lie on a device, as values: nothing here looks at the disk.

Installed from an archive or by pip, the versions lie beside each other and a link says which one runs; a Debian package
has the one version that its database knows of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

UNIT = "skerry-agent.service"
UPGRADE_UNIT = "skerry-agent-upgrade.service"
PACKAGE = "skerry-agent"
# How a device came by its agent: a tree of its own, or Debian's package.
Kind = Literal["tree", "package"]
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~_-]{0,63}", re.ASCII)


class BadVersionError(ValueError):
    """A text is no version. Its message is safe to show."""


def parse_version(text: str) -> str:
    """Return the version that `text` names, which can be part of a path. Raises `BadVersionError`."""
    if not _VERSION.fullmatch(text):
        raise BadVersionError(f"not a version: {text[:80]!r}")
    return text


def packaged_unit(unit: str) -> str:
    """Return a program's unit as Debian's package has it: a program of that name elsewhere is not taken for its own."""
    return re.sub(r"^(ExecStart=)(?=[a-z])", r"\1/usr/bin/", unit, flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Layout:
    """Every place of an installed agent.

    Attributes:
        root: what stands before every path; empty for the device itself, and a directory for tests.
    """

    root: str = ""

    @property
    def trees(self) -> str:
        """Where the versions lie."""
        return f"{self.root}/opt/skerry/agent"

    @property
    def current(self) -> str:
        """The link to the version that runs."""
        return f"{self.trees}/current"

    @property
    def command(self) -> str:
        """The link by which people find the command."""
        return f"{self.root}/usr/local/bin/edge-agent"

    @property
    def unit(self) -> str:
        """The service's unit, where it came from an archive."""
        return f"{self.root}/etc/systemd/system/{UNIT}"

    @property
    def upgrade_unit(self) -> str:
        """The unit that carries an upgrade through, over restarts of the device; there while one goes on."""
        return f"{self.root}/etc/systemd/system/{UPGRADE_UNIT}"

    @property
    def package_tree(self) -> str:
        """The tree of Debian's package."""
        return f"{self.root}/usr/lib/skerry/agent"

    @property
    def package_unit(self) -> str:
        """The service's unit, where it came from Debian's package."""
        return f"{self.root}/lib/systemd/system/{UNIT}"

    @property
    def packages(self) -> str:
        """Where upgrades keep packages, and the tree that a package is about to replace."""
        return f"{self.root}/var/cache/skerry"

    @property
    def settings_directory(self) -> str:
        """Where settings are."""
        return f"{self.root}/etc/skerry"

    @property
    def settings(self) -> str:
        """The agent's settings."""
        return f"{self.settings_directory}/edge_agent.yaml"

    @property
    def token(self) -> str:
        """The join token, until the device has joined."""
        return f"{self.settings_directory}/join-token"

    @property
    def data(self) -> str:
        """Who this device is, and what is yet to be sent."""
        return f"{self.root}/var/lib/skerry-agent"

    @property
    def result(self) -> str:
        """How the last upgrade went, or goes."""
        return f"{self.data}/upgrade.json"

    @property
    def runtime(self) -> str:
        """What is of no use after a restart of the device."""
        return f"{self.root}/run/skerry-agent"

    @property
    def status(self) -> str:
        """How the running agent says it is doing."""
        return f"{self.runtime}/status.json"

    @property
    def lock(self) -> str:
        """Held by whoever installs, upgrades or removes."""
        return f"{self.root}/run/skerry-rollout.lock"

    @property
    def log(self) -> str:
        """What was done to this device, line by line."""
        return f"{self.root}/var/log/skerry-install.log"

    @property
    def downloads(self) -> str:
        """Where the controller's install.sh unpacks, in a directory of its own."""
        return f"{self.root}/var/tmp"  # noqa: S108 - nothing is made there

    @property
    def booted(self) -> str:
        """What is there where systemd runs the device: sd_booted(3)."""
        return f"{self.root}/run/systemd/system"

    def tree(self, version: str) -> str:
        """Return where a version lies, with its whole path."""
        return f"{self.trees}/{version}"

    def staged(self, version: str) -> str:
        """Return where a version lies while it is not whole yet."""
        return f"{self.trees}/.{version}.new"

    def way_back(self, version: str) -> str:
        """Return where the tree of a package is kept that another is about to replace."""
        return f"{self.packages}/tree-{version}"

    def installed(self, kind: Kind, version: str) -> str:
        """Return where the tree of an installed version lies."""
        return self.package_tree if kind == "package" else self.tree(version)

    def runner(self, kind: Kind, old: str) -> str:
        """Return the tree by which an upgrade from `old` is carried through: never one that it may replace."""
        return self.way_back(old) if kind == "package" else self.tree(old)
