"""The status block, to the letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from protocol import names
from tsh.certificate import CertificateFacts
from tsh.commands.status import render_status, render_validity, round_to_minutes
from tsh.profile import Profile

UNTIL = datetime(2026, 11, 22, 22, 20, 50, tzinfo=UTC)
PROFILE = Profile(
    host="edge.example.com",
    port=3080,
    user=names.parse_user_name("alice"),
    cluster=names.parse_cluster_name("harbour"),
    ssh_host="edge.example.com",
    ssh_port=3023,
    host_authorities=(),
)
FACTS = CertificateFacts(
    logins=("ubuntu", "root"),
    valid_before=UNTIL,
    extensions={
        "permit-pty": "",
        "permit-agent-forwarding": "",
        "permit-port-forwarding": "",
        "roles@skerry": "access",
        "user@skerry": "alice",
    },
)
BLOCK = """\
> Profile URL:        https://edge.example.com:3080
  Logged in as:       alice
  Cluster:            harbour
  Roles:              access
  Logins:             root, ubuntu
  Valid until:        2026-11-22 22:20:50 +0000 UTC [valid for 12h0m0s]
  Extensions:         permit-agent-forwarding, permit-port-forwarding, permit-pty"""


def test_status_block_is_teleports() -> None:
    now = UNTIL - timedelta(hours=12) + timedelta(seconds=2)
    assert render_status(PROFILE, FACTS, now, active=True) == BLOCK


def test_profile_that_is_not_active_is_not_marked() -> None:
    now = UNTIL - timedelta(hours=12)
    assert render_status(PROFILE, FACTS, now, active=False) == " " + BLOCK[1:]


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (timedelta(hours=12), "valid for 12h0m0s"),
        (timedelta(hours=11, minutes=59, seconds=30), "valid for 12h0m0s"),
        (timedelta(hours=11, minutes=59, seconds=29), "valid for 11h59m0s"),
        (timedelta(seconds=29), "valid for 0s"),
        (timedelta(seconds=0), "EXPIRED"),
        (timedelta(days=-3), "EXPIRED"),
    ],
)
def test_validity_is_rounded_to_minutes(left: timedelta, shown: str) -> None:
    assert render_validity(UNTIL, UNTIL - left) == f"2026-11-22 22:20:50 +0000 UTC [{shown}]"


def test_rounding_goes_up_from_the_half() -> None:
    assert [round_to_minutes(timedelta(seconds=seconds)).seconds for seconds in (0, 29, 30, 89, 90)] == [
        0,
        0,
        60,
        60,
        120,
    ]


def test_url_of_an_ipv6_host_is_in_brackets() -> None:
    assert Profile("::1", 3080, PROFILE.user, PROFILE.cluster, "::1", 1, ()).url == "https://[::1]:3080"


def test_who_has_no_login_is_told_so() -> None:
    shown = render_status(PROFILE, replace(FACTS, logins=()), UNTIL - timedelta(hours=12), active=True)
    assert shown == BLOCK.replace("root, ubuntu", "none")
