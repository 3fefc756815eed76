"""Removing the agent: all of it, or all but who this device is."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_agent.identity import DataDirectory, IdentityError
from edge_agent.policy.layout import UNIT, UPGRADE_UNIT, Layout
from edge_agent.rollout import debian
from edge_agent.rollout.facts import own_session
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.lock import exclusive
from edge_agent.rollout.placing import remove_empty, remove_tree
from edge_agent.rollout.runner import remove_runner
from edge_agent.rollout.systemd import Service
from edge_agent.rollout.teller import Teller


def remove(layout: Layout, *, purge: bool, teller: Teller) -> int:
    """Remove the agent, and with `purge` its settings, data and log. Returns the exit status.

    An upgrade that goes on is broken off.

    Raises:
        RolloutError: something would not go; the message says what.
    """
    _stop_upgrade(layout)  # it holds the lock
    with exclusive(Path(layout.lock)):
        is_package = Path(layout.package_tree, "VERSION").exists()
        name = _own_name(layout)
        found = is_package or Path(layout.trees).exists() or Path(layout.unit).exists()
        _stop(layout)
        if is_package:
            debian.remove(layout, purge=purge)
        failures = _remove_all(_places(layout, purge=purge))
        for directory in (Path(layout.trees).parent, Path(layout.packages), Path(layout.settings_directory)):
            remove_empty(directory)
        _forget(layout)
    if failures:
        raise RolloutError(f"not all of it could be removed: {'; '.join(failures)}")
    teller.say(_report(found=found, purge=purge, name=name, layout=layout))
    return 0


def _stop_upgrade(layout: Layout) -> None:
    if Path(layout.upgrade_unit).exists():
        with suppress(RolloutError):
            Service(layout, UPGRADE_UNIT).stop()
        remove_runner(layout)


def _stop(layout: Layout) -> None:
    """Stop the service. Whether that of a package is enabled is for dpkg to keep, should the package come again."""
    service, is_own = Service(layout), Path(layout.unit).exists()
    if is_own or Path(layout.package_unit).exists():
        with suppress(RolloutError):
            service.stop()
    if is_own:
        with suppress(RolloutError):
            service.disable()


def _places(layout: Layout, *, purge: bool) -> list[Path]:
    """Return what is to go; the tree by which this runs comes last but for the log."""
    places = [Path(layout.command), Path(layout.unit), Path(layout.packages), Path(layout.result)]
    if purge:
        places += [Path(f"{layout.unit}.d"), Path(layout.settings), Path(layout.token), Path(layout.data)]
        places += [Path(f"{layout.settings}.refused"), Path(f"{layout.settings}.before")]  # by Ansible's role
        places += [Path(layout.runtime), Path(layout.log), *_unpacked(layout)]
    return [*places, Path(layout.current), Path(layout.trees)]


def _unpacked(layout: Layout) -> list[Path]:
    """Return what the controller's install.sh has left of root's where it was killed, or the power was cut."""
    found = [(path, path.lstat()) for path in Path(layout.downloads).glob("skerry-install.*")]
    return [path for path, facts in found if facts.st_uid == 0 and stat.S_ISDIR(facts.st_mode)]


def _remove_all(places: list[Path]) -> list[str]:
    failures: list[str] = []
    for path in places:
        try:
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as err:
            failures.append(f"{path}: {reason(err)}")
    return failures


def _forget(layout: Layout) -> None:
    service = Service(layout)
    with suppress(RolloutError):
        service.reload()
    service.forget()


def _own_name(layout: Layout) -> str:
    """Return the name of the node that this device is; empty where it is none, or nobody can tell."""
    with suppress(IdentityError):
        identity = DataDirectory(Path(layout.data)).load()
        return identity.granted.name if identity else ""
    return ""


def _report(*, found: bool, purge: bool, name: str, layout: Layout) -> str:
    if not found:
        return "no agent was installed here" + ("; its settings and data are gone" if purge else "")
    if purge:
        listed = f"; the controller still lists it: tctl nodes rm {name}" if name else ""
        return f"removed, with its settings, data and log{listed}"
    return f"removed; its settings and who it is stay in {layout.settings_directory} and {layout.data} (--purge)"


def remove_later(layout: Layout, arguments: list[str], say: Callable[[str], None]) -> bool:
    """Have it removed by a unit of its own, where this is run through the agent itself. False where it is not.

    Raises:
        RolloutError: it is installed or upgraded just now, or systemd would not.
    """
    if not own_session():
        return False
    _judge(layout, say)
    command = ["systemd-run", "--collect", "--quiet", f"--unit={UNIT.removesuffix('.service')}-remove", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as err:
        raise RolloutError(f"systemd-run: {reason(err)}") from None
    if done.returncode:
        raise RolloutError(f"systemd-run: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    say("this session comes through the agent that is removed, and ends now")
    return True


def _judge(layout: Layout, say: Callable[[str], None]) -> None:
    """See that it can be removed, while somebody is there to be told. Raises `RolloutError`."""
    if Path(layout.upgrade_unit).exists():
        say("the upgrade that goes on is broken off")
        return
    with exclusive(Path(layout.lock)):
        pass
