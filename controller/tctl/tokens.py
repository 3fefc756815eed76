"""`tctl tokens`: join tokens for devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import click

from controller.enrolment.tokens import TokenError
from controller.policy.join import UNLIMITED, JoinToken
from controller.policy.one_liner import install_line
from controller.tctl.host import at_desk
from controller.tctl.setting import (
    Settings,
    format_option,
    parsed,
    say,
    say_json,
    say_table,
    shared_options,
    ttl_option,
)
from protocol import limits, names
from protocol.durations import describe_duration, format_duration, parse_duration
from protocol.events import Json
from protocol.instants import format_instant, show_short_instant
from protocol.names import TokenText
from protocol.secret import Secret

_USES_MAX = 1_000_000


def _parse_type(text: str) -> str:
    wanted = [kind.strip().lower() for kind in text.split(",")]
    if wanted != ["node"]:
        raise ValueError(f"a token can be of the type node, not {text!r}: only devices join by token")
    return "Node"


def _parse_uses(text: str) -> int:
    if text == "unlimited":
        return UNLIMITED
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= _USES_MAX):
        raise ValueError(f"say a whole number from 1 to {_USES_MAX}, or unlimited")
    return int(text)


def _parse_claimable(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names.parse_label(part.strip(), "")[0] for part in text.split(",") if part.strip()))


@click.group(name="tokens")
@shared_options
def command() -> None:
    """Make, list and remove join tokens for devices."""


@command.command()
@click.option("--type", "role", type=parsed("TYPE", _parse_type), default="node", show_default=True, metavar="node")
@ttl_option(limits.JOIN_TOKEN_TTL, limits.JOIN_TOKEN_TTL_MAX)
@click.option(
    "--uses", type=parsed("N", _parse_uses), default="1", show_default=True, help="How many may join: N or unlimited."
)
@click.option(
    "--labels",
    type=parsed("LABELS", names.parse_labels_text),
    default="",
    metavar="A=B,C=D",
    help="Labels that every device gets which joins with it.",
)
@click.option(
    "--claimable",
    type=parsed("NAMES", _parse_claimable),
    metavar="A,B",
    help="Labels the device may set itself; '' for none.  [default: any that --labels does not fix]",
)
@click.option("--approve", is_flag=True, help="Let each device wait until `tctl nodes approve` lets it in.")
@click.option(
    "--ephemeral",
    type=parsed("TIME", parse_duration),
    metavar="TIME",
    help="Remove devices that joined with it after so long offline, such as 24h.  "
    f"[min: {format_duration(limits.EPHEMERAL_MIN)}, max: {format_duration(limits.EPHEMERAL_MAX)}]",
)
@format_option
@shared_options
@click.pass_obj
def add(  # noqa: PLR0913 - one parameter a flag
    settings: Settings,
    *,
    role: str,
    ttl: timedelta,
    uses: int,
    labels: Mapping[str, str],
    claimable: tuple[str, ...] | None,
    approve: bool,
    ephemeral: timedelta | None,
    form: str,
) -> None:
    """Make a join token, and print the command to run on the device."""
    with at_desk(settings) as desk:
        if ttl > limits.JOIN_TOKEN_TTL_MAX:
            most = format_duration(limits.JOIN_TOKEN_TTL_MAX)
            raise TokenError(f"a token may be valid for {most} at most, not {format_duration(ttl)}")
        address, pins, public_key = desk.web_address(), desk.pins(), desk.web_public_key()
        has_archives = desk.has_archives()
        text, token = desk.cluster.enrolment.tokens.add(
            ttl=ttl,
            uses=uses,
            labels=labels,
            claimable=claimable,
            approve=approve,
            ephemeral=ephemeral,
            origin=desk.origin,
        )
    line = install_line(text, pins, address, public_key) if has_archives else None
    if form == "json":
        shown = _as_json(token) | {"token": text.reveal(), "roles": [role], "ca_pin": pins[0], "controller": address}
        say_json(shown | {"install": line})
    else:
        say(describe_token(text, token, ttl, pins, address, line))


@command.command(name="ls")
@format_option
@shared_options
@click.pass_obj
def list_(settings: Settings, form: str) -> None:
    """List the tokens with which devices can still join.

    All but the last four characters is hidden. Where several end in the same, the ID tells them apart.
    """
    with at_desk(settings) as desk:
        found, now = desk.cluster.enrolment.tokens.list(), desk.now()
    if form == "json":
        say_json([_as_json(token) for token in found])
    elif found:
        headers = ["Token", "Type", "Labels", "Uses", "Expiry Time (UTC)"]
        rows = [_row(token, now) for token in found]
        if any(token.approve or token.ephemeral for token in found):  # else the table is as it is everywhere
            headers.append("Conditions")
            rows = [[*row, _short_conditions(token)] for row, token in zip(rows, found, strict=True)]
        if len({token.suffix for token in found}) < len(found):
            headers.append("ID")
            rows = [[*row, token.token_id] for row, token in zip(rows, found, strict=True)]
        say_table(headers, rows)
    else:
        say("No active tokens found.")


@command.command(name="rm")
@click.argument("token")
@shared_options
@click.pass_obj
def remove(settings: Settings, token: str) -> None:
    """Remove a token, named whole, by its ID, or as the list shows it."""
    with at_desk(settings) as desk:
        shown = desk.cluster.enrolment.tokens.remove(token, desk.origin)
    say(f"Token {shown} has been deleted")


def describe_token(
    text: Secret[TokenText], token: JoinToken, ttl: timedelta, pins: Sequence[str], address: str, line: str | None
) -> str:
    """Return what the admin reads: the token, the command to run on the device, and what to mind.

    `line` is None where this controller has nothing to install from: then it says so instead.
    """
    life = describe_duration(ttl)
    options = [f"--token={text.reveal()}", *(f"--ca-pin={pin}" for pin in pins), f"--controller={address}"]
    lines = [
        f"The invite token: {text.reveal()}",
        f"This token will expire in {life}.",
        "",
        *_install(line),
        "",
        " \\\n   ".join(["> edge-agent start", *options]),
        "",
        "Please note:",
        "",
        f"  - This invitation token will expire in {life}",
        f"  - It can be used {_times(token.uses_left)}",
        f"  - {address} must be reachable from the new node,",
        "    and so must the doors for devices there (by default 3024, 3025 and 8883)",
        *_conditions(token),
    ]
    return "\n".join(lines)


def _install(line: str | None) -> list[str]:
    if line is None:
        return [
            "There are no archives to install the agent from (`make dist` into proxy_service.agent_archives).",
            "",
            "Run this on the new node, where the agent is installed, to join the cluster, without a service:",
        ]
    return [
        "Run this on the new node to install the agent and join the cluster:",
        "",
        f"> {line}",
        "",
        "Or, where the agent is installed, without a service:",
    ]


def _conditions(token: JoinToken) -> list[str]:
    waits = ["  - The node waits until you let it in: `tctl nodes approve NAME`"] if token.approve else []
    if token.ephemeral is None:
        return waits
    return [*waits, f"  - The node is removed after {describe_duration(token.ephemeral)} offline"]


def _times(uses: int) -> str:
    if uses == UNLIMITED:
        return "without limit"
    return "once" if uses == 1 else f"up to {uses} times"


def _row(token: JoinToken, now: datetime) -> list[str]:
    uses = "unlimited" if token.uses_left == UNLIMITED else str(token.uses_left)
    return [token.suffix, "Node", names.format_labels(token.labels), uses, _expiry(token, now)]


def _short_conditions(token: JoinToken) -> str:
    waits = ["approve"] if token.approve else []
    return ", ".join(waits if token.ephemeral is None else [*waits, f"ephemeral {format_duration(token.ephemeral)}"])


def _expiry(token: JoinToken, now: datetime) -> str:
    if token.expires is None:
        return "never"
    return f"{show_short_instant(token.expires)} ({format_duration(token.expires - now)})"


def _as_json(token: JoinToken) -> dict[str, Json]:
    """Return the token as JSON, its text hidden; `uses` is null where there is no limit."""
    return {
        "id": token.token_id,
        "token": token.suffix,
        "roles": ["Node"],
        "expires": None if token.expires is None else format_instant(token.expires),
        "uses": None if token.uses_left == UNLIMITED else token.uses_left,
        "labels": dict(token.labels),
        "claimable": None if token.claimable is None else list(token.claimable),
        "approve": token.approve,
        "ephemeral": None if token.ephemeral is None else int(token.ephemeral.total_seconds()),
    }
