"""`tctl recordings`: what was done on the devices, as it was recorded."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import click

from controller.recordings import Stored
from controller.recordings.export import Export, Form, OpenKey
from controller.recordings.finding import Finding, find
from controller.recordings.witness import Witness, given_key, with_key, witness_of_stored
from controller.tctl.error import REFUSED, TctlError
from controller.tctl.finding import status_of
from controller.tctl.host import Desk, at_desk
from controller.tctl.output import STANDARD, opened_output
from controller.tctl.period import Period, period_options
from controller.tctl.progress import watched
from controller.tctl.reel import FileReel, Reel, find_stored, parse_public_key, session_named, stored_reel
from controller.tctl.setting import (
    Settings,
    complain,
    format_option,
    parsed,
    say,
    say_json,
    shared_options,
)
from controller.tctl.witness import hostname_of, witness_of_file
from protocol import events, names
from protocol.console import terminal_width
from protocol.decision import Refused
from protocol.events import Json
from protocol.listing import render_recordings
from protocol.names import SessionId
from protocol.recording import frame
from protocol.recording.fault import RecordingError
from protocol.recording.header import Header
from protocol.recording.verdict import Examiner, Verdict, examine
from protocol.secret import Secret
from protocol.table import escape_text, wrap_words

_key_option = click.option(
    "--public-key",
    type=parsed("KEY", parse_public_key),
    metavar="KEY|FILE",
    help="The node's public key, in one line or in a file.  [default: the one this cluster knows]",
)
_which = click.argument("which", metavar="ID|FILE")


@click.group(name="recordings")
@shared_options
def command() -> None:
    """List, check, export and remove recordings of sessions."""


@command.command(name="ls")
@period_options
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="No more than so many.  [default: all]")
@format_option
@shared_options
@click.pass_obj
def list_(
    settings: Settings,
    *,
    last: timedelta | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    form: str,
) -> None:
    """List recordings, the newest first."""
    with at_desk(settings) as desk:
        period = Period.of(desk.now(), last, since, until)
        found = desk.cluster.recordings.entries(since=period.since, until=period.until, limit=limit)
    if form == "json":
        say_json([{**one.entry.to_dict(), "refused": _refusal(one.refused)} for one in found])
    elif found:
        say(render_recordings((one.entry for one in found), with_state=True, width=terminal_width()))
    else:
        say(period.describe_none())


def _refusal(refused: Refused | None) -> Json:
    return {"check": refused.check, "reason": refused.reason} if refused else None


@command.command()
@_which
@_key_option
@shared_options
@click.pass_obj
def verify(settings: Settings, *, which: str, public_key: bytes | None) -> int:
    """Say in one line, folded on a terminal, whether a recording is as the device wrote it.

    It is named by its session's ID, or is a FILE; with --public-key a file is checked without any cluster. The exit
    status is 0 for intact, 1 for broken, or refused (what the device sent from there on did not fit), 3 for interrupted
    (the device lost its power, or the agent was killed) and for stopped (the device could not record any further), 4
    for unfinished (the session goes on, or the end is missing), and 5 where it fits together but nothing apart from it,
    and from what lies beside it, says whose key sealed it.
    """
    with ExitStack() as stack:
        subject = _open_subject(stack, settings, which, public_key)
        pieces = stack.enter_context(watched(subject.reel.pieces, "Checking", subject.reel.size))
        finding = subject.find(examine(pieces, subject.witness.signer))
    say(_folded(escape_text(finding.line)))
    return status_of(finding)


def _folded(text: str) -> str:
    """Return `text` broken between words for the terminal; whole where a program reads it."""
    width = terminal_width()
    return text if width is None else "\n".join(wrap_words(text, width))


@command.command(short_help="Write a recording out, as cast or text.")
@_which
@click.option(
    "--format",
    "-f",
    "form",
    type=click.Choice(["cast", "text"]),
    default="cast",
    show_default=True,
    help="What to write: asciicast v2, or the output alone.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=STANDARD,
    metavar="FILE",
    help="[default: standard output]",
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@_key_option
@shared_options
@click.pass_obj
def export(settings: Settings, *, which: str, form: Form, output: Path, force: bool, public_key: bytes | None) -> int:
    """Open a recording and write it out, for asciinema (cast) or as bare output (text).

    As text it is what the programs printed, byte for byte, with whatever steers a terminal: as if it were `cat` on
    the device; so nothing is written to a terminal. Where a recording is damaged, or was refused from somewhere on, all
    before that is written and the exit status is 1.
    """
    if output == STANDARD and sys.stdout.isatty():
        raise TctlError(
            "what a device printed is not written to a terminal, which would obey it: name a file with -o, or send it "
            "through a pipe; `tsh play` shows it safely"
        )
    _load_dictionaries()
    with opened_output(output, force=force) as out:
        with ExitStack() as stack:
            subject = _open_subject(stack, settings, which, public_key, wants_key=True)
            verdict = _export(subject, form, out)
        if verdict.header is None:
            raise TctlError(f"{which} cannot be exported: {verdict.describe()}")
    finding = subject.find(verdict)
    said = escape_text(finding.line)
    if output != STANDARD:
        say(f"Written to {escape_text(str(output))}; the recording is {said}")
    elif status_of(finding):
        complain(said)
    return 0 if finding.is_sound else REFUSED


@command.command(name="rm")
@click.argument("sessions", nargs=-1, required=True, type=parsed("ID", names.parse_session_id), metavar="ID…")
@click.option("--force", is_flag=True, help="Remove also what still arrives.")
@shared_options
@click.pass_obj
def remove(settings: Settings, sessions: tuple[SessionId, ...], *, force: bool) -> int:
    """Remove recordings for good.

    What a device still holds of a session it will upload again. So a recording that still arrives, as that of a session
    that goes on does, is removed only with --force.
    """
    status = 0
    with at_desk(settings) as desk:
        for session in dict.fromkeys(sessions):
            try:
                _remove(desk, session, force=force)
            except TctlError as err:
                complain(f"ERROR: {err}")
                status = REFUSED
            else:
                say(f"Recording {session} has been removed")
    return status


def _remove(desk: Desk, session: SessionId, *, force: bool) -> None:
    """Remove one recording. The event comes first: what is gone could not be put back."""

    def tell(stored: Stored) -> None:
        if stored.entry.state == "arriving" and not force:
            raise TctlError(
                f"the recording of session {session} still arrives from {stored.entry.hostname}, which would upload it "
                "again: remove it once it is whole, or with --force"
            )
        fields: dict[str, Json] = {
            "sid": session,
            "size": stored.entry.size,
            "user": desk.origin.actor,
            "server_id": stored.entry.node,
            "server_hostname": stored.entry.hostname,
            "via": desk.origin.via,
        }
        desk.cluster.audit.write(events.RECORDING_DELETE, fields)

    find_stored(desk, session)
    desk.cluster.recordings.remove(session, before=tell)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a command is about.

    Attributes:
        witness: who says whose key sealed it.
        desk: the cluster, where that was opened.
        stored: what the cluster keeps, where it is that.
    """

    reel: Reel
    witness: Witness
    desk: Desk | None
    stored: Stored | None = None

    def find(self, verdict: Verdict) -> Finding:
        refused = self.stored.refused if self.stored else None
        arrives = self.stored is not None and self.stored.entry.state == "arriving"
        return find(verdict, self.witness, refused, is_kept=self.stored is not None, arrives=arrives)


