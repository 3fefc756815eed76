"""The step from the agent to a program that it runs for somebody: what is left behind there.

The agent's unit puts it into a sandbox made of namespaces: it sees a file system that it cannot write, and a /tmp of
its own. The programs it runs for people are to see the device as it is, so each leaves the sandbox, in its own process
and before it becomes the user, for the namespaces of process 1 (setns(2), namespaces(7)); see docs/adr/0014.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import subprocess
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# <linux/sched.h>: CLONE_NEWNS and CLONE_NEWIPC, by the names that /proc gives them.
_KINDS = {"mnt": 0x00020000, "ipc": 0x08000000}
_OOM = Path("/proc/self/oom_score_adj")
# Enough for some thousand pipes: three each session, one each connection that is forwarded.
_FILES = 8192
_PROBLEM_MAX = 512
# Where a file is seen by the agent and by people's programs alike, and everybody may have one: unless the agent's unit
# gives it a /tmp of its own.
SHARED = Path("/tmp")  # noqa: S108 - it is for mkdtemp
# What is said where it fails, and what is done.
Step = tuple[str, Callable[[], object]]

_setns = ctypes.PyDLL(None, use_errno=True).setns


class ThresholdError(OSError):
    """A program could not be brought over. `strerror` says where it failed, and why."""


@dataclass(frozen=True, slots=True)
class Person:
    """As whom a program runs: user, group, and all groups it is in."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Belongings:
    """What the agent was started with, and its programs are to have as well.

    Attributes:
        files: how many files may be open, soft and hard.
        spared: whether the agent is to be spared where memory runs out, which no program of somebody's is.
    """

    files: tuple[int, int]
    spared: bool


def take_more() -> Belongings:
    """Have the agent itself open more files than its programs may; return what they are to have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return Belongings((soft, hard), spared=_is_spared())


def _is_spared() -> bool:
    with suppress(OSError, ValueError):
        return int(_OOM.read_text("ascii")) < 0
    return False


class Threshold:
    """One for an agent: brings programs over.

    Attributes:
        as_root: whether they become somebody else.
    """

    def __init__(self, belongings: Belongings | None = None, *, is_service: bool = False) -> None:
        """Take note of what programs are to have, and whether a service manager has put the agent into its place.

        Elsewhere, as in a container, process 1 may be none of our business: then there is nothing to leave.
        """
        self.as_root = os.geteuid() == 0
        self._belongings = belongings
        self._is_service = is_service

    def cross(  # noqa: PLR0913 - each is one thing that a program starts with
        self,
        argv: tuple[str, ...],
        path: str,
        *,
        person: Person,
        directory: str,
        environment: dict[str, str],
        streams: tuple[int, int, int],
        on_terminal: bool,
    ) -> subprocess.Popen[bytes]:
        """Start the program at `path`.

        Args:
            argv: its arguments, its own name first.
            path: the executable.
            person: who it is to be; where the agent is not root it stays who it is.
            directory: where it starts.
            environment: the whole of it.
            streams: its standard input, output and error.
            on_terminal: whether standard input is a terminal that is to be its controlling one.

        Raises:
            OSError: it could not be; `ThresholdError` where it could not be brought out of the agent's sandbox, or
                could not become the person: it has not run then.
        """
        exits = self._open_exits() if self.as_root else []
        problem, telling = os.pipe2(os.O_CLOEXEC)
        steps = self._steps(exits, person, directory, on_terminal=on_terminal)
        try:
            return subprocess.Popen(
                argv,
                executable=path,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                env=environment,
                umask=0o022,
                start_new_session=True,
                # Namespaces, users and terminals are changed by calls made in the new process, in an order that
                # `subprocess` does not know; all that they need is at hand before it is made.
                preexec_fn=partial(_carry_out, steps, telling),  # noqa: PLW1509 - see above
            )
        except subprocess.SubprocessError:
            os.close(telling)
            telling = -1
            raise _read_problem(problem) from None
        finally:
            for fd in (problem, telling, *(fd for fd, _ in exits)):
                if fd >= 0:
                    os.close(fd)

    def _open_exits(self) -> list[tuple[int, int]]:
        """Return those of process 1 that are not ours: a descriptor and a kind each. Raises `ThresholdError`."""
        found: list[tuple[int, int]] = []
        try:
            for name, kind in _KINDS.items():
                if _is_other(name):
                    found.append((os.open(f"/proc/1/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind))
        except OSError as err:
            for fd, _ in found:
                os.close(fd)
            if isinstance(err, PermissionError) and not self._is_service:
                return []
            problem = f"cannot find the way out of the agent's sandbox: {err.strerror}"
            raise ThresholdError(err.errno, problem) from None
        return found

    def _steps(self, exits: list[tuple[int, int]], person: Person, directory: str, *, on_terminal: bool) -> list[Step]:
        """Return what the new process does before it runs the program, each with what is said where it fails."""
        steps: list[Step] = []
        if on_terminal:
            steps.append(("cannot take its terminal", partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0)))
        if self._belongings:
            steps.append(("cannot give back what is the agent's", partial(_give_back, self._belongings)))
        steps += [("cannot leave the agent's sandbox", partial(_leave, *way)) for way in exits]
        steps.append((f"cannot change to {directory}", partial(os.chdir, directory)))
        if self.as_root:
            steps.append(("cannot become the user", partial(_become, person)))
        return steps


def _is_other(name: str) -> bool:
    theirs, ours = Path(f"/proc/1/ns/{name}").stat(), Path(f"/proc/self/ns/{name}").stat()
    return (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino)


def _carry_out(steps: list[Step], telling: int) -> None:
    """Do what is to be done in the new process. Where that fails, say why, and raise: the program is not run."""
    for problem, step in steps:
        try:
            step()
        except OSError as err:
            os.write(telling, f"{err.errno} {problem}: {err.strerror}".encode()[:_PROBLEM_MAX])
            raise


def _read_problem(problem: int) -> ThresholdError:
    number, _, text = os.read(problem, _PROBLEM_MAX).decode("utf-8", "replace").partition(" ")
    return ThresholdError(int(number or 0), text or "cannot be brought out of the agent's sandbox")


def _leave(fd: int, kind: int) -> None:
    if _setns(fd, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _give_back(belongings: Belongings) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, belongings.files)
    if belongings.spared:
        _OOM.write_text("0", "ascii")


def _become(person: Person) -> None:
    os.setgroups(person.groups)
    os.setgid(person.gid)  # from root, the real, the effective and the saved one at once
    os.setuid(person.uid)
