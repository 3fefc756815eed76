"""Which authenticator apps a person may add and remove.

Checks: H1 what is being set up is the person's own, and not too old; H2 its name is free; H3 there is room for one
more; H4 the one that is to go is there; H5 it is not the last: nobody could sign in without any.
That somebody who has one of them approves (an existing app's code, as Teleport has it) is proven apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from protocol import limits
from protocol.decision import Granted, Refused
from protocol.names import FactorName, UserName


class Factor(Protocol):
    """What is looked at in an authenticator app."""

    @property
    def factor_id(self) -> str:
        """Its id."""
        ...

    @property
    def name(self) -> str:
        """What the person calls it."""
        ...


class SetUp(Protocol):
    """What is looked at in an app that is being set up."""

    @property
    def user(self) -> UserName:
        """Whose it is."""
        ...

    @property
    def valid_from(self) -> datetime:
        """The user's, when it was begun: a reset ends it."""
        ...

    @property
    def expires(self) -> datetime:
        """The first instant at which it is good for nothing, UTC."""
        ...


F = TypeVar("F", bound=Factor)
S = TypeVar("S", bound=SetUp)


def decide_set_up(begun: S | None, user: UserName, valid_from: datetime, now: datetime) -> Granted[S] | Refused:
    """Decide whether what was begun may be finished (H1)."""
    if begun is None:
        return Refused("the set-up is not one of ours", "H1")
    if begun.user != user or begun.valid_from != valid_from:
        return Refused("the set-up was begun by somebody else, or before a reset", "H1")
    return Granted(begun) if now < begun.expires else Refused("the set-up was begun too long ago", "H1")


def decide_adding(factors: Sequence[Factor], name: FactorName) -> Granted[FactorName] | Refused:
    """Decide whether one more may be added under `name` (H2, H3). Names that differ in case alone are the same."""
    if any(factor.name.casefold() == name.casefold() for factor in factors):
        return Refused(f'there is a second factor named "{name}"', "H2")
    if len(factors) >= limits.FACTORS_PER_USER:
        return Refused(f"there are {len(factors)} second factors", "H3")
    return Granted(name)


def decide_removing(factors: Sequence[F], factor_id: str) -> Granted[F] | Refused:
    """Decide whether one may be removed (H4, H5)."""
    found = next((factor for factor in factors if factor.factor_id == factor_id), None)
    if found is None:
        return Refused("there is no such second factor", "H4")
    return Granted(found) if len(factors) > 1 else Refused("it is the only second factor", "H5")
