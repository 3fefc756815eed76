"""Programs that find an empty home folder for every account, by nss_wrapper.

Devices in tests are this very machine, and start sessions as sshd does: with the shell of the account. What
stands in its own ~/.bashrc would run in every session of a test, and be killed in some of them half-way.
"""

from __future__ import annotations

from pathlib import Path


def with_empty_homes(home: Path) -> dict[str, str]:
    """Return the variables that give everybody the home folder `home`, which is made here."""
    home.mkdir()
    accounts = home.with_name(f"{home.name}.passwd")
    fields = [line.split(":") for line in Path("/etc/passwd").read_text(encoding="utf-8").splitlines()]
    lines = [":".join([*entry[:5], str(home), *entry[6:]]) for entry in fields]
    accounts.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": str(accounts),
        "NSS_WRAPPER_GROUP": "/etc/group",
    }
