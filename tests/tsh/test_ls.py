"""Listing nodes."""

from __future__ import annotations

import json

import pexpect

from tests.harness.simulated_proxy import SimulatedProxy
from tests.harness.tsh_program import TshProgram

LISTING = """\
Node Name Address  Labels
--------- -------- -----------------------
web1      ⟵ Tunnel env=staging, site=north
web2      ⟵ Tunnel env=prod
web3      ⟵ Tunnel env=prod
"""


def test_ls_lists_every_node(alice: TshProgram) -> None:
    done = alice.run("ls")
    assert done.stdout.decode() == LISTING
    assert (done.returncode, done.stderr) == (0, b"")


def test_ls_takes_labels_and_words(alice: TshProgram) -> None:
    assert [line.split()[0] for line in alice.run("ls", "env=prod").stdout.decode().splitlines()[2:]] == [
        "web2",
        "web3",
    ]
    found = alice.run("ls", "--search=north,WEB").stdout.decode()
    assert [line.split()[0] for line in found.splitlines()[2:]] == ["web1"]


def test_ls_verbose_shows_ids(proxy: SimulatedProxy, alice: TshProgram) -> None:
    listed = alice.run("ls", "-v").stdout.decode()
    assert f"web1      {proxy.nodes[0].node_id} unknown ⟵ Tunnel" in listed


def test_ls_verbose_shows_the_status_and_an_offline_node_stays_listed(proxy: SimulatedProxy, alice: TshProgram) -> None:
    proxy.nodes[0].status, proxy.nodes[1].status = "offline", "tunnel down"
    try:
        listed = alice.run("ls", "-v").stdout.decode().splitlines()
    finally:
        proxy.nodes[0].status = proxy.nodes[1].status = "unknown"
    assert f"{proxy.nodes[0].node_id} offline since 22 Nov 2026 10:00 UTC ⟵ Tunnel" in listed[2]
    assert f"{proxy.nodes[1].node_id} tunnel down" in listed[3]


def test_on_a_terminal_the_listing_is_as_wide_as_it_and_ids_stay_whole(
    proxy: SimulatedProxy, alice: TshProgram
) -> None:
    proxy.nodes[0].status = "offline"
    try:
        terminal = alice.on_terminal("ls", "-v", size=(24, 78))
        terminal.expect(pexpect.EOF)
    finally:
        proxy.nodes[0].status = "unknown"
    terminal.close()
    assert terminal.before.decode().splitlines()[1:6] == [
        "--------- ------------------------------------ --------- -------- ------------",
        f"web1      {proxy.nodes[0].node_id} offline   ⟵ Tunnel env=staging,",
        "                                               since 22           site=north",
        "                                               Nov 2026",
        "                                               10:00 UTC",
    ]


def test_ls_says_how_to_tell_nodes_apart_that_share_a_name(proxy: SimulatedProxy, alice: TshProgram) -> None:
    name = proxy.nodes[1].name
    proxy.nodes[1].name = proxy.nodes[2].name
    try:
        done, verbose = alice.run("ls"), alice.run("ls", "-v")
    finally:
        proxy.nodes[1].name = name
    assert done.stderr == (
        b"Hint: some share a name: 'tsh ls -v' shows which of them is online, and their unique ids\n"
    )
    assert len(done.stdout.splitlines()) == len(LISTING.splitlines())
    assert verbose.stderr == b""


def test_ls_as_json(proxy: SimulatedProxy, alice: TshProgram) -> None:
    listed = json.loads(alice.run("ls", "--format=json", "env=staging").stdout)
    labels = {"env": "staging", "site": "north"}
    node_id = proxy.nodes[0].node_id
    assert listed == [
        {
            "node_id": node_id,
            "name": "web1",
            "address": "⟵ Tunnel",
            "labels": labels,
            "status": "unknown",
            "since": "2026-11-22T10:00:00.000Z",
            "tunnel": "unknown",
            "presence": "unknown",
            "reason": "",
            "last_seen": None,
            "version": "",
        }
    ]


def test_ls_of_something_that_is_no_label_says_how_to_write_one(alice: TshProgram) -> None:
    done = alice.run("ls", "staging")
    assert done.returncode == 2
    assert b"write name=value" in done.stderr
    assert done.stderr.endswith(b"; to look for a name: tsh ls --search=staging\n")


def test_ls_as_another_user_says_who_is_signed_in(alice: TshProgram) -> None:
    done = alice.run("ls", "--user=bob")
    assert done.returncode == 1
    assert b"logged in at 127.0.0.1 as alice, not as bob" in done.stderr
