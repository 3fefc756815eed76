"""`make demo`: a controller and two devices on this machine, used as a person would use them.

Every command is printed before its output, and is one you can type yourself. Everything is kept in
./var/demo; Ctrl-C ends all that was started.
"""

from __future__ import annotations

import argparse
import fcntl
import getpass
import html.parser
import http.client
import json
import os
import pty
import re
import secrets
import select
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyotp
import segno

# Where ./var/demo is made: the checkout, unless a test says otherwise.
ROOT = Path(os.environ.get("SKERRY_DEMO_ROOT", Path(__file__).resolve().parent.parent))
BIN = Path(sys.executable).parent
HOME = ROOT / "var" / "demo"
DEVICES = {"edge-1": "site=harbour", "edge-2": "site=lighthouse"}
PORTS = {"web_listen_addr": 3080, "listen_addr": 3023, "tunnel_listen_addr": 3024, "auth": 3025, "mqtt": 8883}
USER, COLLEAGUE = "alice", "bob"
PATIENCE = 60.0
ENVIRONMENT = {**os.environ, "SKERRY_HOME": str(HOME / "tsh"), "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}


class DemoError(Exception):
    """The demonstration cannot go on; the message says why and where to look."""


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show(command: Sequence[str]) -> None:
    """Print a command as it would be typed."""
    print(f"$ {shlex.join(command)}", flush=True)


def run(
    command: Sequence[str],
    answers: Sequence[str] = (),
    *,
    is_refused: bool = False,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> str:
    """Print a command, run it, print what it says, and return that.

    `answers` are typed at its prompts. `is_refused`: it is to fail, and to say why.
    """
    show(command)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input="".join(f"{answer}\n" for answer in answers) or None,
        stdin=None if answers else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="" if done.stdout.endswith("\n") else "\n", flush=True)
    if bool(done.returncode) is not is_refused:
        raise DemoError(f"`{shlex.join(command)}` ended with status {done.returncode}")
    return done.stdout


def free_port(wanted: int) -> int:
    """Return `wanted` where it is free, another port otherwise."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("no port is free on 127.0.0.1")


def start(stack: ExitStack, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Print a command, and start it: a program that keeps running, its log in a file, ended with the demonstration."""
    show(command)
    file: IO[bytes] = stack.enter_context(log.open("ab"))
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=file,
        start_new_session=True,
    )
    stack.callback(end, process)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program, gently first."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(log: Path, pattern: str, what: str, since: int = 0) -> str:
    """Wait until `log` holds something that matches, after its first `since` characters, and return that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = re.search(pattern, read(log)[since:])
        if found:
            return found.group()
        time.sleep(0.05)
    raise DemoError(f"{what} did not happen within {PATIENCE:.0f} s: look into {log.relative_to(ROOT)}")


def read(log: Path) -> str:
    """Return what a log holds so far."""
    return log.read_text(encoding="utf-8", errors="replace")


class Form(html.parser.HTMLParser):
    """Reads the hidden fields and the secret of the page behind an invite link."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.secret = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element brings."""
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given["value"]
        if given.get("href", "").startswith("otpauth://"):
            query = urllib.parse.urlsplit(given["href"]).query
            self.secret = urllib.parse.parse_qs(query)["secret"][0]


def accept_invite(link: str, anchors: str, password: str) -> str:
    """Do what the browser does with an invite link: set password and second factor. Return its secret."""
    address = urllib.parse.urlsplit(link)
    context = ssl.create_default_context(cadata=anchors)
    connection = http.client.HTTPSConnection(address.netloc, context=context, timeout=30)
    connection.request("GET", address.path)
    reply = connection.getresponse()
    form = Form(reply.read().decode())
    cookies = "; ".join(value.split(";")[0] for value in reply.msg.get_all("set-cookie", []))
    fields = {**form.fields, "password": password, "otp": pyotp.TOTP(form.secret).now()}
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": cookies,
        "Origin": f"https://{address.netloc}",
    }
    connection.request("POST", address.path, urllib.parse.urlencode(fields), headers)
    reply = connection.getresponse()
    connection.close()
    if reply.status >= http.client.BAD_REQUEST:
        raise DemoError(f"the invite link was not accepted: {reply.status} {reply.reason}")
    return form.secret


def enrol(tctl: Sequence[str], user: str, roles: str, password: str) -> str:
    """Make a user; return the secret of their one-time codes."""
    logins = ",".join(dict.fromkeys([getpass.getuser(), "root"]))
    link = re.search(r"https://\S+", run([*tctl, "users", "add", user, logins, f"--roles={roles}"]))
    if link is None:
        raise DemoError("tctl printed no link")
    anchors = (HOME / "controller" / "tls" / "web.crt").read_text(encoding="ascii")
    return accept_invite(link.group(), anchors, password)