def _open_subject(
    stack: ExitStack, settings: Settings, which: str, public_key: bytes | None, *, wants_key: bool = False
) -> _Subject:
    session = session_named(which)
    if session is not None:
        desk = stack.enter_context(at_desk(settings, returning=True))
        stored = find_stored(desk, session)
        witness = witness_of_stored(desk.cluster.recordings, stored)
        known = with_key(witness, public_key) if public_key else witness
        return _Subject(stored_reel(desk.cluster.recordings, stored), known, desk, stored)
    file = stack.enter_context(closing(_open_file(which)))
    header = file.header()
    is_locked = header is not None and header.cipher != "none"
    if public_key and not (wants_key and is_locked):
        return _Subject(file.reel(), given_key(public_key), None)
    desk = _open_desk(stack, settings, "" if public_key else which)
    return _Subject(file.reel(), given_key(public_key) if public_key else witness_of_file(desk, header), desk)


def _open_file(which: str) -> FileReel:
    try:
        return FileReel(Path(which))
    except FileNotFoundError:
        raise TctlError(
            f"there is no such file: {which}, and a recording's ID looks otherwise; `tctl recordings ls` lists them"
        ) from None


def _open_desk(stack: ExitStack, settings: Settings, unvouched: str) -> Desk:
    """Open the cluster, which is to say whose key sealed the file `unvouched`, unless that is empty."""
    try:
        return stack.enter_context(at_desk(settings, returning=True))
    except TctlError as err:
        hint = f"\nOr give the public key of the node that {unvouched} comes from: --public-key" if unvouched else ""
        raise TctlError(f"{err}{hint}", err.status) from err


def _export(subject: _Subject, form: Form, out: IO[bytes]) -> Verdict:
    export = Export(form, out, Examiner(subject.witness.signer), _key_opener(subject.desk, form))
    try:
        with watched(subject.reel.pieces, "Exporting", subject.reel.size) as pieces:
            return export.run(pieces)
    except RecordingError as err:
        raise TctlError(f"the recording cannot be opened: {err}") from err


def _key_opener(desk: Desk | None, form: Form) -> OpenKey:
    """Return what opens a recording's key and tells the audit log, which must be told before anything is shown."""

    def open_key(header: Header) -> Secret[bytes] | None:
        if desk is None:
            return None
        key = desk.cluster.authority.open_recording(header)
        fields: dict[str, Json] = {
            "user": desk.origin.actor,
            "sid": header.session,
            "server_hostname": hostname_of(desk, header),
            "format": form,
            "via": desk.origin.via,
        }
        desk.cluster.audit.write(events.RECORDING_ACCESS, fields)
        return key

    return open_key


def _load_dictionaries() -> None:
    """Read the dictionaries now: who becomes the owner of the data may not be able to read the program any more."""
    for number in range(1, frame.NEWEST + 1):
        frame.decompress(frame.compress(b"\n", number), number)
