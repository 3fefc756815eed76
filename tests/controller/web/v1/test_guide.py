"""The examples of docs/api.md, run as they stand there: by bash and curl, against a real door."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.accounts import codes
from tests.controller.web.lab import PASSWORD, Lab
from tests.controller.web.v1.office import ADMIN, AUDITOR, LIVE, PLAIN, Office
from tests.harness.running_door import Identity, RunningDoor

GUIDE = Path(__file__).parents[4] / "docs" / "api.md"


def test_the_guides_examples_do_what_it_says(
    start_door: Callable[..., RunningDoor], identity: Identity, tmp_path: Path
) -> None:
    office = Office(Lab.open(tmp_path))
    door = start_door("web", data_dir=str(tmp_path))
    examples = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    key = Ed25519PrivateKey.generate().public_key()
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "key.pub").write_bytes(line)
    code = codes.code_at(office.people[ADMIN].secret, office.lab.clock() + timedelta(seconds=30))
    said = {"USER_NAME": ADMIN, "PASSWORD": PASSWORD, "OTP": code, "SKERRY": f"https://localhost:{door.port}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(examples)],
        cwd=tmp_path,
        env=os.environ | said | {"CURL_CA_BUNDLE": str(identity.cert)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout
    assert f'"user": "{ADMIN}"' in printed
    assert f"{LIVE}\tgate\tpi" in printed
    assert f"{ADMIN}\n{AUDITOR}\n{PLAIN}\n" in printed
    assert '["access","auditor"]' in printed
    assert "/web/invite/" in printed
    assert office.lab.accounts.users.get("nell") is None
    assert [lock.value for lock in office.lab.locks.list()] == ["nobody"]
