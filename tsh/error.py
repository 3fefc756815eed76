"""The one error that ends a command with a message instead of a traceback."""

from __future__ import annotations


class TshError(Exception):
    """A command cannot go on.

    Its text says what was being done, what went wrong and what to do next.

    Attributes:
        status: the exit status; 255 where an SSH client would say that it failed itself.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def describe_missing(package: str | None) -> str:
    """Return the message of a program that was installed without a package it needs."""
    return f"the Python package {package} is not installed; install tsh again: pip install -r requirements/tsh.txt"


class NotSignedInError(TshError):
    """There is no valid sign-in for what was asked, and logging in would mend it."""


def not_signed_in(proxy: str | None = None, user: str | None = None) -> NotSignedInError:
    """Return the error of somebody who is signed in nowhere, or not at `proxy`: it names what to type."""
    where = f" at {proxy}" if proxy else ""
    return NotSignedInError(
        f"Not logged in{where}; log in with: tsh login --proxy={proxy or 'HOST'} --user={user or 'USER'}"
    )
