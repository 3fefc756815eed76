"""What may go wrong between a request and its answer. Apart from the client, which not every process loads."""

from __future__ import annotations


class UnreachableError(Exception):
    """No answer, or none that makes sense: worth trying again."""


class UntrustedError(Exception):
    """The controller did not prove who it is, and nothing was said to it; or it would not have our certificate.

    Attributes:
        is_by_another: whether its certificate is by another authority than those that are trusted.
    """

    def __init__(self, message: str, *, is_by_another: bool = False) -> None:
        super().__init__(message)
        self.is_by_another = is_by_another


class RefusedError(Exception):
    """The controller answered, and said no.

    Attributes:
        status: the HTTP status.
        retry_after: seconds after which it wants to hear from us again; None where it said nothing.
        is_ours: whether it said so as a controller does, and not as anything that speaks HTTP.
    """

    def __init__(self, status: int, message: str, retry_after: float | None, *, is_ours: bool = False) -> None:
        super().__init__(message)
        self.is_ours = is_ours
        self.status = status
        self.retry_after = retry_after

    @property
    def is_final(self) -> bool:
        """Whether the same request would be refused again."""
        return 400 <= self.status < 500 and self.status not in {408, 425, 429}
