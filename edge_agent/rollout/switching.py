"""Having one installed version run in place of another, in the two manners in which the agent is installed."""

from __future__ import annotations

from pathlib import Path

from edge_agent.policy.layout import Layout, packaged_unit
from edge_agent.policy.upgrade import Phase, Plan
from edge_agent.rollout import debian
from edge_agent.rollout.facts import status_of
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.placing import copy_tree, make_link, remove_tree, sync_disks, write_file
from edge_agent.rollout.systemd import Service
from edge_agent.rollout.tree import UNIT_IN_TREE, compile_tree


def switch(layout: Layout, plan: Plan, service: Service, *, back: bool = False) -> None:
    """Have the new version in place of the old one, or the old one `back`; and restart the service, where it ran.

    Where it is in place as it was, and runs, nobody is cut. It can be done again at any time. Raises `RolloutError`.
    """
    version = plan.old if back else plan.new
    try:
        if back and _is_untouched(layout, plan):
            return
        if plan.kind == "package":
            _put_package(layout, plan, version)
        else:
            _put_tree(layout, version)
        service.reload()
        if plan.was_running:
            service.restart()
    except OSError as err:
        raise RolloutError(f"cannot put version {version} in place: {reason(err)}") from None


def find_obstacle(layout: Layout, plan: Plan) -> str:
    """Return what is in the way of a switch just now, and will pass; empty for nothing."""
    pid = debian.find_holder(layout) if plan.kind == "package" else None
    return "" if pid is None else f"another program (process {pid}) is at work with dpkg"


def _is_untouched(layout: Layout, plan: Plan) -> bool:
    """Tell whether the old version is in place, whole, and what runs: a switch may fail before it changes anything."""
    status = status_of(layout)
    if plan.was_running and (status is None or status.version != plan.old):
        return False
    if plan.kind == "package":
        return debian.is_whole(layout, plan.old)
    unit, placed = Path(layout.tree(plan.old)) / UNIT_IN_TREE, Path(layout.unit)
    has_unit = not unit.exists() or (placed.exists() and placed.read_bytes() == unit.read_bytes())
    return _leads_to(layout) == plan.old and has_unit


def _leads_to(layout: Layout) -> str:
    """Return the version that is installed by the link; empty for none."""
    current = Path(layout.current)
    return current.readlink().name if current.is_symlink() else ""


def _put_tree(layout: Layout, version: str) -> None:
    """Have the link lead to a version's tree, and the unit be that version's.

    Each is renamed into place. A cut between the two leaves one tree and the unit of the other, which runs; the upgrade
    is taken up at the next start.
    """
    tree = Path(layout.tree(version))
    if not (tree / "bin/edge-agent").exists():
        raise RolloutError(f"{tree} is not there any more")
    make_link(Path(layout.current), version)
    place_unit(layout, tree)


def place_unit(layout: Layout, tree: Path) -> None:
    """Have the service's unit be the tree's, where it has one. Raises `OSError`."""
    unit, placed = tree / UNIT_IN_TREE, Path(layout.unit)
    if unit.exists() and not (placed.exists() and placed.read_bytes() == unit.read_bytes()):
        write_file(placed, unit.read_bytes())


def _put_package(layout: Layout, plan: Plan, version: str) -> None:
    package = debian.kept(layout, version)
    if package:
        debian.install(layout, package)
    elif version == plan.old:
        _put_back_tree(layout, Path(layout.way_back(version)))
    else:
        raise RolloutError(f"the package of version {version} is not in {layout.packages} any more")


def _put_back_tree(layout: Layout, kept: Path) -> None:
    """Have the files of a package be as they were. dpkg's database goes on naming the version that came last."""
    tree = Path(layout.package_tree)
    fresh, old = tree.with_name(".agent.new"), tree.with_name(".agent.old")
    if kept.exists():
        remove_tree(fresh)
        copy_tree(kept, fresh)
        compile_tree(fresh)
        sync_disks()
        remove_tree(old)
        if tree.exists():
            tree.rename(old)
        fresh.rename(tree)
        remove_tree(old)
    unit = tree / UNIT_IN_TREE
    if unit.exists():
        write_file(Path(layout.package_unit), packaged_unit(unit.read_text(encoding="utf-8")).encode())


def tidy(layout: Layout, plan: Plan, phase: Phase) -> None:
    """Remove what an upgrade that has ended needs no more. Of the old versions one is kept; what runs always is."""
    if plan.kind == "package":
        versions = (plan.old, plan.new) if phase is Phase.DONE else (plan.old,)
        debian.forget_others(layout, versions)
        remove_tree(Path(layout.way_back(plan.old)))  # this program is run from there: it comes last
        return
    keep = {plan.new, plan.old} if phase is Phase.DONE else {plan.old, *_before(layout, plan)}
    keep.add(_leads_to(layout))
    for path in Path(layout.trees).iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in keep:
            remove_tree(path)


def _before(layout: Layout, plan: Plan) -> list[str]:
    """Return the version that was kept before an upgrade that failed: it stays the way back."""
    others = [
        path
        for path in Path(layout.trees).iterdir()
        if path.is_dir() and not path.is_symlink() and path.name not in {plan.old, plan.new} and path.name[0] != "."
    ]
    return [path.name for path in sorted(others, key=lambda path: path.stat().st_mtime)[-1:]]