def write_config() -> Path:
    """Write the controller's configuration, and return its path."""
    ports = {name: free_port(port) for name, port in PORTS.items()}
    moved = [f"{port} -> {ports[name]}" for name, port in PORTS.items() if ports[name] != port]
    if moved:
        print(f"Some usual ports are taken on this machine: {', '.join(moved)}")
    config = HOME / "controller.yaml"
    config.write_text(
        f"""\
teleport:
  data_dir: {HOME / "controller"}
auth_service:
  cluster_name: skerry-demo
  listen_addr: "127.0.0.1:{ports["auth"]}"
proxy_service:
  listen_addr: "127.0.0.1:{ports["listen_addr"]}"
  tunnel_listen_addr: "127.0.0.1:{ports["tunnel_listen_addr"]}"
  web_listen_addr: "127.0.0.1:{ports["web_listen_addr"]}"
  public_addr: "localhost:{ports["web_listen_addr"]}"
mqtt:
  listen_addr: "127.0.0.1:{ports["mqtt"]}"
""",
        encoding="utf-8",
    )
    return config


@dataclass(frozen=True, slots=True)
class Fleet:
    """The agents that run, by the names of their devices, and what they were told: the controller, and its pin."""

    agents: dict[str, subprocess.Popen[bytes]]
    controller: str
    pin: str


