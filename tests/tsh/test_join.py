"""`tsh join` on a real pseudo-terminal, and without one, against a real SSH server that knows joining."""

from __future__ import annotations

import signal
import termios
from collections.abc import Callable, Iterator

import pexpect
import pytest

from protocol.joining import MODE_VARIABLE, NO_SUCH_SESSION, SESSION_VARIABLE
from tests.harness.simulated_company import READY, SimulatedCompany, company_on
from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tape import NOON, Tape
from tests.harness.tsh_program import TIMEOUT, TshProgram
from tests.tsh.conftest import ME
from tests.tsh.going_on import OTHER, SESSION, session_on

Join = Callable[..., pexpect.spawn]


@pytest.fixture
def company(proxy: SimulatedProxy) -> Iterator[SimulatedCompany]:
    """A session of bob's on web1, which the cluster knows of."""
    with company_on(proxy, proxy.nodes[0]) as found:
        found.sessions.add(SESSION)
        proxy.sessions.append(session_on(proxy.nodes[0], ME))
        yield found


@pytest.fixture
def join(company: SimulatedCompany, alice: TshProgram) -> Iterator[Join]:
    """Join it on a terminal, and wait until its screen is shown."""
    begun: list[pexpect.spawn] = []

    def begin(*arguments: str) -> pexpect.spawn:
        terminal = alice.on_terminal("join", *arguments, size=(31, 97))
        terminal.before_raw = attributes(terminal)
        begun.append(terminal)
        terminal.expect_exact(company.screen.strip())
        return terminal

    yield begin
    for terminal in begun:
        terminal.close(force=True)


def attributes(terminal: pexpect.spawn) -> list[object]:
    return list(termios.tcgetattr(terminal.child_fd))


def finish(terminal: pexpect.spawn) -> int | None:
    terminal.expect(pexpect.EOF)
    terminal.wait()
    status: int | None = terminal.exitstatus
    return status


# --- on a terminal ---


def test_who_joins_is_an_observer_unless_they_say_otherwise(company: SimulatedCompany, join: Join) -> None:
    terminal = join(SESSION)
    said = terminal.before.decode()
    assert said.startswith(f"Skerry > Joining {SESSION} on web1 ({ME}) as observer\r\nSkerry > Controls\r\n")
    assert "  - CTRL-C: Leave the session\r\n" in said
    assert "t: " not in said
    (joined,) = company.joined
    assert (joined.login, joined.sizes) == (ME, [(97, 31)])
    assert joined.environment == {SESSION_VARIABLE: SESSION, MODE_VARIABLE: "observer"}


def test_an_observer_leaves_with_ctrl_c_and_the_terminal_is_as_before(company: SimulatedCompany, join: Join) -> None:
    terminal = join(SESSION)
    assert attributes(terminal) != terminal.before_raw
    terminal.send("ls\r")
    terminal.sendintr()
    assert finish(terminal) == 0
    assert attributes(terminal) == terminal.before_raw
    assert company.joined[0].typed == b"ls\r\x03"  # the node is who passes keys over: so it is for every client


def test_the_size_of_an_observers_terminal_is_told_when_it_changes(company: SimulatedCompany, join: Join) -> None:
    terminal = join(SESSION)
    terminal.setwinsize(20, 60)
    terminal.expect_exact("size 60 20")
    assert company.joined[0].sizes == [(97, 31), (60, 20)]


def test_a_peer_types_and_ctrl_c_is_the_programs(join: Join) -> None:
    terminal = join("--mode", "peer", SESSION)
    terminal.send("l")
    terminal.expect_exact("<l>")
    terminal.sendintr()
    terminal.expect_exact("<\x03>")
    terminal.send("\r")
    terminal.expect_exact("<\r>")
    terminal.send("~.")
    terminal.expect_exact("You left; the session goes on")
    assert finish(terminal) == 0
    assert attributes(terminal) == terminal.before_raw


def test_a_moderator_ends_the_session(join: Join) -> None:
    terminal = join("--mode=moderator", SESSION)
    assert b"  - t: Forcefully terminate the session, for all\r\n" in terminal.before
    terminal.send("t")
    assert finish(terminal) == 128 + signal.SIGHUP
    assert attributes(terminal) == terminal.before_raw


@pytest.mark.parametrize("mode", ["observer", "peer", "moderator"])
def test_tilde_question_mark_says_which_keys_there_are(join: Join, mode: str) -> None:
    terminal = join(f"--mode={mode}", SESSION)
    terminal.send("~?")
    terminal.expect_exact("Supported escape sequences:")
    terminal.expect_exact(f"You are here as {mode}:\r\n")
    if mode != "peer":
        terminal.expect_exact(" CTRL-C - Leave the session\r\n")
    if mode == "moderator":
        terminal.expect_exact(" t      - Forcefully terminate the session, for all\r\n")
    terminal.expect_exact(" ~.     - Leave the session")


