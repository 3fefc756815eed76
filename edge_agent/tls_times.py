"""When a certificate in TLS is good: judged here, by the corrected time, and not by the system's clock.

`ssl` judges everything else. Two instants are given between which the time surely is: see `edge_agent.clock`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime

from protocol import limits

# X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h), which the module `ssl` does not name.
_NO_CHECK_TIME = 0x200000


def ignore_clock(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return `context`, which then leaves the dates of certificates to `judge_dates`."""
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


def judge_dates(certificate: Mapping[str, object] | None, span: tuple[datetime, datetime]) -> str:
    """Return why a peer's certificate is not good for its dates; nothing where it is.

    Args:
        certificate: as `ssl.SSLSocket.getpeercert` has it; None or empty where none was asked for.
        span: the earliest and the latest that it can be now, UTC.
    """
    if not certificate:
        return ""
    earliest, latest = span
    begins, ends = _date(certificate, "notBefore"), _date(certificate, "notAfter")
    if latest < begins - limits.CLOCK_LEEWAY:
        return f"its certificate is not valid before {begins:%Y-%m-%dT%H:%M:%SZ}"
    if earliest >= ends:
        return f"its certificate expired at {ends:%Y-%m-%dT%H:%M:%SZ}"
    return ""


def _date(certificate: Mapping[str, object], name: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate[name])), UTC)
