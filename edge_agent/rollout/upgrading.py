"""Preparing an upgrade beside the version that runs: until all is ready nothing is changed that is seen."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.directory import sync_directory
from edge_agent.policy.layout import UPGRADE_UNIT, Layout
from edge_agent.policy.preflight import Installed, Tree, judge_device
from edge_agent.policy.upgrade import STAY, Phase, Plan, Standing
from edge_agent.policy.upgrade_record import Record
from edge_agent.rollout import archive as archives
from edge_agent.rollout import debian
from edge_agent.rollout.facts import find_installed, look_at_links, own_session, read_device
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.lock import Interruption, exclusive, interruptible
from edge_agent.rollout.placing import Placing, copy_tree, find_left, remove_empty, remove_tree, sync_disks
from edge_agent.rollout.record import now, read_record
from edge_agent.rollout.runner import place_runner, start_runner
from edge_agent.rollout.systemd import Service
from edge_agent.rollout.teller import Teller
from edge_agent.rollout.tree import check_manifest, check_start, compile_tree, read_tree, set_python
from protocol.versions import is_older

_PACKAGE = ".deb"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an upgrade is asked for.

    Attributes:
        source: the archive, the package or the directory of the new version.
        sha256: what the file's SHA-256 is to be; empty for anything.
        drain, wait, stay: as in `edge_agent.policy.upgrade.Plan`.
    """

    source: Path
    sha256: str
    drain: float
    wait: float
    stay: float = STAY


def prepare(layout: Layout, wanted: Wanted, teller: Teller) -> Record | None:
    """Have everything ready for an upgrade, and it begun; None where that version runs already.

    Raises:
        RolloutError: it cannot be done, and nothing was changed.
    """
    _judge_other(layout)  # it says more than that somebody holds the lock
    with interruptible() as interruption:
        record = _prepare(layout, wanted, teller, interruption)
        if record:
            start_runner(layout, record)  # no sooner: it takes the lock
    return record


def _prepare(layout: Layout, wanted: Wanted, teller: Teller, interruption: Interruption) -> Record | None:
    with exclusive(Path(layout.lock)):
        installed = _find(layout, wanted)
        _judge_other(layout)
        try:
            ready = _ready_package if installed.kind == "package" else _ready_tree
            with ready(layout, wanted, installed, teller) as version:
                if version == installed.version:
                    teller.say(f"version {version} runs already: nothing was changed")
                    return None
                if is_older(version, installed.version):
                    teller.say(f"version {version} is older than {installed.version}, which runs: this is a downgrade")
                record = _make_record(layout, wanted, installed, version)
                # Between its record and its start nobody would carry it through, before the device starts again.
                interruption.hold()
                place_runner(layout, record)
                return record
        except OSError as err:
            raise RolloutError(f"cannot prepare the upgrade: {reason(err)}; nothing was changed") from None


def _find(layout: Layout, wanted: Wanted) -> Installed:
    if not Service(layout).is_there:
        raise RolloutError(f"{layout.root} is not this device's own root: nobody would carry an upgrade through there")
    installed = find_installed(layout)
    if installed is None:
        raise RolloutError(f"no agent is installed here ({layout.current} is not there): install it first")
    if not wanted.source.exists():
        raise RolloutError(f"{wanted.source} is not there")
    is_package = wanted.source.suffix == _PACKAGE and wanted.source.is_file()
    if is_package != (installed.kind == "package"):
        came, right = ("a Debian package", "a .deb") if installed.kind == "package" else ("an archive", "a .tar.gz")
        raise RolloutError(f"the agent of this device was installed from {came}: give {right} of the new version")
    return installed


def _judge_other(layout: Layout) -> None:
    """See that no other upgrade goes on. One whose unit is not there any more never will again."""
    record = read_record(layout)
    if record is None or record.standing.phase.is_final or not Path(layout.upgrade_unit).exists():
        return
    raise RolloutError(
        f"an upgrade from {record.plan.old} to {record.plan.new} goes on already ({record.standing.phase.value}): wait "
        f"until it has ended (edge-agent upgrade --status, and where it stands still: systemctl restart {UPGRADE_UNIT})"
    )


def _make_record(layout: Layout, wanted: Wanted, installed: Installed, version: str) -> Record:
    service = Service(layout)
    has_tunnel, has_broker = look_at_links(layout, service)
    plan = Plan(
        old=installed.version,
        new=version,
        kind=installed.kind,
        drain=wanted.drain,
        wait=wanted.wait,
        stay=wanted.stay,
        session=own_session(),
        was_running=service.look().is_running,
        had_tunnel=has_tunnel,
        had_broker=has_broker,
    )
    return Record(secrets.token_hex(8), plan, Standing(Phase.PREPARED, 0.0), now(layout), doing="prepared")


# --- from an archive, or a directory --------------------------------------------------------------------------------


