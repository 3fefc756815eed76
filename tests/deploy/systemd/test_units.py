"""All units: what systemd's own judges say of them, offline."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[3] / "deploy" / "systemd").glob("*.service"))
SYSTEM = Path("/lib/systemd/system")
# What `systemd-analyze security` may say at most. Of the agent it says much: what it would have closed binds the shells
# of the people who come in through it (docs/adr/0014, and the unit's own comments).
EXPOSURE = {"skerry-agent.service": 8.6, "skerry-controller.service": 2.5}
_COMMAND = re.compile(r"^Exec\w+=[-@:+!|]*(\S+)", re.MULTILINE)


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_unit_has_its_ceiling() -> None:
    assert {unit.name for unit in UNITS} == set(EXPOSURE)


def test_systemd_finds_nothing_to_say_of_it(unit: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/systemd").mkdir(parents=True)
    shutil.copytree(SYSTEM, tmp_path / SYSTEM.relative_to("/"), symlinks=True)
    shutil.copytree(unit.parent, tmp_path / "etc/systemd/system")
    for name in {name for each in UNITS for name in _COMMAND.findall(each.read_text())}:
        place = tmp_path / (name.lstrip("/") if name.startswith("/") else f"usr/bin/{name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", place)
    done = analyze("verify", "--man=no", f"--root={tmp_path}", unit.name)
    of_it = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert (of_it, done.returncode) == ([], 0)


def test_it_is_not_more_exposed_than_it_was(unit: Path) -> None:
    done = analyze("security", "--offline=yes", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE[unit.name]


def test_what_systemd_would_overlook_in_silence_is_not_in_it(unit: Path) -> None:
    settings = [line for line in unit.read_text().splitlines() if line and not line.startswith(("#", "["))]
    assert all(re.match(r"[A-Z]\w+=", line) or line.startswith((" ", "\t")) for line in settings)
    assert not re.findall(r"^(?:RestartSteps|RestartMaxDelaySec|ReloadSignal)=", unit.read_text(), re.MULTILINE)


def test_each_setting_of_the_agents_sandbox_is_made_of_namespaces() -> None:
    """Anything else would be inherited by the shells of people, who could not leave it."""
    (unit,) = (unit for unit in UNITS if unit.name == "skerry-agent.service")
    sandbox = r"^((?:Protect|Private|Restrict|NoNew|SystemCall|Capab|Memory|Lock)\w+)="
    found = set(re.findall(sandbox, unit.read_text(), re.MULTILINE))
    assert found == {
        "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateMounts", "PrivateIPC",
        "ProtectControlGroups", "ProtectKernelTunables",
    }  # fmt: skip
