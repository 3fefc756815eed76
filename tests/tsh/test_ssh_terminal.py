"""`tsh ssh` on a real pseudo-terminal: raw mode, size, escapes, and the terminal as it was afterwards."""

from __future__ import annotations

import re
import signal
import termios
from collections.abc import Iterator

import pexpect
import pytest

from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tsh_program import TshProgram

PROMPT = "ready> "
SHELL = f"PS1='{PROMPT}' exec sh -i"


def attributes(terminal: pexpect.spawn) -> list[object]:
    return list(termios.tcgetattr(terminal.child_fd))


@pytest.fixture
def shell(alice: TshProgram) -> Iterator[pexpect.spawn]:
    terminal = alice.on_terminal("ssh", "-t", "web1", SHELL, size=(31, 97))
    terminal.before_raw = attributes(terminal)
    terminal.expect_exact(PROMPT)
    yield terminal
    terminal.close(force=True)


def finish(terminal: pexpect.spawn) -> int | None:
    terminal.expect(pexpect.EOF)
    terminal.wait()
    status: int | None = terminal.exitstatus
    return status


def test_shell_at_a_terminal_gets_a_terminal_and_its_exit_status_comes_back(alice: TshProgram) -> None:
    terminal = alice.on_terminal("ssh", "web1")
    terminal.sendline("tty; exit 9")
    terminal.expect(r"/dev/pts/\d+")
    assert finish(terminal) == 9


def test_command_gets_no_terminal_unless_asked(alice: TshProgram) -> None:
    plain = alice.on_terminal("ssh", "web1", "tty")
    plain.expect_exact("not a tty")
    assert finish(plain) == 1
    asked = alice.on_terminal("ssh", "-t", "web1", "tty")
    asked.expect(r"/dev/pts/\d+")
    assert finish(asked) == 0


def test_terminal_can_be_forced_without_one_here_and_refused_with_one(alice: TshProgram) -> None:
    forced = alice.run("ssh", "-tt", "web1", "tty; stty size")
    assert re.fullmatch(rb"/dev/pts/\d+\r\n24 80\r\n", forced.stdout)
    refused = alice.on_terminal("ssh", "-T", "web1", "tty")
    refused.expect_exact("not a tty")


def test_size_and_its_changes_reach_the_node(shell: pexpect.spawn) -> None:
    shell.sendline("stty size")
    shell.expect_exact("31 97")
    shell.expect_exact(PROMPT)
    shell.sendline("trap 'echo size $(stty size)' WINCH; sleep 60 & echo wait''ing; wait; kill %1")
    shell.expect_exact("waiting")
    shell.setwinsize(44, 133)
    shell.expect_exact("size 44 133")


def test_terminal_type_and_locale_reach_the_node(shell: pexpect.spawn) -> None:
    shell.sendline("echo type=$TERM.")
    shell.expect_exact("type=xterm.")


def test_ctrl_c_goes_to_the_node(shell: pexpect.spawn) -> None:
    # The program that is to be interrupted says so itself: between two commands the key would be the shell's.
    shell.sendline("sh -c \"echo wait''ing; exec sleep 60\"")
    shell.expect_exact("waiting")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("echo status=$?.")
    shell.expect_exact("status=130.")
    shell.sendline("exit 4")
    assert finish(shell) == 4
    assert attributes(shell) == shell.before_raw


def test_tilde_dot_disconnects_and_the_terminal_is_as_before(shell: pexpect.spawn) -> None:
    assert attributes(shell) != shell.before_raw
    shell.send("\r~.")
    shell.expect_exact("Connection to web1 closed.")
    assert finish(shell) == 255
    assert attributes(shell) == shell.before_raw


def test_tilde_question_mark_helps_and_the_session_goes_on(shell: pexpect.spawn) -> None:
    shell.send("\r~?")
    shell.expect_exact("Supported escape sequences:")
    shell.sendline("echo go''es on")
    shell.expect_exact("goes on")


def test_tilde_within_a_line_and_doubled_is_a_tilde(shell: pexpect.spawn) -> None:
    shell.sendline("echo a~.b")
    shell.expect_exact("\na~.b")
    shell.expect_exact(PROMPT)
    shell.sendline("~~/x")
    shell.expect(r"/x: (Permission denied|not found)")


def test_sigterm_restores_the_terminal(shell: pexpect.spawn) -> None:
    shell.kill(signal.SIGTERM)
    assert finish(shell) == 128 + signal.SIGTERM
    assert attributes(shell) == shell.before_raw


def test_lost_connection_restores_the_terminal(proxy: SimulatedProxy, shell: pexpect.spawn) -> None:
    proxy.drop_connections()
    shell.expect_exact("Connection to web1 lost: ")
    assert finish(shell) == 255
    assert attributes(shell) == shell.before_raw


@pytest.mark.parametrize("how", ["cut", "escape"])
def test_a_full_screen_program_that_is_cut_off_leaves_the_terminal_as_it_was(
    proxy: SimulatedProxy, shell: pexpect.spawn, how: str
) -> None:
    shell.sendline("printf '\\033[?1049h\\033[?25leditor'; exec cat")
    shell.expect_exact("\x1b[?1049h\x1b[?25leditor")
    if how == "cut":
        proxy.drop_connections()
    else:
        shell.send("\r~.")
    shell.expect_exact("\x1b[?25h")
    shell.expect_exact("\x1b[?1049l")
    assert finish(shell) == 255


def test_a_program_that_ends_has_the_last_word(shell: pexpect.spawn) -> None:
    shell.sendline("printf '\\033[1m'; echo las''t; exit 5")
    shell.expect_exact("last\r\n")
    assert finish(shell) == 5
    assert shell.before == b""
