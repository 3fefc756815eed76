"""A day on a cluster that logs all it can, and then: where do the day's secrets stand?

Device, people, browser and admin hand over a token, an invite link, a password and the secret of its codes, tickets,
cookies and a passphrase. None of them may be read afterwards in a log, in the audit log, or in a file of the
controller's or of the device's; nor meanwhile off the processes that run.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.real_cluster import LOGIN, RealCluster
from tests.harness.running_program import BIN, clean_environment
from tests.harness.web_terminal import SESSION_COOKIE, WebPerson

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
PASSPHRASE = "insecure but nobody guesses it"
TYPED = "insecure what was typed unseen"
NOISY = {"log": {"severity": "DEBUG"}}


def run(program: str, *arguments: object) -> None:
    command = [str(BIN / program), *map(str, arguments)]
    done = subprocess.run(
        command,
        env=clean_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def watched() -> Iterator[set[bytes]]:
    """Gather with what arguments and in what environment programs run meanwhile, as often as a thread comes round."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        seen.add((process / name).read_bytes())
                    except OSError:  # it has ended, or it is somebody else's
                        continue
            over.wait(0.01)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def a_day(cluster: RealCluster) -> Mapping[str, str]:
    """Do what uses secrets; return them, by what they are."""
    folder, token = cluster.folder, cluster.token()
    kept = folder / "join-token"
    kept.write_text(f"{token.text}\n")
    kept.chmod(0o600)
    command = [word for word in cluster.agent_command("edge", token) if not word.startswith("--token")]
    settings = folder / "edge.yaml"
    settings.write_text(json.dumps({"log": {"severity": "DEBUG"}}))
    device = cluster.run("agent edge", [*command, f"--token={kept}", f"--config={settings}"])
    node = device.await_line(r"joined cluster \S+ as \S+ \(([0-9a-f-]{36})\)")[1]
    cluster.await_tunnel(node, since=0)

    ada = cluster.add_user("ada")
    cluster.sign_in(ada)
    cluster.try_sign_in(ada, "insecure wrong password", ada.wrong_code())
    web = WebPerson.sign_in(cluster, ada)
    ticket = web.ticket(node, LOGIN)
    with web.open(ticket) as socket:
        socket.send(json.dumps({"type": "size", "columns": 80, "rows": 24}))
    with web.terminal(node, LOGIN) as terminal:
        terminal.until_told(type="open")
        terminal.type("stty -echo; echo rea''dy; read -r it; stty echo; echo th''anks; exit\n")
        terminal.until("ready")
        terminal.type(f"{TYPED}\n")
        terminal.until("thanks")
        terminal.until_end()
    cluster.await_event("session.upload", user="ada")
    invite = cluster.invite("bob").rpartition("/")[2]
    unspent = cluster.token().text
    passphrase = folder / "passphrase"
    passphrase.write_text(f"{PASSPHRASE}\n")
    passphrase.chmod(0o600)
    run("controller", "backup", "-c", cluster.config, "--passphrase-file", passphrase, folder / "backup")
    run("edge-agent", "support-bundle", f"--data-dir={folder / 'edge'}", "-o", folder / "bundle.tar.gz")
    profile = json.loads((ada.home / ".tsh" / "127.0.0.1.json").read_text())
    return {
        "a join token": token.text,
        "a join token that is good": unspent,
        "an invite link": invite,
        "a password": ada.password,
        "a wrong password": "insecure wrong password",
        "a secret of codes": ada.secret,
        "a cookie": web.visitor.cookies[SESSION_COOKIE],
        "a ticket": ticket,
        "a passphrase": PASSPHRASE,
        "what was typed unseen": TYPED,
        "a sign-in of tsh's": str(profile["session_token"]),
    }


def found_in(text: bytes, secrets: Mapping[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if secret.encode() in text]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealCluster, Mapping[str, str], set[bytes]]]:
    folder = tmp_path_factory.mktemp("day")
    cluster = RealCluster(folder, is_warm=False)
    settings = json.loads(cluster.config.read_text())
    settings["teleport"] |= NOISY
    cluster.config.write_text(json.dumps(settings))
    try:
        with watched() as seen:
            cluster.start()
            secrets = a_day(cluster)
        yield cluster, secrets, seen
    finally:
        cluster.close()


Day = tuple[RealCluster, Mapping[str, str], set[bytes]]


def test_no_program_logs_a_secret(day: Day) -> None:
    cluster, secrets, _ = day
    assert "DEBUG" in cluster.controller.log()
    for name, log in cluster.logs():
        assert found_in(log.encode(), secrets) == [], name


def test_nobody_sees_a_secret_among_the_processes(day: Day) -> None:
    _, secrets, seen = day
    for program in ("controller", "edge-agent", "tctl", "tsh"):
        assert any(str(BIN / program).encode() + b"\0" in each for each in seen), program
    assert [found for each in seen if (found := found_in(each, secrets))] == []


def test_no_file_of_the_controllers_holds_a_secret_in_clear(day: Day) -> None:
    cluster, secrets, _ = day
    files = [path for path in [*cluster.data_dir.rglob("*"), cluster.folder / "backup"] if path.is_file()]
    assert any(path.parent.name == "log" for path in files)
    assert [(path, found) for path in files if (found := found_in(path.read_bytes(), secrets))] == []


def test_no_file_of_controller_or_device_is_for_others(day: Day) -> None:
    cluster, _, _ = day
    places = (cluster.data_dir, cluster.folder / "edge")
    open_to_others = [
        path
        for place in places
        for path in (place, *place.rglob("*"))
        if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    # Nobody comes through the directory; a second door is that the files are closed, too.
    assert open_to_others == []
    for made in ("backup", "bundle.tar.gz"):
        assert (cluster.folder / made).stat().st_mode & 0o777 == 0o600


def test_the_device_keeps_no_secret_in_clear(day: Day) -> None:
    cluster, secrets, _ = day
    files = [path for path in (cluster.folder / "edge").rglob("*") if path.is_file()]
    assert [(path, found) for path in files if (found := found_in(path.read_bytes(), secrets))] == []
