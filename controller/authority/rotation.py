"""How far the replacement of an authority's key has come, and what each phase makes of its keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast, get_args

from controller.authority.error import AuthorityError
from controller.authority.keys import AuthorityKey, instant_text
from controller.policy.rotation import PHASES, Phase, is_old_serving
from protocol.endorsement import Succession, plain_key
from protocol.events import Json
from protocol.fields import MessageError
from protocol.instants import parse_instant

# The recording key has no phases: whatever was locked with an older one opens for ever.
RotatableKind = Literal["user", "host", "tls"]
ROTATABLE_KINDS: tuple[RotatableKind, ...] = get_args(RotatableKind)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Where an authority stands.

    Attributes:
        phase: `standby` between rotations.
        started: when the rotation under way began; None in standby.
        changed: when the phase was entered; None where there never was a rotation.
        finished: when the last rotation was carried through; None for never.
        new, old: the ids of the keys between which it turns; empty in standby.
    """

    phase: Phase = "standby"
    started: datetime | None = None
    changed: datetime | None = None
    finished: datetime | None = None
    new: str = ""
    old: str = ""

    def to_value(self) -> dict[str, Json]:
        """Return the JSON object."""
        instants = {"started": self.started, "changed": self.changed, "finished": self.finished}
        texts: dict[str, Json] = {key: instant_text(value) if value else None for key, value in instants.items()}
        return {"phase": self.phase, "new": self.new, "old": self.old, **texts}


def read_rotation(kind: str, value: Mapping[str, Json]) -> Rotation:
    """Return where an authority stands; one whose record says nothing was never rotated. Raises `AuthorityError`."""
    if "rotation" not in value:
        return Rotation()
    try:
        fields = cast("Mapping[str, Any]", value["rotation"])
        instants = {
            key: parse_instant(fields[key]) if fields[key] else None for key in ("started", "changed", "finished")
        }
        phase = PHASES[PHASES.index(fields["phase"])]
        return Rotation(phase, new=str(fields["new"]), old=str(fields["old"]), **instants)
    except (KeyError, TypeError, ValueError) as err:
        raise AuthorityError(f"the store's record of the {kind} authority is damaged: no rotation") from err


def read_successions(value: Mapping[str, Json]) -> tuple[Succession, ...]:
    """Return what each of an authority's keys has signed for the next, oldest first. Raises `AuthorityError`."""
    try:
        entries = cast("list[Json]", value.get("successions", []))
        return tuple(Succession.from_dict(entry) for entry in entries)
    except (MessageError, TypeError) as err:
        raise AuthorityError("the store's record of the host authority is damaged: no successions") from err


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store keeps of an authority that can be rotated. The keys stand with the signing one first."""

    keys: tuple[AuthorityKey, ...]
    rotation: Rotation
    successions: tuple[Succession, ...] = ()

    def to_value(self) -> dict[str, Json]:
        """Return the store's value."""
        return {
            "keys": [key.to_dict() for key in self.keys],
            "rotation": self.rotation.to_value(),
            "successions": [succession.to_dict() for succession in self.successions],
        }

    def key(self, key_id: str) -> AuthorityKey:
        """Return the key of that id. Raises `AuthorityError` where the record lacks it."""
        for key in self.keys:
            if key.key_id == key_id:
                return key
        raise AuthorityError("the store's record of an authority is damaged: a key of its rotation is missing")

    @property
    def server_key(self) -> AuthorityKey:
        """The key that signs what servers present."""
        return self.key(self.rotation.old) if is_old_serving(self.rotation.phase) else self.keys[0]


def begin(standing: Standing, new: AuthorityKey, now: datetime) -> Standing:
    """Return the standing in the phase init: `new` is trusted, and signs nothing yet."""
    old = standing.keys[0]
    rotation = Rotation("init", now, now, standing.rotation.finished, new.key_id, old.key_id)
    return replace(standing, keys=(old, replace(new, state="trusted")), rotation=rotation)


def enter(standing: Standing, phase: Phase, now: datetime) -> Standing:
    """Return the standing in a `phase` after init; whether it may be entered was judged before."""
    rotation = replace(standing.rotation, phase=phase, changed=now)
    if phase == "standby":
        return _finish(standing, now)
    first = rotation.old if phase == "rollback" else rotation.new
    return replace(standing, keys=_led_by(standing.keys, first), rotation=rotation)


def _led_by(keys: Sequence[AuthorityKey], first: str) -> tuple[AuthorityKey, ...]:
    """Return `keys` where the one of the id `first` signs, and stands first, and the others are trusted."""
    states = [replace(key, state="active" if key.key_id == first else "trusted") for key in keys]
    return tuple(sorted(states, key=lambda key: key.state != "active"))


def _finish(standing: Standing, now: datetime) -> Standing:
    """Drop every key but the signing one; of a rotation that was rolled back, the word for its new key too."""
    was = standing.rotation
    finished = was.finished if was.phase == "rollback" else now
    gone = {plain_key(key.public) for key in standing.keys[1:]} if was.phase == "rollback" else set()
    successions = tuple(step for step in standing.successions if plain_key(step.new) not in gone)
    return Standing(standing.keys[:1], Rotation(changed=now, finished=finished), successions)
