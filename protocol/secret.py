"""A value that does not show itself in logs, tracebacks or reprs."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Secret(Generic[T]):
    """Holds one secret value; `reveal()` is the only way to it, so each use can be searched for."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        """Compare by identity only: secrets are compared in constant time, by who needs that."""
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> str:
        message = "a Secret is not to be pickled"
        raise TypeError(message)
