"""`tctl auth`: the cluster's own keys, shown and replaced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast, get_args

import click

from controller.authority import PhaseError, RotatableKind, Rotation
from controller.overview import awaited, rotation_json
from controller.policy.rotation import PHASES, Phase, following, is_awake
from controller.tctl.error import TctlError
from controller.tctl.host import Desk, at_desk
from controller.tctl.setting import Settings, format_option, say, say_json, shared_options, show_names
from controller.tctl.status import describe_rotation
from protocol import events, limits
from protocol.endorsement import plain_key
from protocol.events import Json

_KINDS = get_args(RotatableKind)
_DAY = f"{limits.USER_CERTIFICATE_MAX // timedelta(hours=1)} hours"
_SPREAD = f"{limits.ROTATION_SPREAD // timedelta(minutes=1)} minutes"
_RENEWED = "When the nodes that are to be awake have renewed (`tctl status` names the others)"
_COME_HOME = "A node that sleeps comes home by itself."
_NAMED_MAX = 10


@dataclass(frozen=True, slots=True)
class _Words:
    """What holds in a phase, and what to wait for before the next."""

    holds: str
    wait: str


_STANDBY = _Words("One key signs and is trusted.", "A rotation begins with:")
_WORDS: dict[RotatableKind, dict[Phase, _Words]] = {
    "user": {
        "init": _Words(
            "There is a new key, and nodes that are online trust it within a second. The old one signs.",
            "When the nodes that people reach without the controller (listen_addr) have been online:",
        ),
        "update_clients": _Words("The new key signs; the old one is trusted still.", "Then:"),
        "update_servers": _Words(
            "The new key signs; the old one is trusted still. Servers have nothing to renew.",
            f"When the last certificate of the old key is over, {_DAY} after update_clients, it can be dropped:",
        ),
        "rollback": _Words(
            "The old key signs again; the new one is trusted still.",
            f"When the last certificate of the new key is over, in {_DAY}, it can be dropped:",
        ),
    },
    "host": {
        "init": _Words(
            "There is a new key, which the old one has vouched for. Nodes that are online trust it within a second, "
            "and people from their next sign-in on. The old one signs.",
            f"After {_DAY}, when everybody has signed in again:",
        ),
        "update_clients": _Words(
            "The new key signs what the controller tells its nodes. Host certificates are the old one's still.", "Then:"
        ),
        "update_servers": _Words(
            f"The new key signs host certificates. Nodes that are online renew theirs within {_SPREAD}; the old key is "
            "trusted still.",
            f"{_RENEWED}, the old key can be dropped. {_COME_HOME}",
        ),
        "rollback": _Words(
            "The old key signs again, and nodes that have renewed go back to it; the new one is trusted still.",
            f"{_RENEWED}, the new key can be dropped. {_COME_HOME}",
        ),
    },
    "tls": {
        "init": _Words(
            "There is a new key, and nodes that are online trust it within a second. The old one signs.",
            "Then:",
        ),
        "update_clients": _Words(
            "The new key signs. Servers lead those who know the old one alone to it; the old one is trusted still.",
            "Then:",
        ),
        "update_servers": _Words(
            f"The new key signs. Nodes that are online renew within {_SPREAD}; the old key is trusted still.",
            f"{_RENEWED}, the old key can be dropped; people and new devices need the new CA pin then. {_COME_HOME}",
        ),
        "rollback": _Words(
            "The old key signs again, and nodes that have renewed go back to it; the new one is trusted still.",
            f"{_RENEWED}, the new key can be dropped. {_COME_HOME}",
        ),
    },
}


@click.group(name="auth")
@shared_options
def command() -> None:
    """Show the cluster's authorities, and replace their keys."""


@command.command(short_help="Replace the key of an authority.")
@click.option("--type", "kind", type=click.Choice([*_KINDS, "recording"]), required=True, help="What to rotate.")
@click.option("--phase", type=click.Choice(PHASES), help="The phase to enter. Without it: show where it stands.")
@click.option("--force", is_flag=True, help="Drop a key though nodes that are online have not renewed.")
@click.option("--manual", is_flag=True, help="Accepted: phases are entered by hand, each with one command.")
@format_option
@shared_options
@click.pass_obj
def rotate(
    settings: Settings,
    *,
    kind: str,
    phase: Phase | None,
    force: bool,
    manual: bool,  # noqa: ARG001 - it is how it is anyway
    form: str,
) -> None:
    """Replace the key of an authority, in phases, or the one that recordings are locked with, at once.

    The phases: init, update_clients, update_servers, standby; and rollback from any of the first three, then standby.

    With --type=recording, devices lock new recordings with the new key from when they next ask: at once when their
    tunnel comes up, and every hour. Recordings from before can still be played: their keys are kept.
    """
    if kind == "recording":
        _rotate_recording(settings, phase)
        return
    turning = cast("RotatableKind", kind)
    with at_desk(settings) as desk:
        if phase is not None:
            if not force:
                _require_renewed(desk, turning, phase)
            _enter(desk, turning, phase)
        rotation = desk.cluster.authority.rotation(turning)
    if form == "json":
        say_json({"type": kind, **rotation_json(rotation)})
    else:
        say("\n".join(_report(turning, rotation)))


