"""Texts that are to be shown to others lose their secrets, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.policy.redaction import REMOVED, redact

TOKEN = "6f1e2d3c4b5a69788796a5b4c3d2e1f0"


@pytest.mark.parametrize(
    "line",
    [
        "edge-agent start --token={}",
        "edge-agent start --token {}",
        "join_token: {}",
        'token: "{}"',
        '{{"token": "{}"}}',
        "PASSWORD={}",
        "passphrase = {}",
        "secret '{}'",
        "controller: https://alice:{}@skerry.example.com:3080",
        "api_key={}",
        "x-api-key: {}",
        "Authorization: Bearer {}",
        '{{"authorization": "Basic {}"}}',
        "curl -H 'Authorization: Negotiate {}' https://skerry.example.com",
        "sent bearer {}",
        "mysql -u root -p{} harbour",
        'token="{}',
    ],
)
def test_what_stands_behind_a_name_of_a_secret_goes(line: str) -> None:
    shown = redact(line.format(TOKEN))
    assert TOKEN not in shown
    assert REMOVED in shown


@pytest.mark.parametrize(
    "line",
    [
        "token_file: /etc/skerry/join-token",
        "the token is good for one device",
        "the join token was not sent",
        "ca_pin: sha256:00112233",
        "2026-11-23T00:39:14Z INFO  [AGENT] joined cluster harbour as edge-1",
        "https://skerry.example.com:3080/web",
        "ssh -p3022 alice@edge-1",
        "mkdir -p /srv/kiosk",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redact(line) == line


def test_a_private_key_goes_whole_and_also_where_its_end_was_cut_off() -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAAB3Nz\n-----END OPENSSH PRIVATE KEY-----\n"
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    assert redact(f"{certificate}{key}{certificate}") == f"{certificate}{REMOVED}\n{certificate}"
    assert redact(f"before {key[:60]}") == f"before {REMOVED}"


@given(st.text(alphabet="abcdefABCDEF0123456789+/=", min_size=8, max_size=80), st.text(), st.text())
def test_a_known_secret_goes_wherever_it_stands(secret: str, before: str, after: str) -> None:
    assert secret not in redact(f"{before}{secret}{after}", [secret]).replace(REMOVED, " ")


def test_each_line_of_a_known_secret_goes_by_itself() -> None:
    assert redact("log: b3BlbnNzaC1rZXk and c2Vjb25kbGluZQ", ["b3BlbnNzaC1rZXk\nc2Vjb25kbGluZQ\n"]) == (
        f"log: {REMOVED} and {REMOVED}"
    )


def test_what_is_too_short_to_be_a_secret_does_not_take_everything_with_it() -> None:
    assert redact("a cat sat", ["cat", ""]) == "a cat sat"


@pytest.mark.parametrize(
    "piece", ["a-", "a://", "token", "token ", 'token="\\"', "token='", "Bearer ", " -p1", "-----BEGIN "]
)
def test_a_long_line_that_is_made_to_take_long_does_not(piece: str) -> None:
    text = piece * (2 * 10**6 // len(piece))  # in the square of that it would be hours
    assert len(redact(text)) <= 2 * len(text)
