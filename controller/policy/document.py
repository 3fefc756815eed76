"""The policy document's version: when there is another, and which."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime

from protocol import limits
from protocol.control import PolicyDocument


def next_version(before: int, now: datetime) -> int:
    """Return the version after `before`: seconds since 1970, or one more where that many have been given out.

    So a controller that was restored from a backup goes on above what it gave out since, at the next change.
    """
    return max(before + 1, int(now.timestamp()))


def is_plausible_version(version: int, now: datetime) -> bool:
    """Tell whether a version may have been given out by `next_version` up to now."""
    return 0 < version <= (now + limits.POLICY_AHEAD_MAX).timestamp()


def parts_of(document: PolicyDocument) -> dict[str, str]:
    """Return a digest of each part of a document: what makes it another version where it differs."""
    found = document.to_dict()
    recording = found.pop("recording")
    assert isinstance(recording, dict)  # noqa: S101 - it says so to the reader, not to mypy
    parts = {name: value for name, value in found.items() if name not in {"version", "issued", "cluster"}}
    parts["recording"] = {name: value for name, value in recording.items() if name != "time"}
    return {name: hashlib.sha256(_text(value)).hexdigest()[:16] for name, value in sorted(parts.items())}


def _text(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
