from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.vitals import find_sensors, read_memory, read_temperature


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_memory_is_read_as_the_kernel_tells_it(tmp_path: Path) -> None:
    _file(tmp_path / "meminfo", "MemTotal:        948304 kB\nMemFree:  1 kB\nMemAvailable:    512000 kB\n")
    assert read_memory(tmp_path / "meminfo") == (948304, 512000)


@pytest.mark.parametrize("text", ["", "MemTotal\n", "MemTotal: much kB\n", "MemTotal:\n", "\xff"])
def test_memory_that_is_not_told_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "meminfo").write_bytes(text.encode("latin-1"))
    assert read_memory(tmp_path / "meminfo") == (0, 0)
    assert read_memory(tmp_path / "missing") == (0, 0)


def test_this_machine_tells_its_memory() -> None:
    total, available = read_memory()
    assert 0 < available <= total


def test_hottest_zone_is_the_temperature(tmp_path: Path) -> None:
    _file(tmp_path / "sys/class/thermal/thermal_zone0/temp", "41500\n")
    _file(tmp_path / "sys/class/thermal/thermal_zone1/temp", "52349\n")
    _file(tmp_path / "sys/class/hwmon/hwmon0/temp1_input", "99000\n")
    sensors = find_sensors(tmp_path)
    assert len(sensors) == 2
    assert read_temperature(sensors) == 523


def test_sensor_chips_are_asked_where_there_are_no_zones(tmp_path: Path) -> None:
    _file(tmp_path / "sys/class/hwmon/hwmon0/temp1_input", "-12500\n")
    _file(tmp_path / "sys/class/hwmon/hwmon0/name", "lm75\n")
    assert read_temperature(find_sensors(tmp_path)) == -125


@pytest.mark.parametrize("text", ["", "hot", "-273000", "999999", "4" * 100])
def test_what_is_no_temperature_is_passed_over(tmp_path: Path, text: str) -> None:
    _file(tmp_path / "sys/class/thermal/thermal_zone0/temp", text)
    assert find_sensors(tmp_path) == ()


def test_sensor_that_goes_away_later_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    _file(path, "41500\n")
    sensors = find_sensors(tmp_path)
    path.unlink()
    assert read_temperature(sensors) is None


def test_device_without_sensors_has_no_temperature(tmp_path: Path) -> None:
    assert read_temperature(find_sensors(tmp_path)) is None
