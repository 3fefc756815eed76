"""A session and those who take part in it, each on an SSH channel of their own.

Whoever began it is its first party, and like any other: it goes on until the last one who may type has gone. What the
program says is shown to all, whatever one of them can take (see `edge_agent.outlet`); what is typed is given to it in
the order it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from edge_agent.child import Children, Ended, Program, TerminalSize
from edge_agent.policy.company import tell_joined, tell_joiner, tell_left
from edge_agent.policy.joining import Key, Standing, counted, read_keys, smallest
from edge_agent.recorder import Recorder
from edge_agent.seat import Seat
from edge_agent.session import HANGUP_GRACE, Session, Stream
from edge_agent.session_audit import SessionAudit
from protocol.names import Login, SessionId

if TYPE_CHECKING:
    from protocol.screen_tail import ScreenTail

# A program that a moderator ends has so many seconds to end by itself.
_END_GRACE = 2.0
# A notice waits for so many seconds for the end of what the program is in the middle of.
_MIDWAY_MAX = 0.5
# For who was behind, a program is asked to paint anew at most so often, in seconds.
_REDRAW_PAUSE = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to run.

    Attributes:
        command: the command line; empty for a shell.
        began: when, by the controller's time.
    """

    session: SessionId
    login: Login
    command: str
    program: Program
    began: datetime


@dataclass(frozen=True, slots=True)
class _Notice:
    """A line for all; `seat` is shown `own` in its place, where that is anything."""

    text: str
    seat: Seat | None = None
    own: str = ""


