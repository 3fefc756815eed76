"""Joining before anything is placed: who is refused has the device as it was."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.clock import time_told
from edge_agent.config import ConfigError, Options, Settings, load_settings, parse_controller
from edge_agent.identity import DataDirectory, Identity, IdentityError
from edge_agent.join import JoinFailed, join
from edge_agent.policy.layout import Layout
from edge_agent.policy.link import decide_wait
from edge_agent.policy.preflight import describe_clock
from edge_agent.rollout.fault import RolloutError, reason
from edge_agent.rollout.placing import Placing
from edge_agent.rollout.teller import Teller
from edge_agent.service import find_token
from protocol.addresses import join_address
from protocol.instants import from_milliseconds
from protocol.names import TokenText
from protocol.secret import Secret


@dataclass(frozen=True, slots=True)
class Wish:
    """What a device that is to join was told; None for what was not.

    Attributes:
        controller: the controller's web address.
        token: the join token, or the path of a file that holds it.
        patience: for how many seconds a controller is asked that cannot be reached, or has no time.
    """

    controller: str | None
    token: str | None
    ca_pins: tuple[str, ...] = ()
    nodename: str | None = None
    labels: str | None = None
    patience: float = 120.0


def find_identity(layout: Layout, wish: Wish) -> Identity | None:
    """Return who this device is already; None where it has not joined.

    Raises:
        RolloutError: it is of another controller than the one that was named, or nobody can tell.
    """
    try:
        identity = DataDirectory(Path(layout.data)).load()
        named = parse_controller(wish.controller) if wish.controller else None
    except IdentityError as err:
        raise RolloutError(str(err)) from None
    except ValueError as err:
        raise RolloutError(f"--controller: {err}") from None
    if identity and named and identity.controller and named != identity.controller:
        raise RolloutError(
            f"this device is {identity.granted.name} of the controller {join_address(*identity.controller)} already: "
            "to give it to another, first: edge-agent remove --purge"
        )
    return identity


def describe_unused(wish: Wish) -> str:
    """Return what of the wish is of no use to a device that has joined already, in words; empty for nothing."""
    unused = [
        what
        for what, is_there in (("the name", wish.nodename), ("the labels", wish.labels), ("the token", wish.token))
        if is_there
    ]
    if not unused:
        return ""
    still = "; the token is still good for another device" if wish.token else ""
    return f"not used, as who this device is was settled when it joined: {', '.join(unused)}{still}"


def become_node(layout: Layout, wish: Wish, placing: Placing, teller: Teller) -> Identity:
    """Join, and return who this device is now. What that makes is noted in `placing`.

    Raises:
        RolloutError: it could not.
    """
    try:
        settings = _settings(layout, wish)
        token = find_token(wish.token or (layout.token if Path(layout.token).exists() else None), settings)
    except ConfigError as err:
        raise RolloutError(str(err)) from None
    if token is None:
        raise RolloutError("a join token is needed: --token TOKEN (the admin makes one: tctl tokens add --type=node)")
    data = Path(layout.data)
    placing.directory(data.parent)
    _note(data, placing)
    directory = DataDirectory(data)
    try:
        directory.claim()
        teller.say(f"joining the cluster of {settings.web_address}")
        identity = asyncio.run(_join(settings, token, directory, wish.patience, teller))
    except IdentityError as err:
        raise RolloutError(str(err)) from None
    finally:
        directory.release()
    _say_clock(identity, teller)
    return identity


def _settings(layout: Layout, wish: Wish) -> Settings:
    written = layout.settings if Path(layout.settings).exists() else None
    options = Options(
        controller=wish.controller,
        nodename=wish.nodename,
        data_dir=layout.data,
        labels=wish.labels,
        ca_pins=wish.ca_pins,
        config=written,
    )
    return load_settings(options, euid=0)


def _note(data: Path, placing: Placing) -> None:
    """Take note of what the data directory holds, to have it so again."""
    before = {path.name for path in data.iterdir()} if data.exists() else None

    def undo() -> None:
        for path in data.iterdir() if data.exists() else ():
            if before is None or path.name not in before:
                path.unlink()
        if before is None:
            with suppress(OSError):
                data.rmdir()

    placing.then(undo)


async def _join(
    settings: Settings, token: Secret[TokenText], directory: DataDirectory, patience: float, teller: Teller
) -> Identity:
    failures, until = 0, time.monotonic() + patience
    while True:
        answer = await join(settings, token, directory)
        if not isinstance(answer, JoinFailed):
            return answer
        wait = decide_wait(failures, answer.retry_after, random.random())  # noqa: S311 - spreads devices, hides nothing
        if answer.is_final or time.monotonic() + wait > until:
            raise RolloutError(f"cannot join: {answer.reason}; the device is as it was")
        teller.say(f"not joined yet: {answer.reason}; trying again in {wait:.1f} s")
        failures += 1
        await asyncio.sleep(wait)


def _say_clock(identity: Identity, teller: Teller) -> None:
    try:
        there = from_milliseconds(time_told(identity.granted))
        told = describe_clock(datetime.now(UTC), there)
    except (ValueError, OverflowError, OSError):  # a clock beyond the calendar
        told = "this device's clock makes no sense; the agent goes by the controller's, other programs here do not"
    if told:
        teller.warn(told)


def forget_token(layout: Layout, teller: Teller) -> None:
    """Remove the file of the join token, where there is one: it has done what it was for."""
    try:
        Path(layout.token).unlink(missing_ok=True)
    except OSError as err:
        teller.warn(f"{layout.token} is of no use any more and cannot be removed: {reason(err)}")


def quiet_log() -> None:
    """Have the agent's own modules keep their log to themselves: what matters is said."""
    logging.getLogger("skerry").addHandler(logging.NullHandler())
    logging.getLogger("skerry").propagate = False
