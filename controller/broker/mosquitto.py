"""Which program the broker is, and as whom it runs."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from controller.broker.error import BrokerError

USER = "mosquitto"
# Debian puts it where a service's PATH need not lead.
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Owner:
    """The system user that the broker runs as and that its directory belongs to."""

    uid: int
    gid: int


def find_mosquitto(places: str = _PLACES) -> Path:
    """Return where mosquitto is, on our PATH or in `places`. Raises `BrokerError` with what to do where it is not."""
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:{places}")
    if found is None:
        raise BrokerError(
            "mqtt.broker: mosquitto is not on this machine: install it (apt-get install mosquitto), give another "
            "broker (mqtt.broker: external), or do without (mqtt.broker: none)"
        )
    return Path(found)


def find_owner() -> Owner | None:
    """Return whom the broker runs as; None for ourselves, where we are not root. Raises `BrokerError`."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(USER)
    except KeyError:
        raise BrokerError(
            f"mqtt.broker: this machine has no user {USER}, and the broker does not run as root: make it "
            f"(adduser --system --group {USER}), or start the controller as a user of its own"
        ) from None
    return Owner(entry.pw_uid, entry.pw_gid)
