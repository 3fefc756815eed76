"""The agent as one process: identity first, then the tunnel, the SSH server and the reporter, until told to stop."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from edge_agent import memory
from edge_agent.config import ConfigError, Joined, Settings
from edge_agent.identity import DataDirectory, Identity
from edge_agent.policy.wish import unheeded
from protocol import names
from protocol.names import TokenText
from protocol.secret import Secret

_log = logging.getLogger("skerry.agent")
_TOKEN_MAX = 4096
TOKEN_VARIABLE = "SKERRY_TOKEN"  # noqa: S105 - the variable's name


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


def serve(settings: Settings, token: str | None) -> int:
    """Run the agent. Returns the exit code.

    Raises:
        ConfigError, IdentityError, StartError: it cannot be run; the message is for the person.
    """
    directory = DataDirectory(settings.data_dir)
    directory.claim()
    identity = directory.load()
    if identity is None:
        if not _become_node(settings, token, directory):
            return 0
        _begin_anew()
    if _shows_token():
        _log.warning("the join token has no effect: this device has joined already (%s)", settings.data_dir)
        _begin_anew()
    _say_what_is_unheeded(settings, identity)
    _keep_controller(settings, identity, directory)
    _serve_as(settings, identity)
    directory.release()
    return 0


def _shows_token() -> bool:
    """Tell whether a join token can be read off this process by others."""
    arguments = sys.orig_argv[1:]
    return TOKEN_VARIABLE in os.environ or without_token(arguments) != arguments


def _begin_anew() -> NoReturn:
    """Begin again as the same process, without what joining needed: TLS above all, and the token."""
    os.environ.pop(TOKEN_VARIABLE, None)
    os.execv(sys.executable, [sys.executable, *without_token(sys.orig_argv[1:])])  # noqa: S606 - our own command line


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


def without_token(arguments: Sequence[str]) -> list[str]:
    """Return a command line without its join token, which may be good for others still: `ps` shows it to everyone."""
    kept: list[str] = []
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if "--token" not in (before, argument) and not argument.startswith("--token="):
            kept.append(argument)
    return kept


def _become_node(settings: Settings, given: str | None, directory: DataDirectory) -> bool:
    """Join. False where the agent was told to stop before it succeeded."""
    import asyncio

    from edge_agent.join import JoinFailed, join_patiently

    token = find_token(given, settings)
    if token is None:
        raise StartError(f"{settings.data_dir} holds no identity: say --token TOKEN (tctl tokens add --type=node)")
    if settings.insecure:
        sys.stderr.write(f"WARNING: --insecure: the certificate of {settings.web_address} is NOT checked\n")
        sys.stderr.flush()
    answer = asyncio.run(join_patiently(settings, token, directory))
    if isinstance(answer, JoinFailed):
        raise StartError(f"cannot join: {answer.reason}")
    return answer is not None


def _serve_as(settings: Settings, identity: Identity) -> None:
    memory.share_arena()
    from protocol.ssh.lean import load_asyncssh

    load_asyncssh(without_openssl=True)
    import asyncio

    from edge_agent.node import run_node

    asyncio.run(run_node(settings, identity))
    _log.info("stopped")
