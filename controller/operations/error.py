"""What ends an operation."""

from __future__ import annotations


class OperationError(Exception):
    """It could not be done; the message is one line with what to do. What was there is as it was."""
