"""What the authority cannot do, said in words."""

from __future__ import annotations


class AuthorityError(Exception):
    """A certificate was not signed, or a key is not to be had; the message says which and what to do."""


class UnknownKeyError(AuthorityError):
    """A recording is locked with a key that this cluster does not have, and may have again from a better backup."""


class UnopenableError(AuthorityError):
    """A recording's own key does not open with the key that it names: nothing will ever open it."""


class PhaseError(AuthorityError):
    """A rotation cannot enter that phase from the one that it is in; the message names those that it can."""
