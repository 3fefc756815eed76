"""The passphrase of a backup: from a file, from the environment, or typed."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from controller.operations.error import OperationError
from controller.policy.backup import PASSPHRASE_MIN_CHARS
from protocol.secret import Secret

VARIABLE = "SKERRY_BACKUP_PASSPHRASE"
_FILE_MAX = 4096


def ask_passphrase(file: Path | None, *, is_new: bool) -> Secret[str]:
    """Return the passphrase: the first line of `file`, or what the variable says, or what somebody types.

    Args:
        file: None where no file was named.
        is_new: whether something is to be sealed with it: then it is typed twice, and must not be short.

    Raises:
        OperationError: there is none, or none that will do.
    """
    text = _from_file(file) if file is not None else os.environ.get(VARIABLE)
    if text is None:
        text = _typed(is_new=is_new)
    if not text:
        raise OperationError("the passphrase is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OperationError("the passphrase is not UTF-8 text") from None
    if is_new and len(text) < PASSPHRASE_MIN_CHARS:
        raise OperationError(
            f"the passphrase has {len(text)} characters: whoever finds the backup can try as many as they like, so "
            f"take {PASSPHRASE_MIN_CHARS} or more"
        )
    return Secret(text)


def _from_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            _require_closed(file, os.fstat(stream.fileno()).st_mode)
            data = stream.read(_FILE_MAX + 1)
        if len(data) > _FILE_MAX:
            raise OperationError(f"{file} is too large for a file that holds a passphrase")
        return data.decode().partition("\n")[0].removesuffix("\r")
    except OSError as err:
        raise OperationError(f"the passphrase cannot be read: {file}: {err.strerror or err}") from None
    except UnicodeDecodeError:
        raise OperationError(f"the passphrase cannot be read: {file} is not UTF-8 text") from None


def _require_closed(file: Path, mode: int) -> None:
    """Refuse what anybody on this host may read or change. Pipes and terminals are nobody's to look into."""
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        raise OperationError(
            f"the passphrase file {file} is open to everybody on this host (mode {stat.S_IMODE(mode):04o}): "
            f"chmod 600 {file}"
        )


def _typed(*, is_new: bool) -> str:
    if not sys.stdin.isatty():
        raise OperationError(
            f"there is no terminal to ask for the passphrase at: name a file with --passphrase-file, or set {VARIABLE}"
        )
    try:
        text = getpass.getpass("Passphrase of the backup: ")
        if is_new and getpass.getpass("Again: ") != text:
            raise OperationError("the two passphrases differ: nothing was done")
    except EOFError:
        raise OperationError("no passphrase was given") from None
    return text
