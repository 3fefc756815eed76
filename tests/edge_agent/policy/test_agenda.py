from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.agenda import Agenda
from edge_agent.policy.turn import FRESH, Nothing, Progress, Standing, Upload, Wait, decide_next
from edge_agent.policy.upload import Order, RecordingSettings
from protocol.names import SessionId

NOON = datetime(2026, 11, 22, 12)  # noqa: DTZ001 - the device's wall clock
USUAL = RecordingSettings()


@dataclass(frozen=True)
class Kept:
    session: SessionId
    size: int = 1000
    modified: float = 0.0
    is_live: bool = False


def kept(name: str, modified: float = 0.0) -> Kept:
    return Kept(SessionId(name), modified=modified)


@dataclass
class Both:
    """An agenda, and beside it all that was put into it."""

    settings: RecordingSettings
    agenda: Agenda[Kept] = field(init=False)
    waiting: dict[SessionId, Kept] = field(default_factory=dict)
    progress: dict[SessionId, Progress] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.agenda = Agenda(self.settings)

    def put(self, one: Kept) -> None:
        self.agenda.put(one)
        self.waiting[one.session] = one

    def drop(self, session: SessionId) -> None:
        self.agenda.drop(session)
        self.waiting.pop(session, None)
        self.progress.pop(session, None)

    def advance(self, session: SessionId, known: Progress) -> None:
        if session in self.waiting:
            self.agenda.advance(session, known)
            self.progress[session] = known

    def check(self, now: float) -> None:
        among_all = decide_next(self.waiting.values(), self.progress, self.settings, now=now, local=NOON)
        assert self.agenda.choose(now=now, local=NOON) == among_all
        assert len(self.agenda) == len(self.waiting)
        assert self.agenda.has_live == any(one.is_live for one in self.waiting.values())


NAMES = st.sampled_from([SessionId(name) for name in "abcdef"])
KNOWN = st.builds(
    Progress,
    has_begun=st.booleans(),
    is_missing=st.booleans(),
    standing=st.sampled_from([None, Standing(0), Standing(1000), Standing(1000, "complete", "ab" * 32)]),
    refusal=st.sampled_from(["", "no"]),
    not_before=st.sampled_from([0.0, 1.0, 5.0, 20.0]),
    turn=st.integers(0, 9),
)
# What ends does not begin again, and is not written any more.
ACTS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.booleans(), st.sampled_from([0, 1000])),
    st.tuples(st.just("drop"), NAMES),
    st.tuples(st.just("advance"), NAMES, KNOWN),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 4.0, 16.0])),
)


@given(st.lists(ACTS, max_size=40), st.sampled_from(["newest", "oldest"]))
def test_it_chooses_as_if_it_looked_at_all(acts: list[tuple[str, ...]], order: Order) -> None:
    both, now = Both(RecordingSettings(upload_order=order)), 0.0
    for act in acts:
        match act:
            case ("put", session, is_live, size):
                before = both.waiting.get(SessionId(session))
                live = bool(is_live) and (before is None or before.is_live)
                both.put(Kept(SessionId(session), int(size), float(ord(session) % 3), live))
            case ("drop", session):
                both.drop(SessionId(session))
            case ("advance", session, known):
                both.advance(SessionId(session), known)  # type: ignore[arg-type]  # as it was drawn
            case ("pass", seconds):
                now += float(seconds)
        both.check(now)


def test_what_waits_for_the_link_tries_again_when_it_is_back_and_what_waits_longer_does_not() -> None:
    agenda: Agenda[Kept] = Agenda(USUAL)
    for name, moment in (("soon", 130.0), ("late", 900.0)):
        agenda.put(kept(name))
        agenda.advance(SessionId(name), Progress(not_before=moment))
    assert agenda.choose(now=100.0, local=NOON) == Wait(30.0)
    agenda.hasten(100.0)
    assert agenda.choose(now=100.0, local=NOON) == Upload(SessionId("soon"))
    assert agenda.progress(SessionId("late")).not_before == 900.0


def test_what_is_gone_is_forgotten_with_all_that_was_known_of_it() -> None:
    agenda: Agenda[Kept] = Agenda(USUAL)
    one = kept("a")
    agenda.put(one)
    agenda.advance(one.session, Progress(turn=7))
    assert agenda.find(one.session) is one
    agenda.drop(one.session)
    agenda.drop(one.session)
    assert agenda.find(one.session) is None
    assert agenda.progress(one.session) is FRESH
    assert agenda.choose(now=0.0, local=NOON) == Nothing()


@dataclass(frozen=True)
class Counted(Kept):
    """Counts how often somebody asks for its size, as whoever judges it must."""

    looks: list[int] = field(default_factory=list, compare=False)

    def __getattribute__(self, name: str) -> object:
        if name == "size":
            object.__getattribute__(self, "looks").append(1)
        return object.__getattribute__(self, name)


def test_a_step_looks_at_few_however_many_wait() -> None:
    agenda: Agenda[Counted] = Agenda(USUAL)
    crowd = [Counted(SessionId(f"{number:05}"), modified=float(number)) for number in range(3000)]
    for one in crowd:
        agenda.put(one)
    known = {one.session: Progress(standing=Standing(0), not_before=1e9) for one in crowd[1500:]}
    for session, progress in known.items():
        agenda.advance(session, progress)
    agenda.choose(now=0.0, local=NOON)
    for one in crowd:
        one.looks.clear()
    for _ in range(100):
        found = agenda.choose(now=0.0, local=NOON)
        assert isinstance(found, Upload)
        agenda.advance(found.session, replace(agenda.progress(found.session), standing=Standing(1)))
    assert sum(len(one.looks) for one in crowd) < 100 * 20
    assert len(agenda._order) + len(agenda._later) <= len(crowd)


def test_one_that_is_still_written_keeps_how_far_it_is_and_comes_before_those_that_have_ended() -> None:
    agenda: Agenda[Kept] = Agenda(USUAL)
    agenda.put(replace(kept("live"), is_live=True))
    agenda.put(kept("ended"))
    agenda.advance(SessionId("live"), Progress(has_begun=True))
    assert agenda.progress(SessionId("live")).has_begun
    assert agenda.choose(now=0.0, local=NOON) == Upload(SessionId("live"))
