"""The error of the broker's subpackage."""

from __future__ import annotations


class BrokerError(Exception):
    """The broker cannot be set up; the message is one line with what failed and what to do."""