def test_who_leaves_a_full_screen_program_gets_the_terminal_back(company: SimulatedCompany, join: Join) -> None:
    company.screen = "\x1b[?1049h\x1b[?1000h\x1b[?25lan editor"
    terminal = join(SESSION)
    terminal.sendintr()
    terminal.expect_exact("\x1b[?25h")
    terminal.expect_exact("\x1b[?1049l")
    assert finish(terminal) == 0


def test_a_lost_connection_gives_the_terminal_back(proxy: SimulatedProxy, join: Join) -> None:
    terminal = join(SESSION)
    proxy.drop_connections()
    terminal.expect_exact("Connection to web1 lost: ")
    assert finish(terminal) == 255
    assert attributes(terminal) == terminal.before_raw


def test_sigterm_gives_the_terminal_back(company: SimulatedCompany, join: Join) -> None:
    company.screen = "\x1b[?1049han editor"
    terminal = join(SESSION)
    terminal.kill(signal.SIGTERM)
    terminal.expect_exact("\x1b[?1049l")
    assert finish(terminal) == 128 + signal.SIGTERM
    assert attributes(terminal) == terminal.before_raw


# --- without a terminal ---


def test_what_is_shown_may_go_to_a_pipe_without_ending_anybodys_input(
    company: SimulatedCompany, alice: TshProgram
) -> None:
    with alice.started("join", SESSION) as running:
        running.stdin.close()
        assert running.stdout.read(len(READY)) == READY.encode()
        assert (company.joined[0].sizes, company.joined[0].ends) == ([], 0)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(TIMEOUT) == 128 + signal.SIGINT
        assert (running.stdout.read(), bytes(company.joined[0].typed)) == (b"", b"")


def test_a_peers_keys_may_come_from_a_pipe(company: SimulatedCompany, alice: TshProgram) -> None:
    done = alice.run("join", "--mode=peer", SESSION, typed=b"uptime\n")
    assert (done.returncode, done.stdout) == (3, f"{READY}<uptime\n>no more input\r\n".encode())
    assert (bytes(company.joined[0].typed), company.joined[0].ends) == (b"uptime\n", 1)


# --- which session ---


@pytest.mark.parametrize("text", [SESSION[:8], SESSION[:11].upper(), SESSION[:-1]])
def test_the_beginning_of_an_id_will_do(proxy: SimulatedProxy, join: Join, text: str) -> None:
    terminal = join(text)
    assert f"Joining {SESSION} on web1".encode() in terminal.before
    assert proxy.channels == [(proxy.nodes[0].node_id, 0)]


def test_a_beginning_of_several_ids_is_refused_and_they_are_named(
    proxy: SimulatedProxy, company: SimulatedCompany, alice: TshProgram
) -> None:
    proxy.sessions.append(session_on(proxy.nodes[1], "pi", OTHER))
    done = alice.run("join", SESSION[:8])
    assert (done.returncode, done.stdout) == (255, b"")
    assert done.stderr.decode() == (
        f"ERROR: 2 sessions begin with {SESSION[:8]}; name one of them by more of its ID:\n"
        f"  {SESSION} on web1 ({ME})\n  {OTHER} on web2 (pi)\n"
    )
    assert company.joined == []


@pytest.mark.parametrize("text", ["", "0b5e57", "web1", "0b5e57a1/../x", "\x1b[2J0b5e57a1", f"{SESSION}0"])
def test_what_is_no_id_is_refused(company: SimulatedCompany, alice: TshProgram, text: str) -> None:
    done = alice.run("join", "--", text)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"is no session's ID, nor its first 8 characters or more; `tsh sessions ls` lists" in done.stderr
    assert b"\x1b" not in done.stderr
    assert company.joined == []


