"""Installing the agent from an unpacked tree: what is refused leaves nothing, what was cut off is taken up."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge_agent.config import template
from edge_agent.identity import Identity
from edge_agent.policy.layout import Kind, Layout
from edge_agent.policy.preflight import Tree, judge_device, judge_installed
from edge_agent.rollout.facts import find_installed, look, read_device, status_of
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.joining import Wish, become_node, describe_unused, find_identity, forget_token, quiet_log
from edge_agent.rollout.lock import exclusive, interruptible
from edge_agent.rollout.placing import Placing, copy_tree, find_left, remove_tree, sync_disks
from edge_agent.rollout.systemd import Service
from edge_agent.rollout.teller import Teller
from edge_agent.rollout.tree import (
    UNIT_IN_TREE,
    check_manifest,
    check_start,
    compile_tree,
    is_whole,
    read_tree,
    set_python,
)
from protocol.addresses import join_address

_LOOK = 0.5
INSTALLED, NOT_ONLINE = 0, 3


@dataclass(frozen=True, slots=True)
class Order:
    """What an installation is asked for.

    Attributes:
        wish: what it joins with.
        tree: the tree of the version.
        unit: the service's unit, where the tree has none.
        has_start: whether the service is started.
        wait: for how many seconds it is waited for to be online.
    """

    wish: Wish
    tree: Path
    unit: Path | None
    has_start: bool
    wait: float


def own_tree() -> Path:
    """Return the tree by which this program is run."""
    return Path(sys.prefix)


def install(layout: Layout, order: Order, teller: Teller) -> int:
    """Install the agent, have it join and run, and return the exit status.

    Raises:
        RolloutError: it was refused, and the device is as it was.
    """
    quiet_log()
    facts, kind = read_tree(order.tree), _kind(layout, order.tree)
    _judge(layout, facts, kind)
    with exclusive(Path(layout.lock)), interruptible():
        placing = Placing()
        try:
            identity = _install(layout, order, facts, kind, placing, teller)
        except OSError as err:
            placing.undo()
            raise RolloutError(f"cannot install: {reason(err)}; the device is as it was") from None
        except BaseException:
            placing.undo()
            raise
        placing.keep()
    return _start(layout, order, identity, teller)


def _kind(layout: Layout, tree: Path) -> Kind:
    package = Path(layout.package_tree)
    return "package" if package.exists() and package.samefile(tree) else "tree"


def _judge(layout: Layout, facts: Tree, kind: Kind) -> None:
    device = read_device(layout, trees=[layout.trees] if kind == "tree" else [], data=[layout.data])
    refused = judge_device(device, facts)
    refused = refused or judge_installed(find_installed(layout), facts, kind)
    if refused:
        raise RolloutError(refused.reason)


def _install(layout: Layout, order: Order, facts: Tree, kind: Kind, placing: Placing, teller: Teller) -> Identity:
    """Do all that is done before the service is started; what cannot be kept is in `placing`."""
    identity = find_identity(layout, order.wish)
    staged = _stage(layout, order, facts, placing, teller) if kind == "tree" else None
    if identity is None:
        if Service(layout).look().is_running:
            placing.then(partial(_begin, layout))
            Service(layout).stop()  # it waits to join, by the token of an earlier installation
        identity = become_node(layout, order.wish, placing, teller)
    else:
        _go_on_as(identity, order.wish, teller)
    placing.directory(Path(layout.log).parent)
    placing.keep()  # from here on there is something to keep: who this device is
    teller.keep(Path(layout.log))
    rest = Placing()
    try:
        if kind == "tree":
            _place_tree(layout, order, facts, staged, rest)
        _place_settings(layout, order.wish, identity, rest)
        if not Path(layout.upgrade_unit).exists():
            Path(layout.result).unlink(missing_ok=True)  # of versions that were here before
        Service(layout).reload()
        Service(layout).enable()
    except BaseException as err:
        rest.undo()
        if staged:
            remove_tree(staged)
        if not isinstance(err, OSError | RolloutError):
            raise
        raise RolloutError(
            f"cannot install: {reason(err)}; who this device is stays in {layout.data}: run this again to go on"
        ) from None
    forget_token(layout, teller)
    return identity


def _go_on_as(identity: Identity, wish: Wish, teller: Teller) -> None:
    teller.say(f"this device has joined already, as {identity.granted.name}: going on from there")
    if unused := describe_unused(wish):
        teller.warn(unused)


def _begin(layout: Layout) -> None:
    """Have the service run again that was stopped for an installation that came to nothing."""
    with suppress(RolloutError):
        Service(layout).start()


def _stage(layout: Layout, order: Order, facts: Tree, placing: Placing, teller: Teller) -> Path | None:
    """Copy the tree beside where it will lie; None where it lies there already and is whole."""
    check_manifest(order.tree)
    for left in find_left(Path(layout.trees)):
        remove_tree(left)
    place, staged = Path(layout.tree(facts.version)), Path(layout.staged(facts.version))
    if not (order.tree / UNIT_IN_TREE).exists() and order.unit is None:
        raise RolloutError(f"{order.tree} has no {UNIT_IN_TREE}: say where the service's unit is, with --unit FILE")
    if place.exists() and (place.samefile(order.tree) or is_whole(place)):
        check_start(place, facts.version)
        return None
    teller.say(f"copying version {facts.version} to {place}")
    placing.directory(Path(layout.trees))
    placing.tree(staged)
    copy_tree(order.tree, staged)
    set_python(staged)
    check_start(staged, facts.version)
    return staged


def _place_tree(layout: Layout, order: Order, facts: Tree, staged: Path | None, placing: Placing) -> None:
    place = Path(layout.tree(facts.version))
    if staged:
        compile_tree(staged)
        sync_disks()
        remove_tree(place)  # of an installation that was cut off
        placing.tree(place)
        staged.rename(place)
    unit = place / UNIT_IN_TREE
    placing.link(Path(layout.current), facts.version)
    placing.directory(Path(layout.command).parent)
    placing.link(Path(layout.command), f"{layout.current}/bin/edge-agent")
    placing.file(Path(layout.unit), (unit if unit.exists() or order.unit is None else order.unit).read_bytes())


def _place_settings(layout: Layout, wish: Wish, identity: Identity, placing: Placing) -> None:
    """Write the settings, where there are none: what was said on the command line."""
    path = Path(layout.settings)
    if path.exists() or identity.controller is None:
        return
    text = template(join_address(*identity.controller))
    if wish.ca_pins:
        pins = wish.ca_pins[0] if len(wish.ca_pins) == 1 else json.dumps(list(wish.ca_pins))
        text = "".join(f"ca_pin: {pins}\n" if line.startswith("#ca_pin:") else line for line in text.splitlines(True))
    placing.directory(path.parent)
    placing.file(path, text.encode(), 0o644)


def _start(layout: Layout, order: Order, identity: Identity, teller: Teller) -> int:
    service, name = Service(layout), identity.granted.name
    if not (order.has_start and service.is_there):
        teller.say(f"installed as {name}, and not started: systemctl start skerry-agent")
        return INSTALLED
    try:
        service.start()
    except RolloutError as err:
        teller.warn(f"installed as {name}, and could not be started: {err}; try systemctl start skerry-agent")
        return NOT_ONLINE
    if identity.granted.pending:
        teller.say(
            f"installed as {name}, which waits for an administrator: tctl nodes approve {identity.granted.node_id}"
        )
        return INSTALLED
    until = time.monotonic() + order.wait
    while time.monotonic() < until:
        status = status_of(layout)
        if status and status.is_online:
            teller.say(f"installed, and online as {status.node} in the cluster {status.cluster}")
            return INSTALLED
        teller.say(f"waiting until it is online ({_doing(layout, service)})")
        time.sleep(_LOOK)
    teller.warn(
        f"installed as {name}, and not online yet ({_doing(layout, service)}): it goes on trying; see "
        "edge-agent status, and journalctl -u skerry-agent"
    )
    return NOT_ONLINE


def _doing(layout: Layout, service: Service) -> str:
    try:
        return look(layout, service).text
    except RolloutError as err:
        return str(err)
