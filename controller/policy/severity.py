"""How grave what is logged must be at least."""

from __future__ import annotations

SEVERITIES = ("DEBUG", "INFO", "WARN", "ERROR")


def parse_severity(text: str) -> str:
    """Return one of `SEVERITIES`; any case will do, and WARNING for WARN. Raises `ValueError`."""
    severity = text.upper().replace("WARNING", "WARN")
    if severity not in SEVERITIES:
        raise ValueError(f"should be one of {', '.join(SEVERITIES)}")
    return severity