def test_a_session_that_is_over_is_said_and_how_to_play_it(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.recordings.show(Tape(SESSION).head(), began=NOON)
    done = alice.run("join", SESSION.upper())
    assert done.returncode == 255
    text = f"ERROR: session {SESSION} on gw-1 is over; its recording is: tsh play {SESSION}\n"
    assert done.stderr.decode() == text


def test_a_session_whose_recording_still_comes_is_not_called_over(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.recordings.show(Tape(SESSION).head(), "arriving", began=NOON)
    done = alice.run("join", SESSION)
    assert done.returncode == 255
    assert b"is not known to be going on; what has come of its recording is: tsh play " in done.stderr


@pytest.mark.parametrize("text", [SESSION, SESSION[:20]])
def test_a_session_that_nobody_knows_is_said(alice: TshProgram, text: str) -> None:
    done = alice.run("join", text)
    assert done.returncode == 255
    assert done.stderr.endswith(b"; `tsh sessions ls` lists those going on\n")
    assert text.encode() in done.stderr


def test_a_session_of_a_login_that_is_not_ones_own_is_refused_here(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.sessions.append(session_on(proxy.nodes[0], "root", may_join=False))
    done = alice.run("join", SESSION)
    assert done.returncode == 255
    assert f"cannot join session {SESSION} on web1: you may not log in there as root. ".encode() in done.stderr
    assert proxy.channels == []


def test_a_session_without_a_terminal_is_refused_here_and_how_to_watch_it(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    proxy.sessions.append(session_on(proxy.nodes[0], ME, size=None, may_join=False))
    done = alice.run("join", SESSION)
    assert done.returncode == 255
    assert b"it has no terminal, and there is nothing to join; its recording can be watched as it comes" in done.stderr
    assert f"tsh play {SESSION}\n".encode() in done.stderr


def test_what_the_node_refuses_is_said_and_what_to_do_next(company: SimulatedCompany, alice: TshProgram) -> None:
    company.sessions.clear()
    done = alice.run("join", SESSION)
    assert (done.returncode, done.stdout) == (255, f"Skerry: {NO_SUCH_SESSION}\r\n".encode())
    assert done.stderr.decode().splitlines()[-1] == (
        f"ERROR: session {SESSION} was not joined: `tsh sessions ls` lists those going on, and if it is over, its "
        f"recording is: tsh play {SESSION}"
    )


def test_a_session_that_shows_those_words_and_ends_is_not_taken_for_a_refusal(
    company: SimulatedCompany, join: Join
) -> None:
    company.screen = NO_SUCH_SESSION
    terminal = join(SESSION)
    terminal.sendintr()
    assert finish(terminal) == 0
    assert b"ERROR" not in terminal.before


def test_a_mode_that_there_is_not_is_a_wrong_command_line(alice: TshProgram) -> None:
    done = alice.run("join", "--mode=owner", SESSION)
    assert done.returncode == 2
    assert b"'observer', 'peer', 'moderator'" in done.stderr


def test_who_is_not_signed_in_is_told_how(newcomer: TshProgram) -> None:
    done = newcomer.run("join", SESSION)
    assert done.returncode == 255
    assert b"log in with: tsh login " in done.stderr


# --- straight to the node ---


def test_a_session_is_joined_at_the_nodes_own_door_without_the_cluster(
    proxy: SimulatedProxy, company: SimulatedCompany, join: Join
) -> None:
    before = len(proxy.connections)
    terminal = join(f"--direct=127.0.0.1:{company.port}", "--node=web1", f"--login={ME}", "--mode=peer", SESSION)
    terminal.send("x")
    terminal.expect_exact("<x>")
    assert (len(proxy.connections) - before, proxy.channels, proxy.requests) == (1, [], [])


def test_the_node_may_be_named_without_asking_the_cluster(proxy: SimulatedProxy, join: Join) -> None:
    terminal = join(f"--node={ME}@web1", SESSION)
    assert f"on web1 ({ME}) as observer".encode() in terminal.before
    assert (proxy.channels, proxy.requests) == ([("web1", 0)], [])


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["--direct=127.0.0.1:1", SESSION], b"--direct needs the node's name or UUID, and the session's login"),
        (["--direct=127.0.0.1:1", "--node=web1", SESSION], b"Say so with --login ("),
        (["--direct=127.0.0.1:1", f"--node={ME}@web1", SESSION[:8]], b"the session's whole ID is needed"),
        (["--node=env=prod", f"--login={ME}", SESSION], b"only the cluster knows labels"),
        (["--node=a b", SESSION], b"cannot join "),
        ([f"--node={ME}@web1", "--login=A:B", SESSION], b"cannot join "),
    ],
)
def test_a_place_that_is_not_said_in_full_is_refused(
    company: SimulatedCompany, alice: TshProgram, line: list[str], text: bytes
) -> None:
    done = alice.run("join", *line)
    assert (done.returncode, done.stdout) == (255, b"")
    assert text in done.stderr
    assert company.joined == []


def test_a_door_that_is_no_address_is_a_wrong_command_line(alice: TshProgram) -> None:
    done = alice.run("join", "--direct=127.0.0.1:x", "--node=web1", SESSION)
    assert done.returncode == 2
    assert b"--direct" in done.stderr
