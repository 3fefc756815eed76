"""What the web door gives to who has nothing yet: the script that installs the agent, and the agent."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from controller.policy.one_liner import ansible_line, install_line
from controller.web.app import create_app
from controller.web.depot import Depot
from controller.web.downloads import Downloads
from protocol.names import parse_node_name, parse_token
from protocol.secret import Secret
from tests.controller.web.lab import Lab
from tests.harness.running_door import RunningDoor

AMD = "skerry-agent-0.1.0-linux-amd64.tar.gz"
ARM = "skerry-agent-0.1.0-linux-arm64.tar.gz"
TOKEN = Secret(parse_token("0123456789abcdef0123456789abcdef"))
KEY = "k" * 43 + "="


@pytest.fixture
def depot(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / AMD).write_bytes(os.urandom(300_000))
    (folder / ARM).write_bytes(b"for another machine")
    (folder / "SHA256SUMS").write_text("not for devices")
    return folder


def visit(lab: Lab, folder: Path, *, public_key: str = KEY) -> FlaskClient:
    services = lab.services("skerry.example:3080", 100_000)
    return create_app(replace(services, depot=Depot(folder), web_public_key=lambda: public_key)).test_client()


def test_the_script_names_each_archive_with_its_hash_and_the_way_to_trust_the_controller(lab: Lab, depot: Path) -> None:
    answer = visit(lab, depot).get("/install.sh")
    assert (answer.status_code, answer.content_type) == (200, "text/x-shellscript; charset=utf-8")
    for file in (AMD, ARM):
        size, hash_ = (depot / file).stat().st_size, hashlib.sha256((depot / file).read_bytes()).hexdigest()
        assert f"archive={file} version=0.1.0 size={size} hash={hash_} ;;" in answer.text
    assert "\ncontroller=skerry.example:3080\n" in answer.text
    assert f"\ntrust='-k --pinnedpubkey sha256//{KEY}'\n" in answer.text
    assert "\ntrust=''\n" in visit(lab, depot, public_key="").get("/install.sh").text


def test_the_script_is_sound_shell_and_says_its_options(lab: Lab, depot: Path, tmp_path: Path) -> None:
    script, second = tmp_path / "install.sh", tmp_path / "second.sh"
    script.write_text(visit(lab, depot).get("/install.sh").text, encoding="utf-8")
    second.write_text(re.findall(r"(?ms)<<'(END\w+)'.*?\n(.*?)^\1$", script.read_text())[0][1], encoding="utf-8")
    checked = subprocess.run(["shellcheck", "--shell=sh", script, second], check=False, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    said = subprocess.run(["sh", script, "--help"], check=False, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("Usage: sh install.sh --token TOKEN")


def test_a_script_that_came_in_part_does_nothing(lab: Lab, depot: Path) -> None:
    text = visit(lab, depot).get("/install.sh").text
    for cut in range(200, len(text) - len('main "$@"\n'), 97):
        cut_off = subprocess.run(
            ["sh", "-s", "--", "--help"], input=text[:cut], capture_output=True, text=True, check=False
        )
        assert cut_off.stdout == ""


def test_the_host_that_a_request_names_does_not_stand_in_the_script(lab: Lab, depot: Path) -> None:
    text = visit(lab, depot).get("/install.sh", headers={"Host": "evil.example:3080"}).text
    assert "evil" not in text


@pytest.mark.parametrize("address", ["skerry.example:3080'; touch /tmp/pwned; '", "$(id)", "`id`"])
def test_no_address_becomes_a_command(lab: Lab, depot: Path, address: str) -> None:
    services = replace(lab.services(address, 100_000), depot=Depot(depot))
    text = create_app(services).test_client().get("/install.sh").text
    (line,) = re.findall(r"(?m)^controller=.*$", text)
    told = subprocess.run(["sh", "-c", f'{line}\nprintf %s "$controller"'], capture_output=True, text=True, check=True)
    assert told.stdout == address


@pytest.mark.parametrize("folder", ["archives", "not there"])
def test_without_archives_the_script_says_what_the_admin_does(lab: Lab, tmp_path: Path, folder: str) -> None:
    (tmp_path / "archives").mkdir()
    answer = visit(lab, tmp_path / folder).get("/install.sh")
    done = subprocess.run(["sh"], input=answer.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERROR: This controller has no archives of the agent to hand out.")
    assert "proxy_service.agent_archives" in done.stderr


def test_only_archives_are_handed_out(lab: Lab, depot: Path) -> None:
    client = visit(lab, depot)
    (depot.parent / "secret").write_text("secret")
    with client.get(f"/install/{AMD}") as whole:
        assert whole.data == (depot / AMD).read_bytes()
    for path in ("SHA256SUMS", "../secret", "%2e%2e%2fsecret", "..", "", AMD.replace("amd64", "mips")):
        assert client.get(f"/install/{path}").status_code == 404
    (depot / AMD).unlink()
    assert client.get(f"/install/{AMD}").status_code == 404


def test_an_address_downloads_so_many_at_once_and_all_together_do() -> None:
    downloads = Downloads(most=3, per_address=2)
    first, second = downloads.begin("a"), downloads.begin("a")
    assert downloads.begin("a") is None
    third = downloads.begin("b")
    assert downloads.begin("c") is None
    assert first
    assert second
    assert third
    first()
    fourth = downloads.begin("c")
    assert fourth is not None
    assert downloads.begin("a") is None
    for over in (second, third, fourth):
        over()
    assert all(downloads.begin("a") for _ in range(2))


def test_who_comes_when_too_many_download_is_told_when_to_come_again(lab: Lab, depot: Path) -> None:
    client = visit(lab, depot)
    with ExitStack() as stack:
        for _ in range(8):
            assert stack.enter_context(client.get(f"/install/{AMD}")).status_code == 200
        refused = client.get(f"/install/{AMD}")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
        with client.get(f"/install/{AMD}", environ_base={"REMOTE_ADDR": "192.0.2.7"}) as another:
            assert another.status_code == 200
    for _ in range(20):  # none of these is still counted when it is over
        with client.head(f"/install/{AMD}") as head:
            assert head.status_code == 200
        for name, value, status in (
            ("Range", "bytes=900000-", 416),
            ("Range", "bytes=0-9", 206),
            ("If-None-Match", head.headers["ETag"], 304),
        ):
            with client.get(f"/install/{AMD}", headers={name: value}) as answer:
                assert answer.status_code == status


def test_an_archive_that_was_replaced_is_announced_with_its_new_hash(lab: Lab, depot: Path) -> None:
    client = visit(lab, depot)
    before = client.get("/install.sh").text
    (depot / "new").write_bytes(b"another one")
    (depot / "new").replace(depot / AMD)
    after = client.get("/install.sh").text
    assert hashlib.sha256(b"another one").hexdigest() not in before
    assert hashlib.sha256(b"another one").hexdigest() in after


def test_the_rest_of_an_archive_comes_over_the_real_door_as_curl_asks_for_it(
    start_door: Callable[..., RunningDoor], tmp_path: Path, depot: Path
) -> None:
    Lab.open(tmp_path)  # it makes the keys
    door = start_door("web", data_dir=str(tmp_path), agent_archives=str(depot))
    whole = (depot / AMD).read_bytes()

    def ask(method: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPSConnection("localhost", door.port, timeout=30, context=door.client())
        try:
            connection.request(method, f"/install/{AMD}", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    status, headers, body = ask("GET")
    assert (status, headers["Content-Length"], headers["Accept-Ranges"]) == (200, str(len(whole)), "bytes")
    assert body == whole
    status, headers, body = ask("GET", Range="bytes=200000-")
    assert (status, headers["Content-Range"]) == (206, f"bytes 200000-{len(whole) - 1}/{len(whole)}")
    assert body == whole[200_000:]
    assert ask("GET", Range=f"bytes={len(whole)}-")[0] == 416
    status, headers, body = ask("HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(whole)), b"")


def test_among_very_many_archives_the_newest_is_handed_out(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"skerry-agent-0.{number}-linux-amd64.tar.gz").touch()
    depot = Depot(tmp_path)
    assert depot.version() == "0.1000"
    assert depot.newest()["amd64"].name.version == "0.1000"
    (tmp_path / "skerry-agent-9.0-linux-amd64.tar.gz").touch()
    assert depot.version() == "9.0"


def test_the_line_is_authenticated_from_its_first_step_on() -> None:
    pin = "sha256:" + "a" * 64
    line = install_line(TOKEN, [pin], "skerry.example:3080", KEY, parse_node_name("edge-1"))
    assert line == (
        f"curl -fsSL -k --pinnedpubkey sha256//{KEY} https://skerry.example:3080/install.sh | sudo sh -s -- "
        f"--token {TOKEN.reveal()} --ca-pin {pin} --nodename edge-1"
    )
    assert install_line(TOKEN, [], "skerry.example:3080", "").startswith("curl -fsSL https://skerry.example:3080/")
    assert ansible_line(line).startswith("ansible HOST -b -m shell -a '")
    assert "sudo" not in ansible_line(line)
