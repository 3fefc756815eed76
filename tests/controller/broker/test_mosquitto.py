from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from controller.broker.mosquitto import USER, find_mosquitto, find_owner


def test_mosquitto_is_found_where_a_service_s_path_does_not_lead() -> None:
    asked = "from controller.broker.mosquitto import find_mosquitto; print(find_mosquitto())"
    found = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=60,
    )
    assert found.stdout.strip() == str(find_mosquitto())


def test_root_s_broker_runs_as_a_user_of_its_own_and_anybody_else_s_as_himself() -> None:
    owner = find_owner()
    if os.geteuid() == 0:
        assert owner is not None
        assert owner.uid == pwd.getpwnam(USER).pw_uid
        assert owner.uid != 0
    else:
        assert owner is None


def test_a_machine_without_mosquitto_is_told_what_to_install(tmp_path: Path) -> None:
    asked = (
        "import controller.broker.mosquitto as m\n"
        f"try: m.find_mosquitto({str(tmp_path)!r})\n"
        "except m.BrokerError as err: print(err)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=60,
    )
    assert found.stdout == (
        "mqtt.broker: mosquitto is not on this machine: install it (apt-get install mosquitto), give another broker "
        "(mqtt.broker: external), or do without (mqtt.broker: none)\n"
    )
