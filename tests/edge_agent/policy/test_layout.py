from __future__ import annotations

import pytest

from edge_agent.policy.layout import BadVersionError, Layout, packaged_unit, parse_version
from tests.harness.made_tree import ROOT


@pytest.mark.parametrize("text", ["0.1.0", "1.0rc1", "2026.11.22+build", "1.0~rc1", "1.0-1"])
def test_a_version_is_what_can_be_the_name_of_a_directory(text: str) -> None:
    assert parse_version(text) == text


@pytest.mark.parametrize("text", ["", "../1", "1/2", ".1", "1\n", "current", "v1", "1 2", "1%", "1" * 65, "\u0661"])
def test_whatever_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(BadVersionError, match="not a version"):
        parse_version(text)


def test_all_that_is_installed_lies_under_the_root() -> None:
    device, made = Layout(), Layout("/made")
    assert device.current == "/opt/skerry/agent/current"
    assert device.unit == "/etc/systemd/system/skerry-agent.service"
    for name in sorted(name for name in dir(Layout) if not name.startswith("_") and name != "root"):
        attribute = getattr(device, name)
        if isinstance(attribute, str):
            assert attribute.startswith("/"), name
            assert getattr(made, name) == f"/made{attribute}"


def test_an_upgrade_is_run_by_a_tree_that_it_does_not_replace() -> None:
    layout = Layout()
    assert layout.runner("tree", "1.0") == layout.installed("tree", "1.0") == "/opt/skerry/agent/1.0"
    assert layout.staged("1.0") == "/opt/skerry/agent/.1.0.new"
    assert layout.installed("package", "1.0") == "/usr/lib/skerry/agent"
    assert layout.runner("package", "1.0") == "/var/cache/skerry/tree-1.0"


def test_a_package_s_unit_names_the_program_of_the_package() -> None:
    unit = (ROOT / "deploy/systemd/skerry-agent.service").read_text(encoding="utf-8")
    assert "\nExecStart=/usr/bin/edge-agent start\n" in packaged_unit(unit)
    assert packaged_unit(unit).replace("/usr/bin/edge-agent start", "edge-agent start") == unit
    assert packaged_unit(packaged_unit(unit)) == packaged_unit(unit)
