"""What the authority cannot do, said in words."""

from __future__ import annotations


class AuthorityError(Exception):
    """A certificate was not signed, or a key is not to be had; the message says which and what to do."""
