"""A person at a terminal, made up: what the recorder would see of one, with times as a person's are."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

Piece = tuple[int, bytes]
HOSTS = ("gateway-17", "edge-04", "raspberrypi", "pump-station-2", "kiosk-berlin-3", "debian", "cam-north", "node1")
USERS = ("admin", "pi", "alice", "root", "ubuntu", "operator")
_PROMPTS = (
    "\x1b]0;{user}@{host}: {cwd}\x07\x1b[01;32m{user}@{host}\x1b[00m:\x1b[01;34m{cwd}\x1b[00m{end} ",
    "\x1b]0;{user}@{host}: {cwd}\x07{user}@{host}:{cwd}{end} ",
    "{user}@{host}:{cwd}{end} ",
    "\x1b[01;32m{user}@{host}\x1b[00m:\x1b[01;34m{cwd} {end}\x1b[00m ",
    "[{user}@{host} {cwd}]{end} ",
    "bash-5.1{end} ",
    "{end} ",
)
_TOGGLES = ("\x1b[?2004h", "\x1b[?2004l\r")


class Desk:
    """One session: who sits there, where, and what the terminal has shown so far.

    Attributes:
        random: all that is left to chance comes from here.
        pieces: what was shown, and when: milliseconds since the session's start.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.pieces: list[Piece] = []
        self.user, self.host = random.choice(USERS), random.choice(HOSTS)
        self.home = "/root" if self.user == "root" else f"/home/{self.user}"
        self.cwd = "~"
        self._now = random.randrange(300, 1500)
        self._prompt = random.choice(_PROMPTS)
        self._brackets = _TOGGLES if random.random() < 0.8 else ("", "")

    def show(self, text: str, after: int = 8) -> None:
        """Show `text` at once, `after` milliseconds from now."""
        self._now += after + self.random.randrange(3)
        self.pieces.append((self._now, text.replace("\n", "\r\n").encode()))

    def show_lines(self, lines: Iterable[str], each: int = 0) -> None:
        """Show lines one after the other; with `each`, so many milliseconds apart on average."""
        if not each:
            self.show("".join(f"{line}\n" for line in lines))
            return
        for line in lines:
            self.show(f"{line}\n", self.random.randrange(2 * each))

    def wait(self, seconds: float) -> None:
        """Let a person think, about so long."""
        self._now += int(seconds * 1000 * self.random.uniform(0.5, 1.5))

    def type(self, text: str) -> None:
        """Show `text` as it is typed, key by key, at times with a slip that is put right, or completed by Tab."""
        for number, key in enumerate(text):
            self._key(key)
            if self.random.random() < 0.012:
                self._key(self.random.choice("etaoinsr"))
                self._key("\b\x1b[K")
            elif key == "/" and self.random.random() < 0.25 and len(text) - number > 4:
                self._key(text[number + 1 :])
                return

    def prompt(self) -> None:
        """Show the shell's prompt."""
        end = "#" if self.user == "root" else "$"
        line = self._prompt.format(user=self.user, host=self.host, cwd=self.cwd, end=end)
        self.show(self._brackets[0] + line, 3)

    def command(self, line: str, output: str | Iterable[str] = (), *, takes: int = 15, think: float = 2.5) -> None:
        """Type a command at the prompt that stands there, show what it prints, and prompt again."""
        self.type(line)
        self.enter()
        lines = output.splitlines() if isinstance(output, str) else list(output)
        if lines:
            self.wait(takes / 1000)
            self.show_lines(lines)
        self.prompt()
        self.wait(think)

    def enter(self) -> None:
        """Press Enter: the line ends, and bracketed paste with it."""
        self.show("\n", self.random.randrange(60, 250))
        if self._brackets[1]:
            self.show(self._brackets[1], 0)

    def leave(self) -> None:
        """End the session as a shell does."""
        self.type("exit")
        self.enter()
        self.show("exit\n" if self.random.random() < 0.5 else "logout\n")

    def redraw(self, text: str, after: int) -> None:
        """Show what a program draws, as it is."""
        self._now += after
        self.pieces.append((self._now, text.encode()))

    def _key(self, shown: str) -> None:
        self._now += int(self.random.lognormvariate(4.9, 0.5))
        self.pieces.append((self._now, shown.encode()))
