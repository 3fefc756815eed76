from __future__ import annotations

import html
import re
import shlex
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.enrolment.nodes import NodeRecord
from controller.policy.join import UNLIMITED
from controller.presence import Tunnel
from controller.web.app import create_app
from controller.web.depot import Depot
from protocol.names import NodeId, parse_node_name
from tests.controller.web.crew import enter
from tests.controller.web.lab import HandClock, Lab
from tests.controller.web.page_client import Browser, text_of

PIN = "sha256:" + "ab" * 32
KEY = "A" * 43 + "="
NEW = "/web/devices/new"


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """What the controller has to hand out: by its name, an archive."""
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "skerry-agent-0.1.0-linux-amd64.tar.gz").touch()
    return folder


@pytest.fixture
def ada(lab: Lab, archives: Path) -> Browser:
    services = replace(
        lab.services("skerry.example:3080", 100_000),
        join_pins=lambda: (PIN,),
        web_public_key=lambda: KEY,
        depot=Depot(archives),
    )
    return enter(lab, create_app(services), "ada")


def lines_of(page: str) -> list[str]:
    return [html.unescape(line) for line in re.findall(r'data-copy="([^"]+)"', page)]


def waiting_for(page: str) -> str:
    found = re.search(r'data-source="(/web/devices/waiting/[0-9a-f]{64})/state\?since=(\d+)"', page)
    assert found is not None
    return f"{found[1]}?since={found[2]}"


def arrive(lab: Lab, waiting: str, number: int, name: str, *, pending: bool = False, alike: bool = False) -> NodeId:
    """Enrol a device as a join with the token that is waited for does, or with another one that only ends alike."""
    node_id = NodeId(f"00000000-0000-4000-8000-{number:012d}")
    mark = waiting.rpartition("/")[2].partition("?")[0]
    found = lab.enrolment.tokens.marked(mark)
    assert found is not None
    record = NodeRecord(
        node_id,
        parse_node_name(name),
        {},
        "ssh-ed25519 AAAA",
        0,
        lab.clock(),
        found.token.suffix,
        "0.1.0",
        pending=pending,
        token_mark="0" * 64 if alike else mark,
    )
    lab.enrolment.nodes.add(record)
    return node_id


def test_the_line_is_whole_and_the_token_is_made_as_it_was_asked_for(lab: Lab, ada: Browser) -> None:
    wish = {"name": "buoy-9", "labels": "env=production, site=oslo", "uses": "1", "ttl": "1h", "ephemeral": "24h"}
    page = ada.submit(NEW, wish | {"approve": "1"})
    assert page.status_code == 200
    line, ansible, start, tctl = lines_of(page.text)
    (token,) = lab.enrolment.tokens.list()
    ends = rf"--token ([0-9a-f]{{32}}) --ca-pin {PIN} --nodename buoy-9"
    fetch = re.escape(f"curl -fsSL -k --pinnedpubkey sha256//{KEY} https://skerry.example:3080/install.sh")
    text = re.fullmatch(rf"{fetch} \| sudo sh -s -- {ends}", line)
    assert text is not None
    assert start == (
        f"edge-agent start --token={text[1]} --ca-pin={PIN} --controller=skerry.example:3080 --nodename=buoy-9"
    )
    assert token.suffix == "****" + text[1][-4:]
    assert (token.labels, token.uses_left, token.approve) == ({"env": "production", "site": "oslo"}, 1, True)
    assert (token.expires, token.ephemeral) == (lab.clock() + timedelta(hours=1), timedelta(days=1))
    as_root = f'bash -o pipefail -c "{line.replace("| sudo sh", "| sh")}"'
    assert shlex.split(ansible) == ["ansible", "buoy-9", "-b", "-m", "shell", "-a", as_root]
    assert tctl == ("tctl tokens add --type=node --ttl=1h --labels=env=production,site=oslo --approve --ephemeral=24h")
    assert "<svg" in page.text
    (told,) = lab.audit.entries(kinds=["join_token.create"])
    assert (told["user"], told["via"]) == ("ada", "web")


def test_without_archives_no_line_is_shown_that_would_need_one(ada: Browser, archives: Path) -> None:
    (archives / "skerry-agent-0.1.0-linux-amd64.tar.gz").unlink()
    page = ada.submit(NEW, {})
    start, tctl = lines_of(page.text)
    assert start.startswith("edge-agent start --token=")
    assert tctl.startswith("tctl tokens add ")
    assert 'class="qr"' not in page.text
    assert "proxy_service.agent_archives" in page.text


def test_the_token_is_shown_once_and_never_again(lab: Lab, ada: Browser) -> None:
    page = ada.submit(NEW, {})
    text = re.search(r"--token=([0-9a-f]{32})", page.text)
    assert text is not None
    waiting = waiting_for(page.text)
    for path in (waiting, waiting.replace("?", "/state?"), NEW, "/web/home", "/web/nodes"):
        shown = ada.get(path)
        assert shown.status_code == 200
        assert text[1] not in shown.text
    assert text[1] not in str(list(lab.audit.entries()))


