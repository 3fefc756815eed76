"""The agent as one process: identity first, then, begun anew, the node at work until told to stop."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from edge_agent import memory
from edge_agent.config import ConfigError, Joined, Settings
from edge_agent.handover import TOKEN_VARIABLE, begin_anew, hand_over, shows_token
from edge_agent.identity import DataDirectory, Identity
from edge_agent.policy.wish import unheeded
from protocol import names
from protocol.names import TokenText
from protocol.secret import Secret

_log = logging.getLogger("skerry.agent")
_TOKEN_MAX = 4096


class StartError(Exception):
    """The agent cannot start. The message says what to do."""


def find_token(given: str | None, settings: Settings) -> Secret[TokenText] | None:
    """Return the join token: as given (text, or the path of a file), from the settings' file, or the environment.

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
    if not text:
        return None
    try:
        return Secret(names.parse_token(text.strip()))
    except names.BadNameError as err:
        raise ConfigError(f"{source}: {err}") from None


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
    _say_what_is_unheeded(settings, identity)
    _keep_controller(settings, identity, directory)
    hand_over(settings)


def serve(settings: Settings) -> None:
    """Serve as the node that this device is, until told to stop. Raises `IdentityError`, `StartError`."""
    memory.share_arena()
    directory = DataDirectory(settings.data_dir)
    directory.claim()
    identity = directory.load()
    if identity is None or identity.granted.pending:
        raise StartError(f"{settings.data_dir} holds no identity any more: start again")
    _serve_as(settings, identity)
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
    import asyncio

    from edge_agent.join import JoinFailed, join_patiently

    token = find_token(given, settings)
    if token is None:
        lack = "joining again needs a new token" if rejoin else f"{settings.data_dir} holds no identity"
        raise StartError(f"{lack}: say --token TOKEN (tctl tokens add --type=node)")
    if settings.insecure:
        sys.stderr.write(f"WARNING: --insecure: the certificate of {settings.web_address} is NOT checked\n")
        sys.stderr.flush()
    answer = asyncio.run(join_patiently(settings, token, directory))
    if isinstance(answer, JoinFailed):
        raise StartError(f"cannot join: {answer.reason}")
    return answer is not None


def _wait_for_approval(settings: Settings, identity: Identity, directory: DataDirectory) -> bool:
    """Wait until an administrator has approved this node. False where the agent was told to stop before."""
    import asyncio

    from edge_agent.approval import wait_for_approval

    problem = asyncio.run(wait_for_approval(settings.controller, identity, directory))
    if problem:
        raise StartError(problem)
    return problem is not None


def _serve_as(settings: Settings, identity: Identity) -> None:
    from protocol.ssh.lean import load_asyncssh

    load_asyncssh(without_openssl=True)
    import asyncio

    from edge_agent.node import run_node

    asyncio.run(run_node(settings, identity))
    _log.info("stopped")
