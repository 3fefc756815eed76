"""An upgrade as it is kept on disk: for whoever asks how it went, and for the program that goes on with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from edge_agent.policy.layout import Kind, parse_version
from edge_agent.policy.upgrade import STAY, Phase, Plan, Standing
from protocol.events import Json
from protocol.fields import Fields, MessageError, decode, flag, text, whole
from protocol.instants import format_instant, parse_instant

RECORD_MAX = 64 * 1024
_LINE_MAX = 2000
# What `edge-agent upgrade` goes by where nobody says otherwise, in seconds.
_DRAIN, _WAIT = 300, 120


@dataclass(frozen=True, slots=True)
class Record:
    """One upgrade.

    Attributes:
        id: names it.
        began, ended: by the controller's time, as far as that is known; `ended` is None while it goes on.
        doing: what it does just now, or how it ended, for people.
    """

    id: str
    plan: Plan
    standing: Standing
    began: datetime
    ended: datetime | None = None
    doing: str = ""

    @property
    def state(self) -> str:
        """How it is: ``running``, ``done``, ``rolled_back`` or ``refused``."""
        phase = self.standing.phase
        return phase.value if phase.is_final else "running"

    def step(self, standing: Standing, doing: str, now: datetime) -> Record:
        """Return it with what it has come to by `now`."""
        ended = self.ended or now if standing.phase.is_final else None
        standing = replace(standing, reason=standing.reason[:_LINE_MAX])
        return replace(self, standing=standing, doing=doing[:_LINE_MAX], ended=ended)

    def to_dict(self) -> dict[str, Json]:
        """Return the JSON object. What is under ``plan`` is for the program that goes on with it."""
        plan, standing = self.plan, self.standing
        return {
            "id": self.id,
            "from": plan.old,
            "to": plan.new,
            "state": self.state,
            "reason": standing.reason,
            "began": format_instant(self.began),
            "ended": format_instant(self.ended) if self.ended else None,
            "phase": standing.phase.value,
            "doing": self.doing,
            "plan": {
                "kind": plan.kind,
                "drain": round(plan.drain),
                "wait": round(plan.wait),
                "stay": round(plan.stay),
                "session": plan.session,
                "was_running": plan.was_running,
                "was_online": plan.had_tunnel,
                "had_broker": plan.had_broker,
                "starts": standing.starts,
            },
        }

    def encode(self) -> bytes:
        """Return the file's content."""
        return json.dumps(self.to_dict(), indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Record:
        """Read the file's content, which may be another version's: what that did not keep yet has its usual value.

        Raises `MessageError`.
        """
        if len(data) > RECORD_MAX:
            raise MessageError(f"larger than {RECORD_MAX} bytes")
        found = Fields(decode(data))
        planned = Fields(found.take("plan", lambda value: value))
        plan = Plan(
            old=found.take("from", _version),
            new=found.take("to", _version),
            kind=planned.take("kind", _kind),
            drain=planned.get("drain", whole, _DRAIN),
            wait=planned.get("wait", whole, _WAIT),
            stay=planned.get("stay", whole, STAY),
            session=planned.get("session", text, ""),
            was_running=planned.get("was_running", flag, True),
            had_tunnel=planned.get("was_online", flag, False),
            had_broker=planned.get("had_broker", flag, False),
        )
        standing = Standing(
            found.take("phase", _phase),
            0.0,
            starts=planned.get("starts", whole, 0),
            reason=found.get("reason", text, ""),
        )
        return cls(
            id=found.take("id", text),
            plan=plan,
            standing=standing,
            began=found.take("began", parse_instant),
            ended=found.get("ended", parse_instant, None),
            doing=found.get("doing", text, ""),
        )


def _version(value: object) -> str:
    try:
        return parse_version(text(value))
    except ValueError as err:
        raise MessageError(str(err)) from None


def _kind(value: object) -> Kind:
    if value == "tree":
        return "tree"
    if value == "package":
        return "package"
    raise MessageError("neither a tree nor a package")


def _phase(value: object) -> Phase:
    try:
        return Phase(value)
    except ValueError:
        raise MessageError("not a phase of an upgrade") from None