def start_devices(stack: ExitStack, tctl: Sequence[str]) -> Fleet:
    """Start two agents, each with a token of its own."""
    say("Two devices join. A token is good for one device; its labels are fixed by the admin.")
    agents, controller, pin = {}, "", ""
    for name, label in DEVICES.items():
        printed = run([*tctl, "tokens", "add", "--type=node", f"--labels={label}"])
        line = printed.partition("\n> edge-agent ")[2].partition("\n\n")[0]
        agent = [
            *("edge-agent", *shlex.split(line.replace("\\\n", ""))),
            f"--nodename={name}",
            f"--data-dir={HOME.relative_to(ROOT) / name}",
        ]
        given = dict(word.split("=", 1) for word in agent if "=" in word)
        controller, pin = given["--controller"], given["--ca-pin"]
        agents[name] = start(stack, agent, HOME / f"{name}.log")
    for name in DEVICES:
        log = HOME / "controller.log"
        node_id = wait_for(HOME / f"{name}.log", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", f"the join of {name}")
        wait_for(log, rf"node {node_id} connected", f"the tunnel of {name}")
        await_status(tctl, name, "online")
    return Fleet(agents, controller, pin)


def await_status(tctl: Sequence[str], node: str, wanted: str) -> None:
    """Wait until a node has this status."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        listing = [*tctl, "nodes", "ls", "--format=json"]
        done = subprocess.run(listing, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        entries = json.loads(done.stdout) if done.returncode == 0 else []
        if any(entry["name"] == node and entry["status"] == wanted for entry in entries):
            return
        time.sleep(0.1)
    raise DemoError(f"{node} did not turn {wanted} within {PATIENCE:.0f} s: look into {HOME.name}/{node}.log")


def await_recording(node: str) -> str:
    """Wait until the recording of the session on a device is with the controller, and return the session's id."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        listing = ["tsh", "recordings", "ls", "--format=json"]
        done = subprocess.run(listing, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        for entry in json.loads(done.stdout) if done.returncode == 0 else []:
            if entry["hostname"] == node and entry["state"] == "complete":
                return str(entry["session"])
        time.sleep(0.2)
    raise DemoError(f"no recording came from {node} within {PATIENCE:.0f} s: look into {HOME / node}.log")


def play_back(tctl: Sequence[str]) -> None:
    """Show the recording of what was done on a device."""
    say("What was done is on record: sealed and encrypted on the device, uploaded by itself, played back to the user.")
    session = await_recording("edge-1")
    run(["tsh", "recordings", "ls"])
    run(["tsh", "play", session, "--format=text"])
    run([*tctl, "recordings", "verify", session])


class Terminal:
    """A person's terminal with one program on it."""

    def __init__(self, stack: ExitStack, command: Sequence[str], environment: Mapping[str, str]) -> None:
        show(command)
        self._ours, theirs = pty.openpty()
        stack.callback(os.close, self._ours)
        termios.tcsetwinsize(theirs, (24, 80))
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        stack.callback(end, self.process)
        self.shown = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def await_text(self, text: str) -> None:
        """Wait until the terminal shows `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown and time.monotonic() < deadline:
            if select.select([self._ours], [], [], 0.2)[0]:
                self.shown += _plain(os.read(self._ours, 65536).decode(errors="replace"))
        if text not in self.shown:
            raise DemoError(f"the terminal never showed {text!r}, but: {self.shown[-300:]!r}")


def _plain(text: str) -> str:
    """Return what was printed without what moves the cursor."""
    return re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])", "", text).replace("\r\n", "\n").replace("\r", "")


def work_together(stack: ExitStack, tctl: Sequence[str], fleet: Fleet) -> None:
    """Have a colleague join a session, type in it and leave."""
    say("Two people, one session: a colleague joins what the user does on a device, and types too.")
    password = secrets.token_urlsafe(12)
    secret = enrol(tctl, COLLEAGUE, "access", password)
    colleague = {**ENVIRONMENT, "SKERRY_HOME": str(HOME / COLLEAGUE)}
    login = ["tsh", "login", f"--proxy={fleet.controller}", f"--user={COLLEAGUE}", f"--ca-pin={fleet.pin}"]
    run(login, [password, pyotp.TOTP(secret).at(int(time.time()) + 30)], environment=colleague)
    first = Terminal(stack, ["tsh", "ssh", "-t", f"{getpass.getuser()}@edge-1", "env PS1='edge-1> ' sh"], ENVIRONMENT)
    first.await_text("edge-1> ")
    session = await_session("edge-1", colleague)
    run(["tsh", "sessions", "ls"], environment=colleague)
    second = Terminal(stack, ["tsh", "join", "--mode=peer", session], colleague)
    first.await_text(f"{COLLEAGUE} joined")
    second.await_text("edge-1> ")
    second.type("echo two heads are $((1 + 1))\r")
    first.await_text("two heads are 2")
    second.type("\r~.")
    first.await_text(f"{COLLEAGUE} left")
    first.type("exit\r")
    first.process.wait(PATIENCE)
    print(f"On {USER}'s terminal:\n{first.shown}", flush=True)


def await_session(node: str, environment: Mapping[str, str]) -> str:
    """Wait until the session that goes on on a device is listed, and return its id."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        listing = ["tsh", "sessions", "ls", "--format=json"]
        done = subprocess.run(listing, env=environment, capture_output=True, text=True, check=False)
        for entry in json.loads(done.stdout) if done.returncode == 0 else []:
            if entry["name"] == node:
                return str(entry["session"])
        time.sleep(0.2)
    raise DemoError(f"the session on {node} is not listed after {PATIENCE:.0f} s: look into {HOME / node}.log")


def go_offline_and_return(stack: ExitStack, tctl: Sequence[str], fleet: Fleet) -> None:
    """Kill an agent and start it again; show what people see of that."""
    say("A device goes away, and comes back: it needs no token any more.")
    agent = fleet.agents["edge-2"]
    show(["kill", "-9", str(agent.pid)])
    agent.kill()
    agent.wait()
    await_status(tctl, "edge-2", "offline")
    run(["tsh", "ls", "-v"])
    run(["tsh", "ssh", f"{getpass.getuser()}@edge-2", "true"], is_refused=True)
    start(stack, ["edge-agent", "start", f"--data-dir={HOME.relative_to(ROOT) / 'edge-2'}"], HOME / "edge-2.log")
    await_status(tctl, "edge-2", "online")
    run(["tsh", "ls", "-v"])


def await_policy(node: str, since: int) -> None:
    """Wait until a node has heard what the admin changed, by its log after so many characters."""
    wait_for(HOME / f"{node}.log", r"going by version \d+", f"the change of policy on {node}", since)


def lock_out(stack: ExitStack, tctl: Sequence[str]) -> None:
    """Lock the user out while a session goes on, and let them in again."""
    say("The admin locks the user out: the session that goes on ends at once, and no other begins.")
    working = HOME / "session.log"
    session = start(stack, ["tsh", "ssh", f"{getpass.getuser()}@edge-1", "echo at work; sleep 600"], working)
    wait_for(working, "at work", "the session on edge-1")
    heard = len(read(HOME / "edge-1.log"))
    created = run([*tctl, "lock", f"--user={USER}", "--message=Under investigation", "--ttl=1h"])
    await_policy("edge-1", heard)
    try:
        session.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the lock did not end the session: look into {HOME.name}/edge-1.log") from None
    print(f"In the session:\n{read(working)}", end="", flush=True)
    run(["tsh", "ssh", f"{getpass.getuser()}@edge-1", "true"], is_refused=True)
    run([*tctl, "locks", "ls"])
    heard = len(read(HOME / "edge-1.log"))
    run([*tctl, "locks", "rm", created.split('"')[1]])
    await_policy("edge-1", heard)
    run(["tsh", "ssh", f"{getpass.getuser()}@edge-1", "echo back at work"])


def claim_home(stack: ExitStack) -> None:
    """Make ./var/demo anew, for this demonstration alone."""
    HOME.parent.mkdir(exist_ok=True)
    lock = stack.enter_context((HOME.parent / "demo.lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoError("a demonstration is running here already: end it with Ctrl-C first") from None
    stack.callback((HOME.parent / "demo.lock").unlink)
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()


def live(stack: ExitStack, *, once: bool) -> None:
    """Do the whole road; unless it is to be done `once`, end with what is needed to go on by hand."""
    claim_home(stack)
    config = write_config()
    shown = str(config.relative_to(ROOT))
    say("A controller starts: certificate authority, proxy, web door and broker.")
    start(stack, ["controller", "start", "-c", shown], HOME / "controller.log")
    print(wait_for(HOME / "controller.log", r"cluster \S+ is ready: \S+", "the start of the controller"))
    tctl = ["tctl", "-c", shown]
    password = secrets.token_urlsafe(12)
    say("The admin adds a user; the user opens the link, sets a password and scans the QR code.")
    secret = enrol(tctl, USER, "access,admin", password)
    fleet = start_devices(stack, tctl)
    say("The user signs in with password and one-time code, looks around, and works on a device.")
    # The code of this half minute was spent on the invite; a person waits for the next, which is good already.
    code = pyotp.TOTP(secret).at(int(time.time()) + 30)
    run(["tsh", "login", f"--proxy={fleet.controller}", f"--user={USER}", f"--ca-pin={fleet.pin}"], [password, code])
    run(["tsh", "ls"])
    run(["tsh", "ssh", f"{getpass.getuser()}@edge-1", f"uname -n; id -un; {BIN}/edge-agent status"])
    run(["tsh", "ssh", f"{getpass.getuser()}@site=lighthouse", "echo hello from $SSH_SKERRY_NODE_NAME"])
    run(["tsh", "status"])
    play_back(tctl)
    work_together(stack, tctl, fleet)
    go_offline_and_return(stack, tctl, fleet)
    lock_out(stack, tctl)
    say("The admin's view of it all. The audit log has it, too, each line chained to the one before.")
    run([*tctl, "status"])
    run([*tctl, "audit", "ls", "--limit", "8"])
    run([*tctl, "audit", "verify"])
    if once:
        say("That was the whole road. Without --once the demonstration goes on, with a dashboard to look at.")
    else:
        leave_at_work(stack)
        farewell(fleet.controller, password, secret)


def leave_at_work(stack: ExitStack) -> None:
    """Leave a session open, for people to watch and to join in the browser."""
    say("A session that stays open, to be watched and joined.")
    command = "while :; do date; sleep 5; done"
    start(stack, ["tsh", "ssh", "-t", f"{getpass.getuser()}@edge-2", command], HOME / "at-work.log")


def farewell(controller: str, password: str, secret: str) -> None:
    """Print what is needed to go on by hand."""
    uri = pyotp.TOTP(secret).provisioning_uri(name=USER, issuer_name="Skerry skerry-demo")
    say("The dashboard, and how to sign in to it:")
    segno.make(uri, error="l").terminal(compact=True)
    print(f"  Dashboard:   https://{controller}/web  (its certificate is the demonstration's own)")
    print(f"  User:        {USER}")
    print(f"  Password:    {password}")
    print(f"  TOTP secret: {secret}")
    print(
        "  To be seen:  the devices and how they are, a terminal on each (Nodes, Connect), a session to watch or join"
    )
    print(
        "               (Sessions), what was done so far, played back (Recordings), who did it (Audit), a third device"
    )
    print("               to add (Add a device)")
    print(f"\n  In another terminal: export SKERRY_HOME={HOME / 'tsh'} PATH={BIN}:$PATH; tsh ssh edge-1", flush=True)


def main() -> int:
    """Run the demonstration; keep it running until Ctrl-C, unless told --once."""
    parser = argparse.ArgumentParser(prog="make demo", description="A controller and two devices on this machine.")
    parser.add_argument("--once", action="store_true", help="end by itself, with nothing left running")
    once = parser.parse_args().once
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal ends what it started, too
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        with ExitStack() as stack:
            live(stack, once=once)
            if not once:
                say("Running until Ctrl-C.")
                signal.pause()
    except KeyboardInterrupt:
        print("\nEnding what was started; ./var/demo stays.")
    except DemoError as err:
        print(f"\nERROR: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
