"""A device of another architecture, emulated instruction by instruction: it is installed, joins, and is worked on."""

from __future__ import annotations

import pytest

from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.fleet import Fleet

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(1500)]
# What the emulator (QEMU 7.2) cannot do: mount credentials; make an IPC namespace; leave a mount namespace (setns(2),
# since the emulator itself has several threads), so that there is none to leave. The proofs of the sandbox are made on
# devices that are not emulated. This one needs no credential: its token is in the line that installs it.
AS_EMULATED = """[Service]
LoadCredential=
SetCredential=
PrivateIPC=no
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
PrivateMounts=no
ProtectControlGroups=no
ProtectKernelTunables=no
WatchdogSec=10min
"""


def test_arm64_device_is_installed_by_one_line_and_worked_on(device_bed: Bed, fleet: Fleet) -> None:
    board = device_bed.device("board", architecture="arm64").boot()
    assert board.run("uname", "-m").stdout == "aarch64\n"
    board.write("/etc/systemd/system/skerry-agent.service.d/emulated.conf", AS_EMULATED)
    # It does not wait until it is online: the emulator shows the agent another /proc/self/stat than it shows others,
    # whence `edge-agent status` takes it for one that has ended.
    done = board.run("bash", "-c", f"{fleet.one_liner('--labels=site=lighthouse')} --no-start", timeout=900)
    assert "installed as board" in done.stdout
    board.run("systemctl", "start", "skerry-agent", timeout=300)
    assert fleet.await_online("board", timeout=300)["labels"] == {"site": "lighthouse"}
    assert fleet.ssh("ubuntu@board", "uname -m; id -un", timeout=300) == "aarch64\nubuntu\n"
    assert board.run("cat", "/opt/skerry/agent/current/ARCH").stdout == "arm64\n"