def test_the_page_waits_until_the_device_is_online(lab: Lab, ada: Browser, clock: HandClock) -> None:
    clock.pass_(timedelta(seconds=1))
    waiting = waiting_for(ada.submit(NEW, {}).text)
    state = waiting.replace("?", "/state?")
    assert 'data-state="waiting"' in ada.get(state).text
    clock.pass_(timedelta(seconds=20))
    node_id = arrive(lab, waiting, 1, "buoy-9")
    assert 'data-state="joined"' in ada.get(state).text
    lab.presence.write({node_id: Tunnel("up", clock())})
    page = ada.get(state)
    assert 'data-state="online"' in page.text
    assert "buoy-9 is online" in text_of(page)
    assert f'href="/web/nodes/{node_id}"' in page.text
    assert f'href="/web/terminal/{node_id}?login=pi"' in page.text
    assert "buoy-9 is online" in text_of(ada.get(waiting))


def test_a_device_that_waits_for_approval_is_approved_there(lab: Lab, ada: Browser) -> None:
    waiting = waiting_for(ada.submit(NEW, {"approve": "1"}).text)
    node_id = arrive(lab, waiting, 1, "buoy-9", pending=True)
    page = ada.get(waiting)
    assert 'data-state="pending"' in page.text
    assert "A device waits for your approval" in text_of(page)
    done = ada.submit(waiting, {}, to=f"/web/nodes/{node_id}/approve")
    assert done.headers["Location"] == waiting
    assert 'data-state="joined"' in ada.get(waiting).text


def test_a_token_that_is_good_no_more_is_told_of(ada: Browser, clock: HandClock) -> None:
    waiting = waiting_for(ada.submit(NEW, {"ttl": "30m"}).text)
    for _ in range(2):  # nobody waits for so long without a glance: a sign-in ends by itself, too
        clock.pass_(timedelta(minutes=16))
        ada.get(waiting)
    assert 'data-state="over"' in ada.get(waiting).text


def test_who_joined_before_with_a_token_that_ends_alike_is_not_taken_for_it(
    lab: Lab, ada: Browser, clock: HandClock
) -> None:
    waiting = waiting_for(ada.submit(NEW, {}).text)
    clock.pass_(-timedelta(days=1))
    arrive(lab, waiting, 1, "older")
    clock.pass_(timedelta(days=1))
    assert "older" not in ada.get(waiting).text


def test_who_joins_with_another_token_that_ends_alike_is_not_taken_for_it(lab: Lab, ada: Browser) -> None:
    waiting = waiting_for(ada.submit(NEW, {}).text)
    arrive(lab, waiting, 1, "another", alike=True)
    page = ada.get(waiting)
    assert 'data-state="waiting"' in page.text
    assert "another" not in page.text.replace("make another", "")
    (token,) = lab.enrolment.tokens.list()
    assert f"joins with the token {token.suffix}" in text_of(page)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "<script>"}, "name"),
        ({"name": "a" * 300}, "name"),
        ({"name": "buoy", "uses": "3"}, "A name is for one device"),
        ({"labels": "<b>"}, "labels"),
        ({"uses": "0"}, "whole number"),
        ({"uses": "-1"}, "whole number"),
        ({"uses": "²"}, "whole number"),
        ({"uses": "99999999"}, "whole number"),
        ({"ttl": "soon"}, "ttl"),
        ({"ttl": "9999h"}, "30 days|720h"),
        ({"ephemeral": "1s"}, "ephemeral"),
    ],
)
def test_what_is_typed_wrong_is_told_beside_its_field_and_makes_no_token(
    lab: Lab, ada: Browser, fields: dict[str, str], problem: str
) -> None:
    answer = ada.submit(NEW, {"labels": "env=kept"} | fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert re.search(problem, answer.text)
    assert "<script>" not in answer.text.replace("<script src", "")
    if "labels" not in fields:
        assert "env=kept" in answer.text
    assert not lab.enrolment.tokens.list()


def test_all_that_is_typed_wrong_is_told_at_once(lab: Lab, ada: Browser) -> None:
    wrong = {"name": "<b>", "labels": "=", "uses": "none", "ttl": "soon", "ephemeral": "never"}
    answer = ada.submit(NEW, wrong)
    assert answer.status_code == 422
    assert re.findall(r'id="(\w+)-problem" role="alert"', answer.text) == list(wrong)
    assert answer.text.count("autofocus") == 1  # on the first of them
    assert re.search(r'id="name"[^>]* autofocus', answer.text)
    both = ada.submit(NEW, {"name": "buoy", "uses": "3", "labels": "="})
    assert re.findall(r'id="(\w+)-problem" role="alert"', both.text) == ["name", "labels"]
    assert not lab.enrolment.tokens.list()


def test_a_token_may_be_for_many(lab: Lab, ada: Browser) -> None:
    ada.submit(NEW, {"uses": "unlimited"})
    assert lab.enrolment.tokens.list()[0].uses_left == UNLIMITED


@pytest.mark.parametrize("path", ["xyz", "abcd", "abcd?since=x", "abcd?since=-1", "abcd?since=99999999999999999"])
def test_an_address_that_names_no_token_is_none(ada: Browser, path: str) -> None:
    assert ada.get(f"/web/devices/waiting/{path}").status_code == 404


@pytest.mark.parametrize("name", ["paul", "rita"])
def test_only_an_admin_adds_devices(lab: Lab, ada: Browser, name: str) -> None:
    other = enter(lab, ada.app, name)
    assert other.get(NEW).status_code == 403
    assert other.get("/web/devices/waiting/abcd?since=1").status_code == 403
    assert other.submit("/web/home", {}, to=NEW).status_code == 403
    assert not lab.enrolment.tokens.list()
