"""The agent as one process: identity first, then, begun anew, the node at work until told to stop."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edge_agent import memory
from edge_agent.config import ConfigError, Joined, Settings
from edge_agent.handover import TOKEN_VARIABLE, begin_anew, hand_over, shows_token
from edge_agent.identity import DataDirectory, Identity
from edge_agent.policy.wish import unheeded
from protocol import names
from protocol.names import TokenText
from protocol.secret import Secret
from protocol.service_manager import CREDENTIALS

if TYPE_CHECKING:
    from edge_agent.station import Station

T = TypeVar("T")
_log = logging.getLogger("skerry.agent")
_TOKEN_MAX = 4096
# The name under which the unit has the join token (LoadCredential=, systemd.exec(5)).
_CREDENTIAL = "join-token"
# Somebody has to change something before it is of use to ask again: a device asks once in so many seconds, spread out.
_REST = 300.0


class StartError(Exception):
    """The agent cannot start. The message says what to do."""


def find_token(given: str | None, settings: Settings) -> Secret[TokenText] | None:
    """Return the join token, from where it is found first.

    That is as given (text, or the path of a file), in the environment, in the settings' file, and as the service
    manager's credential.

    Raises:
        ConfigError: it is there and is no token.
    """
    source, text = "--token", given
    if given and given.startswith(("/", "./")) and Path(given).exists():
        source, text = given, _read_token(Path(given))
    elif not given and os.environ.get(TOKEN_VARIABLE):
        source, text = TOKEN_VARIABLE, os.environ[TOKEN_VARIABLE]
    elif not given and settings.token_file:
        source, text = str(settings.token_file), _read_token(settings.token_file)
    elif not given and (credential := _find_credential()):
        source, text = str(credential), _read_token(credential)
    if not text or not text.strip():
        return None
    try:
        return Secret(names.parse_token(text.strip()))
    except names.BadNameError as err:
        raise ConfigError(f"{source}: {err}") from None


def _find_credential() -> Path | None:
    """Return where the service manager has put the join token; None where it has none."""
    directory = os.environ.get(CREDENTIALS, "")
    path = Path(directory, _CREDENTIAL)
    return path if directory and path.exists() else None


def _find_left_token(settings: Settings) -> Path | None:
    """Return the file of a join token that lies about yet; None for none.

    It is the admin's to remove: in the unit's sandbox /etc is read-only, and a file that the settings name may be meant
    for the next device as well.
    """
    from edge_agent.policy.layout import Layout

    for path, source in ((settings.token_file, settings.token_file), (_find_credential(), Path(Layout().token))):
        try:
            if path and _read_token(path).strip():
                return source
        except ConfigError:
            continue  # of no matter: nobody wants to join by it
    return None


def _read_token(path: Path) -> str:
    try:
        with path.open() as file:
            return file.read(_TOKEN_MAX)
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read: {getattr(err, 'strerror', None) or err}") from None


def find_joined(data_dir: Path) -> Joined | None:
    """Return what was settled when the device joined; None where it has not. Raises `IdentityError`."""
    identity = DataDirectory(data_dir).load()
    return Joined(identity.controller, identity.granted.name) if identity else None


def start(settings: Settings, token: str | None, *, rejoin: bool = False) -> None:
    """Make this device a node, where it is none, and hand over to `serve`, in the same process begun anew.

    Args:
        settings: what it runs by.
        token: the join token, or the path of a file that holds it.
        rejoin: whether to join also where that is done already, with the keys that are there.

    It returns where it was told to stop before.

    Raises:
        ConfigError, HandoverError, IdentityError, StartError: it cannot be run; the message is for the person.
    """
    directory = DataDirectory(settings.data_dir)
    directory.claim()
    identity = directory.load()
    if identity is None or rejoin:
        if _become_node(settings, token, directory, rejoin=rejoin):
            begin_anew()  # the settings say more now: of what was granted
        return
    if identity.granted.pending:
        if _wait_for_approval(settings, identity, directory):
            begin_anew()
        return
    if shows_token():
        _log.warning("the join token has no effect: this device has joined already (%s)", settings.data_dir)
    if left := _find_left_token(settings):
        _log.warning("%s: this device has joined, and needs the join token no more: remove that file", left)
    _say_what_is_unheeded(settings, identity)
    _keep_controller(settings, identity, directory)
    hand_over(settings)


def serve(settings: Settings) -> None:
    """Serve as the node that this device is, until told to stop. Raises `IdentityError`, `StartError`."""
    from protocol.ssh.lean import load_asyncssh

    memory.share_arena()
    load_asyncssh(without_openssl=True)  # before anything that brings asyncio, and Python's own OpenSSL with it
    from edge_agent.station import take_station

    station = take_station(settings.data_dir)
    directory = DataDirectory(settings.data_dir)
    directory.claim()
    identity = directory.load()
    if identity is None or identity.granted.pending:
        raise StartError(f"{settings.data_dir} holds no identity any more: start again")
    _serve_as(settings, identity, station)
    directory.release()


def _say_what_is_unheeded(settings: Settings, identity: Identity) -> None:
    granted = identity.granted
    for line in unheeded(
        nodename=settings.nodename, labels=settings.labels, has_name=granted.name, has_labels=granted.labels
    ):
        _log.warning("%s", line)


def _keep_controller(settings: Settings, identity: Identity, directory: DataDirectory) -> None:
    """Note a controller that was said to be elsewhere, so that it need not be said again."""
    if identity.controller != settings.controller:
        try:
            directory.keep_controller(identity, settings.controller)
        except OSError as err:
            _log.warning("cannot note that the controller is at %s: %s", settings.web_address, err.strerror)


def _become_node(settings: Settings, given: str | None, directory: DataDirectory, *, rejoin: bool) -> bool:
    """Join. False where the agent was told to stop before it succeeded."""
    from edge_agent.join import JoinFailed, join_patiently

    token = find_token(given, settings)
    if token is None:
        lack = "joining again needs a new token" if rejoin else f"{settings.data_dir} holds no identity"
        raise StartError(f"{lack}: say --token TOKEN (tctl tokens add --type=node)")
    if settings.insecure:
        sys.stderr.write(f"WARNING: --insecure: the certificate of {settings.web_address} is NOT checked\n")
        sys.stderr.flush()
    answer = _attend(settings, "joining", lambda tell: join_patiently(settings, token, directory, tell))
    if isinstance(answer, JoinFailed):
        if _rest(settings, f"cannot join: {answer.reason}"):
            return False
        raise StartError(f"cannot join: {answer.reason}")
    return answer is not None


def _wait_for_approval(settings: Settings, identity: Identity, directory: DataDirectory) -> bool:
    """Wait until an administrator has approved this node. False where the agent was told to stop before."""
    from edge_agent.approval import wait_for_approval

    waiting = f"waiting for an administrator's approval: tctl nodes approve {identity.granted.node_id}"
    problem = _attend(settings, waiting, lambda tell: wait_for_approval(settings.controller, identity, directory, tell))
    if problem:
        if _rest(settings, problem):
            return False
        raise StartError(problem)
    return problem is not None


def _rest(settings: Settings, problem: str) -> bool:
    """Where a service manager would start us again at once, wait a while first, and have it show the problem.

    True where the agent was told to stop meanwhile: that is no failure.
    """
    import asyncio

    async def rest(_: object) -> bool:
        from edge_agent.interruption import unless

        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await unless(stopped, asyncio.Event().wait(), _REST * (0.5 + random.random()))  # noqa: S311 - spreads devices
        return stopped.is_set()

    from edge_agent.service_manager import ServiceManager

    if not ServiceManager.from_environment().is_there:
        return False
    _log.error("%s; asking again in some minutes, or after `systemctl restart`", problem)
    return _attend(settings, problem, rest)


def _attend(
    settings: Settings, waiting: str, work: Callable[[Callable[[str], None]], Coroutine[object, object, T]]
) -> T:
    """Return what `work` returns, which is told where to say what it waits for; a service manager hears of it.

    Args:
        settings: what the agent runs by.
        waiting: what it waits for at first.
        work: what is to be done before there is a node.
    """
    import asyncio

    from edge_agent.waiting import attend

    before = signal.getsignal(signal.SIGHUP)
    try:
        return asyncio.run(attend(settings, waiting, work))
    finally:
        signal.signal(signal.SIGHUP, before)  # what `nohup` said is for the process that serves as well


def _serve_as(settings: Settings, identity: Identity, station: Station) -> None:
    import asyncio

    from edge_agent.node import run_node

    asyncio.run(run_node(settings, identity, station))
    _log.info("stopped")