class Meeting:
    """One session. It is a tap of its program's: what that says goes through here to all parties.

    Attributes:
        seats: who takes part, who is there longest first.
        size: the terminal's columns and rows; None where there is no terminal.
    """

    def __init__(
        self,
        plan: Plan,
        children: Children,
        audit: SessionAudit,
        recorder: Recorder | None,
        changed: Callable[[Meeting], None],
    ) -> None:
        """Prepare it. `changed` is called when it has begun, has ended, or something of it is not as it was."""
        self.plan = plan
        self.seats: list[Seat] = []
        terminal = plan.program.terminal
        self.size: tuple[int, int] | None = terminal.size[:2] if terminal else None
        self._shown = terminal.size if terminal else None
        self._audit = audit
        self._recorder = recorder
        self._changed = changed
        self._screen: ScreenTail | None = None
        if terminal:
            from protocol.screen_tail import ScreenTail

            self._screen = ScreenTail()
        self._notices: list[_Notice] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = self._is_begun = False
        self._snapshot = b""  # of this turn, where somebody has asked for it
        self._redraw_timer: asyncio.TimerHandle | None = None
        self._redrawn_at = -_REDRAW_PAUSE
        if recorder:
            recorder.changed = self._recording_changed
        taps = (audit, recorder, self) if recorder else (audit, self)
        self._session = Session(plan.program, children, taps=taps)

    # --- beginning and end --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the program, for who is there. Raises `OSError`, `ValueError` where it cannot be."""
        try:
            self._session.start()
        except (OSError, ValueError):
            for seat in self.seats:
                seat.outlet.disconnect()
            raise
        except BaseException:
            self._session.hang_up(grace=0.0, spare=False)  # what runs must not go on with nobody to see it
            raise
        self._is_begun = True
        self._news()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._is_ending or self._session.is_over

    @property
    def is_recorded(self) -> bool:
        """Whether it is being recorded."""
        return self._recorder is not None and self._recorder.is_recording

    def _recording_changed(self) -> None:
        if self._is_begun:
            self._changed(self)

    def standing_for(self, user: str) -> Standing:
        """Return what decides whether a person may join."""
        own = sum(seat.peer.identity.user == user for seat in self.seats)
        return Standing(self.plan.login, self._screen is not None, len(self.seats), own)

    def end(self, reason: str, *, grace: float, text: str) -> None:
        """End it for all, and tell them `text`; the audit log hears the `reason`. Only the first call counts."""
        if self.is_over:
            return
        if self._screen and self._screen.is_alternate:
            self.show(self._screen.farewell())  # the program has no time to put the terminals right
        self.notice(text)
        self._hang_up(reason, grace=grace, spare=False)

    def _hang_up(self, reason: str, *, grace: float, spare: bool) -> None:
        self._is_ending = True
        self._flush_notices()
        self._audit.because(reason)
        self._session.hang_up(grace=grace, spare=spare)
        self._changed(self)

    # --- who takes part -----------------------------------------------------------------------------------------------

    def join(self, seat: Seat) -> None:
        """Have one more take part: they are shown the screen as it is, and all are told."""
        seat.outlet.show(self.snapshot())
        self.take_in(seat)
        if self._recorder:
            self._recorder.joined(seat.user)
        self._fit()
        self._audit.joined(seat.peer, seat.mode, self._names(), self.size)
        self._tell_joined(seat)
        if self._screen and self._screen.is_partial:
            self._redraw()
        self._look_at_all()
        self._news()

    def _tell_joined(self, seat: Seat) -> None:
        joined = tell_joined(seat.user, seat.mode, len(self.seats))
        own = ""
        if self.size and not seat.has_news:  # a client that takes the news says by itself how one leaves
            own = tell_joiner(joined, seat.mode, self.size[0])
        self._notices.append(_Notice(joined, seat, own))
        self._say_notices()

    def take_in(self, seat: Seat) -> None:
        """Have somebody see what is shown from now on."""
        self.seats.append(seat)
        seat.outlet.connect(self, seat.mode)

    def leave(self, seat: Seat, reason: str, *, grace: float = HANGUP_GRACE, spare: bool = True) -> None:
        """Have one go, who has closed the channel or is about to. With the last who may type, the session ends.

        Args:
            seat: who.
            reason: why, for the audit log; empty where it was their own wish.
            grace: how long the program has to end by itself, where it has to, in seconds.
            spare: whether it may live on, under `nohup`.
        """
        if seat not in self.seats:
            return
        if not self.is_over and not self._goes_on_without(seat):
            self._end_without(seat, reason, grace=grace, spare=spare)
            return
        self.seats.remove(seat)
        seat.outlet.disconnect()
        if self.is_over:
            return
        self._audit.left(seat.peer, seat.mode, self._names(), reason)
        if self._recorder:
            self._recorder.left(seat.user)
        self._fit()
        self.notice(tell_left(seat.user))
        self._look_at_all()
        self._news()

    def dismiss(self, seat: Seat, text: str, grace: float) -> None:
        """Have one go who may not stay, and tell them why. Where nobody else may type, the session ends for that."""
        if seat not in self.seats:
            seat.close(255)
        elif self.is_over or self._goes_on_without(seat):
            farewell = self._farewell(seat)
            self.leave(seat, text)
            seat.close(255, farewell, f"Skerry: {text}")
        else:
            self.end(text, grace=grace, text=f"Skerry: {text}")

    def _goes_on_without(self, seat: Seat) -> bool:
        return seat.mode != "peer" or sum(each.mode == "peer" for each in self.seats) > 1

    def _end_without(self, seat: Seat, reason: str, *, grace: float, spare: bool) -> None:
        if len(self.seats) > 1:
            self.notice(f"{tell_left(seat.user)}; nobody is left to type, and the session ends")
        self._hang_up(reason or f"{seat.user} left", grace=grace, spare=spare)

    def _names(self) -> list[str]:
        return [seat.user for seat in self.seats]

    def _look_at_all(self) -> None:
        for seat in tuple(self.seats):
            seat.outlet.look()

    # --- from the parties ---------------------------------------------------------------------------------------------

    def feed(self, seat: Seat, data: bytes) -> bool:
        """Take what somebody typed. False: enough for now, until their seat's `take_input`."""
        if seat.mode == "peer":
            return self._session.feed(data)
        match read_keys(seat.mode, data):
            case Key.LEAVE:
                farewell = self._farewell(seat)
                self.leave(seat, "")
                seat.close(0, farewell)
            case Key.END:
                text = f"ended by moderator {seat.user}"
                self.end(text, grace=_END_GRACE, text=f"Skerry: this session was {text}")
            case None:
                pass
        return True

    def _farewell(self, seat: Seat) -> bytes:
        """Return what frees somebody's terminal from what the program has made of it."""
        return self._screen.farewell() + b"\r\n" if self._screen and seat.has_terminal else b""

    def feed_end(self, seat: Seat) -> None:
        """Hear that somebody types no more."""
        if seat.mode == "peer":
            self._session.feed_end()

    def resize(self, seat: Seat, size: TerminalSize) -> None:
        """Take a new size of somebody's terminal."""
        seat.size = size
        self._fit()

    def send_signal(self, seat: Seat, name: str) -> None:
        """Send the program a signal that somebody asked for."""
        if seat.mode == "peer":
            self._session.send_signal(name)

    def _fit(self) -> None:
        """Make the terminal the smallest of all parties'."""
        wanted = smallest(counted(seat.size, seat.mode) for seat in self.seats)
        if wanted and wanted != self._shown and not self.is_over:
            self._shown = wanted
            self._session.resize(wanted)

    # --- from the program ---------------------------------------------------------------------------------------------

    def started(self, session: Session) -> None:
        """Take no notice."""

    def output(self, data: bytes, stream: Stream) -> None:
        """Show it to all."""
        self._show_all(data, stream)

    def _show_all(self, data: bytes, stream: Stream, own: tuple[Seat, bytes] | None = None) -> None:
        if self._screen:
            self._screen.add(data)
            self._snapshot = b""
        for seat in tuple(self.seats):
            seat.outlet.show(own[1] if own and seat is own[0] else data, stream)
        if self._notices:
            self._say_notices()

    def input(self, data: bytes) -> None:
        """Take no notice: one of them has sent it."""

    def resized(self, size: TerminalSize) -> None:
        """Tell all of the new size."""
        self.size = size[:2]
        if self._screen and self._screen.has_margins and not self._screen.is_midway:
            from protocol.screen_tail import ALL_LINES

            self.show(ALL_LINES)  # as a terminal does whose own size changes, which programs count on
        self._news()

    def input_ready(self) -> None:
        """Take input again."""
        for seat in tuple(self.seats):
            seat.take_input()

    def ended(self, how: Ended) -> None:
        """Tell all how it ended."""
        self._is_ending = True
        if self._redraw_timer:
            self._redraw_timer.cancel()
        self._flush_notices()
        seats, self.seats = tuple(self.seats), []
        for seat in seats:
            seat.end(how)
        self._changed(self)

    # --- what is shown beside -----------------------------------------------------------------------------------------

    def show(self, data: bytes, stream: Stream = "output", *, own: tuple[Seat, bytes] | None = None) -> None:
        """Show all what is not the program's, and have it on record; one of them perhaps their `own` in its place."""
        if self._recorder:
            self._recorder.output(data, stream)
        self._show_all(data, stream, own)

    def notice(self, text: str) -> None:
        """Tell all something, on a line of its own, as soon as that cuts nothing of the program's in two."""
        self._notices.append(_Notice(text))
        self._say_notices()

    def _say_notices(self) -> None:
        if self._screen is None or not self._screen.is_midway:
            self._flush_notices()
        elif self._notices and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_MIDWAY_MAX, self._flush_notices)

    def _flush_notices(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        notices, self._notices = self._notices, []
        for notice in notices:
            if self._screen:
                line = self._line(self._screen, notice.text)
                own = (notice.seat, self._line(self._screen, notice.own)) if notice.seat and notice.own else None
                self.show(line, own=own)
            else:
                self.show(f"{notice.text}\n".encode(errors="replace"), "error")

    def _line(self, screen: ScreenTail, text: str) -> bytes:
        """Return a line among others; on a screen that a program has for itself, one in place of its first."""
        said, whole = text.encode(errors="replace"), b"\x18" if screen.is_midway else b""
        if self.size is None or not screen.is_alternate:
            return whole + b"\r\n" + said + b"\r\n"
        return whole + b"\x1b7\x1b[H\x1b[0;7m" + said[: self.size[0]] + b"\x1b[K\x1b8"

    def snapshot(self) -> bytes:
        """Return what makes a terminal show what the others see."""
        if self._screen and not self._snapshot:
            self._snapshot = self._screen.snapshot()
            asyncio.get_running_loop().call_soon(self._forget_snapshot)  # several may ask in one turn
        return self._snapshot

    def _forget_snapshot(self) -> None:
        self._snapshot = b""

    def catch_up(self) -> bytes:
        """Return the same, and have the program paint anew what is not in it: soon, though not over and over."""
        if self._screen and self._screen.is_partial and self._redraw_timer is None:
            loop = asyncio.get_running_loop()
            self._redraw_timer = loop.call_at(max(loop.time(), self._redrawn_at + _REDRAW_PAUSE), self._redraw)
        return self.snapshot()

    def _redraw(self) -> None:
        if self._redraw_timer:
            self._redraw_timer.cancel()
        self._redraw_timer, self._redrawn_at = None, asyncio.get_running_loop().time()
        self._session.redraw()

    def _news(self) -> None:
        """Tell whoever lists sessions, and the clients that asked for it."""
        if not self._is_begun:
            return
        self._changed(self)
        wanting = [seat for seat in self.seats if seat.has_news]
        if wanting and self.size:
            from protocol.joining import PartyNews, SessionNews

            parties = tuple(PartyNews(seat.peer.identity.user, seat.mode) for seat in self.seats)
            news = SessionNews(self.plan.session, self.size, parties).encode()
            for seat in wanting:
                seat.outlet.tell(news)

    # --- for the outlets ----------------------------------------------------------------------------------------------

    @property
    def is_shared(self) -> bool:
        """Whether several take part."""
        return len(self.seats) > 1

    def hold(self, holder: object) -> None:
        """Have the program wait until `holder` has released it."""
        self._session.hold(holder)

    def release(self, holder: object) -> None:
        """Take back a `hold`."""
        self._session.release(holder)
