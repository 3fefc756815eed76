from __future__ import annotations

import shlex

from controller.policy.one_liner import ansible_line, install_line, script_url, trust_options
from protocol.names import NodeName, TokenText
from protocol.secret import Secret

TOKEN = Secret(TokenText("f7adb7ccdf04037bcd2b52ec6010fd6f"))
PINS = ("sha256:" + "0" * 64, "sha256:" + "1" * 64)
KEY = "NZbBQ7Rc7jn4VzgLFRn0Nd7H4DPx6nUqCKXmzHwCUvY="


def test_the_line_fetches_the_script_and_hands_it_what_the_device_needs() -> None:
    fetch, _, run = install_line(TOKEN, PINS, "skerry.example:3080", "", NodeName("gw-1")).partition(" | ")
    assert fetch == "curl -fsSL https://skerry.example:3080/install.sh"
    assert shlex.split(run) == [
        *("sudo", "sh", "-s", "--", "--token", TOKEN.reveal()),
        *("--ca-pin", PINS[0], "--ca-pin", PINS[1], "--nodename", "gw-1"),
    ]


def test_a_door_of_the_cluster_s_own_is_known_by_its_key_and_by_nothing_else() -> None:
    assert trust_options(KEY) == f"-k --pinnedpubkey sha256//{KEY}"
    line = install_line(TOKEN, PINS[:1], "[2001:db8::1]:3080", KEY)
    assert line.startswith(f"curl -fsSL -k --pinnedpubkey sha256//{KEY} {script_url('[2001:db8::1]:3080')} | sudo sh ")
    assert "--nodename" not in line


def test_ansible_s_line_fails_where_the_script_cannot_be_fetched() -> None:
    line = install_line(TOKEN, PINS[:1], "skerry.example:3080", "")
    words = shlex.split(ansible_line(line))
    assert words[:6] == ["ansible", "HOST", "-b", "-m", "shell", "-a"]
    assert shlex.split(words[6]) == ["bash", "-o", "pipefail", "-c", line.replace("| sudo sh", "| sh")]
    assert shlex.split(ansible_line(line, NodeName("gw-1")))[1] == "gw-1"
