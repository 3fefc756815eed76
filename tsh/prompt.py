"""Asking a person for a secret: at the terminal, or as lines of standard input where there is none."""

from __future__ import annotations

import sys

from protocol import limits
from tsh.error import TshError


def ask_hidden(question: str) -> str:
    """Ask without showing what is typed, and return it."""
    return _ask(question, hidden=True)


def ask_shown(question: str) -> str:
    """Ask, show what is typed, and return it."""
    return _ask(question, hidden=False)


def _ask(question: str, *, hidden: bool) -> str:
    at_terminal = sys.stdin.isatty()
    while True:
        sys.stderr.write(f"{question}\n")
        sys.stderr.flush()
        try:
            answer = _read_hidden() if hidden and at_terminal else _read_line()
        except EOFError:
            raise TshError(f"{question} nothing was entered") from None
        if answer or not at_terminal:  # an empty line at a terminal is a slip, and would count as a failure
            return answer


def _read_hidden() -> str:
    from getpass import getpass

    return getpass("")


def _read_line() -> str:
    line = sys.stdin.readline(4 * limits.PASSWORD_MAX_CHARS)
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
