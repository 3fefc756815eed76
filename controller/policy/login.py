"""How often a password may be guessed.

An attempt is counted before it is judged and taken back when it succeeds. So any number of parallel
guesses, in any number of processes, get `limits.SIGN_IN_FAILURES` tries between them and not one more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from protocol import limits


@dataclass(frozen=True, slots=True)
class Attempts:
    """Tries since the last success. `locked_until` is set by the try that used up the last."""

    failures: int = 0
    locked_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """The try may be judged; `attempts` is the count with it included, to be stored first."""

    attempts: Attempts


@dataclass(frozen=True, slots=True)
class Locked:
    """The try may not be judged: nobody's may, until then."""

    until: datetime


def count_attempt(attempts: Attempts, now: datetime) -> Admitted | Locked:
    """Count one more try at `now`."""
    if attempts.locked_until is not None and now < attempts.locked_until:
        return Locked(attempts.locked_until)
    failures = 1 if attempts.locked_until is not None else attempts.failures + 1
    last = failures >= limits.SIGN_IN_FAILURES
    return Admitted(Attempts(failures, now + limits.SIGN_IN_LOCKOUT if last else None))


def take_back(attempts: Attempts) -> Attempts:
    """Return the count without one try that was counted and turned out to be right; what others failed still counts."""
    failures = max(0, attempts.failures - 1)
    return Attempts(failures, attempts.locked_until if failures >= limits.SIGN_IN_FAILURES else None)


def forget_after(now: datetime) -> datetime:
    """Return when a count that sees no further try is forgotten."""
    return now + limits.SIGN_IN_LOCKOUT


def password_problem(password: str) -> str | None:
    """Return what is wrong with a new password, in words for the person; None where it is good.

    Only the length is asked for (NIST SP 800-63B section 3.1.1.2: no rules of composition).
    """
    if len(password) < limits.PASSWORD_MIN_CHARS:
        return f"The password is too short: it needs at least {limits.PASSWORD_MIN_CHARS} characters."
    if len(password) > limits.PASSWORD_MAX_CHARS:
        return f"The password is too long: {limits.PASSWORD_MAX_CHARS} characters is the most."
    if len(set(password)) == 1:
        return "The password is one character over and over."
    return None
