from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta

import pytest

from controller.cluster import Cluster
from controller.policy.join import UNLIMITED, JoinToken
from controller.tls_files import web_pins
from protocol.instants import parse_instant
from protocol.names import TokenText

STATIC_TOKEN = "insecure-static-token-for-tests-wxyz"
Tctl = Callable[..., subprocess.CompletedProcess[str]]


def _token(text: str) -> str:
    found = re.search(r"--token=(\S+)", text)
    assert found
    return found[1]


def _kept(cluster: Cluster, token: str) -> JoinToken:
    found = cluster.enrolment.tokens.find(TokenText(token))
    assert found is not None
    return found.token


@pytest.mark.usefixtures("archives")
def test_tokens_add_prints_the_command_for_the_device_word_for_word(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("tokens", "add", "--type=node")
    token, (pin,) = _token(done.stdout), web_pins(cluster)
    assert done.stdout == (
        f"The invite token: {token}\n"
        "This token will expire in 30 minutes.\n"
        "\n"
        "Run this on the new node to install the agent and join the cluster:\n"
        "\n"
        "> curl -fsSL https://skerry.example.com:3080/install.sh | sudo sh -s -- "
        f"--token {token} --ca-pin {pin}\n"
        "\n"
        "Or, where the agent is installed, without a service:\n"
        "\n"
        "> edge-agent start \\\n"
        f"   --token={token} \\\n"
        f"   --ca-pin={pin} \\\n"
        "   --controller=skerry.example.com:3080\n"
        "\n"
        "Please note:\n"
        "\n"
        "  - This invitation token will expire in 30 minutes\n"
        "  - It can be used once\n"
        "  - skerry.example.com:3080 must be reachable from the new node,\n"
        "    and so must the doors for devices there (by default 3024, 3025 and 8883)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    kept = _kept(cluster, token)
    assert (kept.uses_left, dict(kept.labels), kept.claimable) == (1, {}, None)
    assert kept.expires is not None
    assert timedelta(minutes=29) < kept.expires - cluster.clock() <= timedelta(minutes=30)


def test_what_a_token_allows_is_as_the_flags_say(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl(
        *[
            "tokens",
            "add",
            "--type=Node",
            "--ttl=2h",
            "--uses=3",
            "--labels=env=staging,site=kiel",
            "--claimable=rack,row",
        ]
    )
    kept = _kept(cluster, _token(done.stdout))
    assert (kept.uses_left, dict(kept.labels)) == (3, {"env": "staging", "site": "kiel"})
    assert kept.claimable == ("rack", "row")
    assert "This token will expire in 2 hours." in done.stdout
    assert "  - It can be used up to 3 times\n" in done.stdout
    unlimited = tctl("tokens", "add", "--type=node", "--uses=unlimited", "--claimable=")
    assert "  - It can be used without limit\n" in unlimited.stdout
    kept = _kept(cluster, _token(unlimited.stdout))
    assert (kept.uses_left, kept.claimable) == (UNLIMITED, ())


def test_where_there_are_no_archives_no_line_is_printed_that_would_need_one(tctl: Tctl) -> None:
    done = tctl("tokens", "add", "--type=node")
    assert "curl" not in done.stdout
    assert "There are no archives to install the agent from (`make dist` into proxy_service" in done.stdout
    assert "\n> edge-agent start \\\n" in done.stdout
    assert json.loads(tctl("tokens", "add", "--type=node", "--format=json").stdout)["install"] is None


@pytest.mark.usefixtures("archives")
def test_tokens_add_tells_programs_all_they_need(tctl: Tctl, cluster: Cluster) -> None:
    told = json.loads(tctl("tokens", "add", "--type=node", "--labels=env=staging", "--format=json").stdout)
    kept = _kept(cluster, told["token"])
    assert abs(parse_instant(told["expires"]) - kept.expires) < timedelta(seconds=1) if kept.expires else False
    assert told | {"token": "", "expires": ""} == {
        "id": kept.token_id,
        "token": "",
        "roles": ["Node"],
        "expires": "",
        "uses": 1,
        "labels": {"env": "staging"},
        "claimable": None,
        "approve": False,
        "ephemeral": None,
        "ca_pin": web_pins(cluster)[0],
        "controller": "skerry.example.com:3080",
        "install": "curl -fsSL https://skerry.example.com:3080/install.sh | sudo sh -s -- "
        f"--token {told['token']} --ca-pin {web_pins(cluster)[0]}",
    }


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (("--type=app",), 2, "a token can be of the type node, not 'app'"),
        (("--type=node,db",), 2, "a token can be of the type node, not 'node,db'"),
        (("--ttl=31d",), 1, "720h0m0s at most, not 744h0m0s"),
        (("--uses=0",), 2, "a whole number from 1"),
        (("--uses=-1",), 2, "a whole number from 1"),
        (("--labels=env",), 2, "not a label"),
        (("--claimable=a b",), 2, "not a valid label name"),
    ],
)
def test_a_token_that_cannot_be_is_refused_and_none_is_made(
    tctl: Tctl, cluster: Cluster, flags: tuple[str, ...], status: int, words: str
) -> None:
    done = tctl("tokens", "add", *flags)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert [token.suffix for token in cluster.enrolment.tokens.list()] == ["****wxyz"]


def test_tokens_ls_hides_all_but_the_last_four_characters(tctl: Tctl) -> None:
    token = _token(tctl("tokens", "add", "--type=node", "--labels=env=staging").stdout)
    done = tctl("tokens", "ls")
    lines = done.stdout.splitlines()
    assert lines[0] == "Token    Type Labels      Uses      Expiry Time (UTC)"
    assert re.fullmatch(r"-{8} -{4} -{11} -{9} -+", lines[1])
    row = rf"\*\*\*\*{token[-4:]} Node env=staging 1         \d\d \w{{3}} \d\d \d\d:\d\d UTC \(\d+m\d+s\)"
    assert re.fullmatch(row, lines[2])
    assert lines[3] == "****wxyz Node             unlimited never"
    told = json.loads(tctl("tokens", "ls", "--format", "json").stdout)
    assert [(each["token"], each["uses"], each["expires"] is None) for each in told] == [
        (f"****{token[-4:]}", 1, False),
        ("****wxyz", None, True),
    ]
    assert token not in done.stdout


def test_tokens_rm_takes_the_whole_token_or_what_the_list_shows(tctl: Tctl, cluster: Cluster) -> None:
    first = _token(tctl("tokens", "add", "--type=node").stdout)
    second = _token(tctl("tokens", "add", "--type=node").stdout)
    for named, token in ((first, first), (f"****{second[-4:]}", second)):
        done = tctl("tokens", "rm", named)
        assert (done.returncode, done.stdout) == (0, f"Token ****{token[-4:]} has been deleted\n")
        assert cluster.enrolment.tokens.find(TokenText(token)) is None
    again = tctl("tokens", "rm", first)
    assert (again.returncode, again.stdout) == (1, "")
    assert "is not known" in again.stderr
    static = tctl("tokens", "rm", STATIC_TOKEN)
    assert static.returncode == 1
    assert "stands in controller.yaml" in static.stderr


def test_tokens_that_end_alike_are_told_apart_and_removed_by_their_ids(tctl: Tctl, cluster: Cluster) -> None:
    token = _token(tctl("tokens", "add", "--type=node").stdout)
    collection = cluster.store.collection("join_tokens")
    (record,) = collection.list(now=cluster.clock())
    collection.create("f" * 64, record.value, now=cluster.clock(), expires=record.expires)
    lines = tctl("tokens", "ls").stdout.splitlines()
    ids = [line.split()[-1] for line in lines[2:4]]
    assert (lines[0].split()[-1], sorted(ids)) == ("ID", sorted([record.key[:12], "f" * 12]))
    assert "give the ID of one" in tctl("tokens", "rm", f"****{token[-4:]}").stderr
    assert tctl("tokens", "rm", "f" * 12).returncode == 0
    assert [each.key for each in collection.list(now=cluster.clock())] == [record.key]


def test_making_and_removing_a_token_is_audited_without_it(tctl: Tctl, cluster: Cluster) -> None:
    token = _token(tctl("tokens", "add", "--type=node", SUDO_USER="alice").stdout)
    assert tctl("tokens", "rm", token, SUDO_USER="alice").returncode == 0
    written = list(cluster.audit.entries(kinds=("join_token.create", "join_token.delete")))
    assert [event["token"] for event in written] == [f"****{token[-4:]}"] * 2
    assert all(event["user"].startswith("alice@") for event in written)
    assert token not in json.dumps(written)


def test_a_token_may_ask_for_approval_and_make_its_nodes_ephemeral(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("tokens", "add", "--approve", "--ephemeral=24h")
    assert done.stdout.splitlines()[-2:] == [
        "  - The node waits until you let it in: `tctl nodes approve NAME`",
        "  - The node is removed after 1 day offline",
    ]
    kept = _kept(cluster, _token(done.stdout))
    assert (kept.approve, kept.ephemeral) == (True, timedelta(hours=24))
    (entry,) = cluster.audit.entries(kinds=["join_token.create"])
    assert (entry["approve"], entry["ephemeral"]) == (True, "24h0m0s")
    (listed,) = [each for each in json.loads(tctl("tokens", "ls", "--format=json").stdout) if each["expires"]]
    assert (listed["approve"], listed["ephemeral"]) == (True, 86400)
    lines = tctl("tokens", "ls").stdout.splitlines()
    assert lines[0].split()[-1] == "Conditions"
    assert lines[2].endswith(" approve, ephemeral 24h0m0s")
    assert lines[3].endswith(" never")


@pytest.mark.parametrize("span", ["1m", "10000h"])
def test_nodes_are_not_removed_sooner_or_later_than_makes_sense(tctl: Tctl, span: str) -> None:
    done = tctl("tokens", "add", f"--ephemeral={span}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERROR: ephemeral nodes are removed after 5 minutes to 365 days offline, not after ")