@contextmanager
def _ready_tree(layout: Layout, wanted: Wanted, installed: Installed, teller: Teller) -> Iterator[str]:
    """Have the new version's tree lie beside the old one. It is taken away where the block fails."""
    target: Path | None = None
    source = wanted.source
    scratch = _make_scratch(layout)
    try:
        tree = source if source.is_dir() and not wanted.sha256 else _unpack(layout, wanted, scratch)
        facts = read_tree(tree)
        if facts.version != installed.version:
            place = Path(layout.tree(facts.version))
            is_in_place = place.exists() and place.samefile(tree)
            is_unpacked = tree.is_relative_to(scratch)  # what it takes then is not free any more
            _judge(layout, replace(facts, size=facts.size // 2) if is_unpacked else facts, layout.trees)
            target = place if is_in_place else _stage(tree, scratch)
            _compare(source, facts.version, read_tree(target))  # it may have been changed while it was copied
            check_manifest(target, is_fresh=not is_in_place)
            _start(target, facts, teller)
            if not is_in_place:
                target = _put(target, place)
        yield facts.version
    except BaseException:
        if target is not None and not (
            source.is_dir() and source.exists() and target.exists() and target.samefile(source)
        ):
            remove_tree(target)
        raise
    finally:
        remove_tree(scratch)


def _make_scratch(layout: Layout) -> Path:
    """Make a directory to work in, root's alone, where a preparation that was cut off may have left one before."""
    trees = Path(layout.trees)
    for left in (*trees.glob(".upgrade*"), *find_left(trees)):
        remove_tree(left)
    scratch = Path(layout.trees, ".upgrade")
    scratch.mkdir(mode=0o700)
    return scratch


def _unpack(layout: Layout, wanted: Wanted, scratch: Path) -> Path:
    archive, source = scratch / "archive", wanted.source
    archives.take(source, archive, wanted.sha256)
    _judge(layout, Tree("0", "", (), archives.measure(archive, source)), layout.trees)
    tree = archives.unpack(archive, _made(scratch / "unpacked"), source)
    archive.unlink()
    return tree


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _judge(layout: Layout, facts: Tree, place: str) -> None:
    if refused := judge_device(read_device(layout, trees=[place], data=[layout.data]), facts):
        raise RolloutError(refused.reason)


def _stage(tree: Path, scratch: Path) -> Path:
    """Return the tree in `scratch`: as it was unpacked there, or copied."""
    if tree.is_relative_to(scratch):
        return tree
    copy = scratch / "copy"
    copy_tree(tree, copy)
    return copy


def _start(tree: Path, facts: Tree, teller: Teller) -> None:
    set_python(tree)
    teller.say(f"looking whether version {facts.version} starts")
    check_start(tree, facts.version)
    compile_tree(tree)


def _put(tree: Path, place: Path) -> Path:
    """Give a tree that is whole, and on the disk, its own name."""
    sync_disks()
    remove_tree(place)  # of an upgrade that was broken off before
    tree.rename(place)
    sync_directory(place.parent)
    return place


# --- from a package -------------------------------------------------------------------------------------------------


@contextmanager
def _ready_package(layout: Layout, wanted: Wanted, installed: Installed, teller: Teller) -> Iterator[str]:
    """Have the new package kept, and the old version's tree aside. Both are taken away where the block fails."""
    placing, cache = Placing(), Path(layout.packages)
    try:
        with _taken(cache, wanted, placing) as source, _kept_package(layout, source, installed, teller) as version:
            yield version
    except RolloutError as err:  # the person knows it by another name
        placing.undo()
        raise RolloutError(str(err).replace(str(_given(cache, wanted)), str(wanted.source))) from None
    except BaseException:
        placing.undo()
        raise


@contextmanager
def _taken(cache: Path, wanted: Wanted, placing: Placing) -> Iterator[Path]:
    """Have a copy of the package, root's alone, while the block runs: it is checked, and nothing but it is used."""
    given = _given(cache, wanted)
    placing.directory(cache)
    remove_tree(given.parent)  # of a preparation that was cut off
    given.parent.mkdir(mode=0o700)
    try:
        archives.take(wanted.source, given, wanted.sha256)
        yield given
    finally:
        remove_tree(given.parent)
        remove_empty(cache)


def _given(cache: Path, wanted: Wanted) -> Path:
    return cache / ".given" / wanted.source.name


@contextmanager
def _kept_package(layout: Layout, source: Path, installed: Installed, teller: Teller) -> Iterator[str]:
    version, _ = debian.read_package(source)
    if version == installed.version:
        yield version
        return
    cache, new = Path(layout.packages), None
    before = set(cache.glob(f"*{_PACKAGE}"))
    aside = Path(layout.way_back(installed.version))
    try:
        with debian.unpacked(source, cache) as scratch:
            tree = scratch / layout.package_tree.removeprefix(layout.root).lstrip("/")
            facts = read_tree(tree)
            _compare(source, version, facts)
            _judge(layout, facts, layout.package_tree)
            check_manifest(tree, is_fresh=True)
            teller.say(f"looking whether version {version} starts")
            check_start(tree, facts.version)
        if debian.kept(layout, installed.version) is None:
            teller.say(f"the package of {installed.version} was not kept: its files are, as the way back")
        remove_tree(aside)
        copy_tree(Path(layout.package_tree), aside)
        check_start(aside, installed.version)
        new = debian.keep(layout, source)
        sync_disks()
        yield version
    except BaseException:
        remove_tree(aside)
        if new is not None and new not in before:
            new.unlink(missing_ok=True)
        raise


def _compare(source: Path, version: str, facts: Tree) -> None:
    if facts.version != version:
        raise RolloutError(f"{source} is of version {version}, and what is in it of {facts.version}")
