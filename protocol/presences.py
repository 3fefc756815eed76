"""What a node says of itself over MQTT: its state, and its heartbeat.

A state is a JSON object: it is rare. A heartbeat is a JSON array of numbers, in the order of `Beat`'s fields, with
the version first: it is sent every 30 seconds over links that are paid for by the byte.
"""

from __future__ import annotations

import json
import re
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal

from protocol import limits
from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, text, whole

_VERSION = 1
_INSTANCE = re.compile(r"[0-9a-f]{16}", re.ASCII)
_CHARS_MAX = 64

# stopped: the agent said goodbye; lost: the broker published the last will.
Farewell = Literal["stopped", "lost"]


def parse_instance(value: object) -> str:
    """Return the id of one run of an agent: 16 hexadecimal digits. Raises `MessageError`."""
    if not isinstance(value, str) or not _INSTANCE.fullmatch(value):
        raise MessageError("not an instance (16 hexadecimal digits)")
    return value


def _short(value: object) -> str:
    return text(value)[:_CHARS_MAX]


def _farewell(value: object) -> Farewell:
    if value == "stopped":
        return "stopped"
    if value == "lost":
        return "lost"
    raise MessageError("neither stopped nor lost")


@dataclass(frozen=True, slots=True)
class NodeState:
    """Whether an agent is there.

    Attributes:
        instance: a random id of this run of the agent: two that take turns are two devices with one identity.
        farewell: why it is not there; None while it is.
        version: the agent's.
        interval: seconds between its heartbeats.
        memory: of the device, KiB.
        disk: of the file system that holds the agent's data, MiB.
        platform: such as ``Linux aarch64``.
    """

    instance: str
    farewell: Farewell | None = None
    version: str = ""
    interval: int = 30
    memory: int = 0
    disk: int = 0
    platform: str = ""

    def encode(self) -> bytes:
        """Return the payload."""
        if self.farewell:
            return _dump({"v": _VERSION, "instance": self.instance, "farewell": self.farewell})
        return _dump(
            {
                "v": _VERSION,
                "instance": self.instance,
                "version": self.version,
                "interval": self.interval,
                "memory": self.memory,
                "disk": self.disk,
                "platform": self.platform,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> NodeState:
        """Read a payload. Raises `MessageError`."""
        found = Fields(_bounded(payload, limits.NODE_STATE_MAX))
        return cls(
            instance=found.take("instance", parse_instance),
            farewell=found.get("farewell", _farewell, None),
            version=found.get("version", _short, ""),
            interval=min(max(found.get("interval", whole, 30), 1), limits.HEARTBEAT_MAX_SECONDS),
            memory=found.get("memory", whole, 0),
            disk=found.get("disk", whole, 0),
            platform=found.get("platform", _short, ""),
        )


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat.

    Attributes:
        uptime: seconds since the device was started.
        load: the load average of the last minute, hundredths.
        memory: available, KiB.
        disk: free where the agent's data lies, MiB.
        temperature: tenths of a degree Celsius; None where there is no sensor.
        round_trip: of the link to the controller, tenths of a millisecond; None before it was measured.
        reconnects: how often the link has been made anew since the agent started.
        spool_files, spool_bytes: recordings that wait to be uploaded.
        clock_offset: milliseconds that the device's clock is ahead of the controller's (negative: behind); None where
            the controller's is not known.
        tunnel: whether the agent holds its tunnel.
        sessions: people's sessions that are open.
        policy: the version of the policy document that it goes by; 0 for none.
        generation: of its certificates.
    """

    uptime: int
    load: int
    memory: int
    disk: int
    temperature: int | None
    round_trip: int | None
    reconnects: int
    spool_files: int
    spool_bytes: int
    clock_offset: int | None
    tunnel: bool
    sessions: int
    policy: int
    generation: int

    def encode(self) -> bytes:
        """Return the payload: the version, then the fields in their order, truth as 0 and 1."""
        return _dump([_VERSION, *(int(value) if isinstance(value, bool) else value for value in astuple(self))])

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object, for people's listings."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def decode(cls, payload: bytes) -> Beat:
        """Read a payload; more values than are known here are a newer agent's. Raises `MessageError`."""
        values = _bounded(payload, limits.BEAT_MAX)
        names = [field.name for field in fields(cls)]
        if not isinstance(values, list) or len(values) <= len(names) or values[0] != _VERSION:
            raise MessageError("not a heartbeat")
        return cls(**{name: _value(name, value) for name, value in zip(names, values[1:], strict=False)})


_OPTIONAL = frozenset({"temperature", "round_trip", "clock_offset"})
_SIGNED = frozenset({"temperature", "clock_offset"})


def _value(name: str, value: object) -> Any:  # noqa: ANN401 - a number, a truth value or nothing, by the field's name
    if value is None and name in _OPTIONAL:
        return None
    if name == "tunnel" and value in (0, 1):
        return bool(value)
    if not isinstance(value, int) or isinstance(value, bool) or not (-(2**53) < value < 2**53):
        raise MessageError(f"{name}: not a whole number")
    if value < 0 and name not in _SIGNED:
        raise MessageError(f"{name}: less than nothing")
    return value


def _bounded(payload: bytes, size: int) -> object:
    if len(payload) > size:
        raise MessageError(f"larger than {size} bytes")
    return decode(payload)


def _dump(value: Json | list[Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
