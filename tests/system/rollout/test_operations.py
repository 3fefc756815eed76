"""The doctor and the support bundle on a device that systemd runs."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest

from tests.harness.device_bed.bed import Bed
from tests.harness.device_bed.device import Device
from tests.harness.device_bed.fleet import Fleet

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(900)]
UNIT = "skerry-agent"


@pytest.fixture(scope="module")
def kiosk(device_bed: Bed, fleet: Fleet) -> Device:
    """A device that has joined by the line that the admin was given."""
    made = device_bed.device("kiosk")
    made.boot()
    fleet.join(made)
    fleet.await_online("kiosk")
    return made


def look(device: Device) -> dict[str, dict[str, Any]]:
    done = device.run("edge-agent", "doctor", "--format=json", check=False, timeout=120)
    findings: list[dict[str, Any]] = json.loads(done.stdout)
    assert (done.returncode == 1) == any(finding["state"] == "fail" for finding in findings)
    return {finding["check"]: finding for finding in findings}


def amiss(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: finding["state"] for name, finding in findings.items() if finding["state"] != "ok"}


def test_a_device_that_was_just_installed_has_nothing_to_mend(kiosk: Device) -> None:
    findings = look(kiosk)
    assert amiss(findings) == {}
    assert findings["service"]["found"] == "it runs, is enabled, and has to give a sign of life every 30 s"
    assert findings["name"]["found"] == "skerry.example.com is 203.0.113.1"
    assert {"port web", "port tunnel", "port api", "port mqtt"} <= findings.keys()


def test_a_service_that_is_disabled_or_stopped_is_mended_by_the_command_that_is_shown(kiosk: Device) -> None:
    kiosk.run("systemctl", "disable", "--quiet", UNIT)
    disabled = look(kiosk)["service"]
    assert disabled["state"] == "warn"
    kiosk.shell(disabled["command"])
    assert look(kiosk)["service"]["state"] == "ok"
    kiosk.run("systemctl", "stop", UNIT)
    stopped = look(kiosk)
    assert amiss(stopped) == {"service": "fail", "agent": "warn"}
    kiosk.shell(stopped["service"]["command"])


def test_settings_that_cannot_be_used_are_told_with_file_and_line(kiosk: Device, fleet: Fleet) -> None:
    before = kiosk.run("cat", "/etc/skerry/edge_agent.yaml").stdout
    kiosk.write("/etc/skerry/edge_agent.yaml", "heartbeat_interval: often\n")
    kiosk.run("systemctl", "restart", UNIT, check=False)
    findings = look(kiosk)
    kiosk.write("/etc/skerry/edge_agent.yaml", before)
    kiosk.run("systemctl", "restart", UNIT)
    fleet.await_online("kiosk")
    assert findings["settings"]["state"] == "fail"
    assert "/etc/skerry/edge_agent.yaml:1" in findings["settings"]["found"]


def test_a_bundle_has_the_service_s_lines_and_no_secrets_of_the_device_or_its_people(
    kiosk: Device, fleet: Fleet
) -> None:
    # As sudo logs it, by a program that is still there when the journal asks whose it is.
    said = (
        "import subprocess, syslog; syslog.openlog('sudo');"
        "syslog.syslog('COMMAND=/usr/bin/mount -o pass=hunter2 //store /mnt');"
        "subprocess.run(['journalctl', '--sync'], check=True)"
    )
    fleet.ssh("root@kiosk", f"python3 -c {shlex.quote(said)}")
    assert "hunter2" in kiosk.run("journalctl", f"--unit={UNIT}", "--no-pager").stdout
    done: subprocess.CompletedProcess[str] = kiosk.run(
        "edge-agent", "support-bundle", "-o", "/run/bundle.tar.gz", timeout=120
    )
    assert "journal.txt" in done.stdout
    assert kiosk.run("stat", "-c", "%a", "/run/bundle.tar.gz").stdout.strip() == "600"
    kiosk.shell("mkdir /run/bundle && tar -xzf /run/bundle.tar.gz -C /run/bundle --strip-components=1")
    journal = kiosk.run("cat", "/run/bundle/journal.txt").stdout
    assert "the tunnel to" in journal
    assert "systemd[1]: " in journal
    assert "hunter2" not in journal
    assert "Type=notify" in kiosk.run("cat", "/run/bundle/unit.txt").stdout
    for name in ("host_key", "tls_key.pem"):
        secret = kiosk.shell(f"sed -n 2p /var/lib/skerry-agent/{name}").stdout.strip()
        assert len(secret) > 40
        assert kiosk.run("grep", "-rF", secret, "/run/bundle", check=False).returncode == 1