def _require_renewed(desk: Desk, kind: RotatableKind, phase: Phase) -> None:
    """Refuse to drop the key that has signed what nodes which are awake go by. Raises `TctlError`."""
    nodes = (awaited(desk.cluster, kind) or ()) if phase == "standby" else ()
    views = [view for node in nodes if (view := desk.cluster.fleet.get(node.node_id)) is not None]
    behind = [view.name for view in views if is_awake(view.status, view.tunnel)]
    if behind:
        has = "1 node that is online has" if len(behind) == 1 else f"{len(behind)} nodes that are online have"
        raise TctlError(
            f"the {kind} CA keeps both keys, since {has} not renewed yet: {show_names(behind, _NAMED_MAX)}. They do "
            f"within {_SPREAD}: try again when `tctl status` no longer names them. With --force the key is dropped all "
            "the same, and they are out until they have renewed"
        )


def _enter(desk: Desk, kind: RotatableKind, phase: Phase) -> None:
    def audit(before: Rotation, after: Rotation) -> None:
        """Tell the audit log first: a phase that counts is known to it."""
        fields: dict[str, Json] = {
            "user": desk.origin.actor,
            "type": kind,
            "phase": after.phase,
            "via": desk.origin.via,
        }
        about = after.new or before.new
        desk.cluster.audit.write(events.CA_ROTATE, {**fields, "before": before.phase, "key_id": about})

    try:
        desk.cluster.authority.rotate(kind, phase, desk.now(), audit)
    except PhaseError as err:
        raise TctlError(f"{err}. Nothing was changed; see `tctl auth rotate --type {kind}`") from err


def _report(kind: RotatableKind, rotation: Rotation) -> list[str]:
    phase = rotation.phase
    words = _WORDS[kind].get(phase, _STANDBY)
    ways = [f"    tctl auth rotate --type {kind} --phase {way}" for way in following(phase)]
    back = ["To go back instead:", ways[1]] if len(ways) > 1 else []
    return [f"{kind} CA: {describe_rotation(rotation)}", words.holds, words.wait, ways[0], *back]


def _rotate_recording(settings: Settings, phase: Phase | None) -> None:
    if phase is not None:
        raise click.UsageError("the recording key has no phases: leave --phase out.")
    with at_desk(settings) as desk:
        key_id = desk.cluster.authority.rotate_recording_key(desk.now(), lambda new: _audit_recording(desk, new))
    say(
        f"The recording key has been rotated. New recordings are locked with {key_id} within an hour; "
        "those from before still open."
    )


def _audit_recording(desk: Desk, key_id: str) -> None:
    """Tell the audit log first: a key that counts is known to it."""
    fields: dict[str, Json] = {"user": desk.origin.actor, "key_id": key_id, "via": desk.origin.via}
    desk.cluster.audit.write(events.RECORDING_KEY_ROTATE, fields)


@command.command(short_help="Print an authority's public keys.")
@click.option("--type", "kind", type=click.Choice(_KINDS), required=True, help="Which authority.")
@shared_options
@click.pass_obj
def export(settings: Settings, *, kind: RotatableKind) -> None:
    """Print an authority's public keys, the signing one first, for other programs to trust.

    user: lines for authorized_keys. host: lines for known_hosts. tls: certificates in PEM. Private keys are never
    printed.
    """
    with at_desk(settings) as desk:
        authority, cluster = desk.cluster.authority, desk.cluster.config.cluster_name
        if kind == "tls":
            text = "".join(authority.tls_authorities())
        else:
            text = "".join(_trust_line(kind, line, cluster) for line in authority.ssh_authorities(kind))
    say(text.removesuffix("\n"))


def _trust_line(kind: Literal["user", "host"], line: str, cluster: str) -> str:
    """Return the line by which OpenSSH trusts an authority, as Teleport writes it (sshd(8), ssh-keygen(1))."""
    mark = "cert-authority" if kind == "user" else "@cert-authority *"
    return f"{mark} {plain_key(line)} clustername={cluster}&type={kind}\n"
