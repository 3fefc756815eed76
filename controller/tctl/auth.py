"""`tctl auth`: the cluster's own keys."""

from __future__ import annotations

from typing import Literal

import click

from controller.tctl.host import Desk, at_desk
from controller.tctl.setting import Settings, say, shared_options
from protocol import events


@click.group(name="auth")
@shared_options
def command() -> None:
    """Rotate the key that recordings are locked with."""


@command.command()
@click.option(
    "--type",
    "kind",
    type=click.Choice(["recording"]),
    required=True,
    help="What to rotate. So far it is the recording key alone.",
)
@shared_options
@click.pass_obj
def rotate(settings: Settings, kind: Literal["recording"]) -> None:
    """Make a new key for what is to come.

    Devices lock new recordings with it from when they next ask: at once when their tunnel comes up, and every hour.
    Recordings from before stay as they are, and can still be played: their keys are kept.
    """
    with at_desk(settings) as desk:
        key_id = desk.cluster.authority.rotate_recording_key(desk.now(), lambda new: _audit(desk, new))
    say(
        f"The {kind} key has been rotated. New recordings are locked with {key_id} within an hour; "
        "those from before still open."
    )


def _audit(desk: Desk, key_id: str) -> None:
    """Tell the audit log first: a key that counts is known to it."""
    fields = {"user": desk.origin.actor, "key_id": key_id, "via": desk.origin.via}
    desk.cluster.audit.write(events.RECORDING_KEY_ROTATE, fields)
