"""`tsh play`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from protocol import names
from protocol.session_ids import is_beginning
from protocol.table import escape_text
from tsh.error import NotSignedInError, TshError
from tsh.setting import Settings, connection_options, settings_of

if TYPE_CHECKING:
    from protocol.names import SessionId
    from protocol.recordings import RecordingKey
    from tsh.content import FileContent
    from tsh.recording import Recording

_BROKEN_PIPE = 128 + signal.SIGPIPE
_SPEEDS = ["0.5", "1", "2", "4", "8"]
_AS_IT_COMES = "this shows it as it comes, and goes on until the session's end has come"
_FROM_NOW = "you see it from where it is now, and wait for more; home: from its start, q: quit"
_OWN_WORD = (
    "nobody vouches for whose recording this is: it is not encrypted, so it is played on its own word. "
    "`tctl recordings verify` checks it with the node's key"
)


def _read_speed(_ctx: click.Context, _parameter: click.Parameter, value: str) -> float:
    if value.removesuffix("x") not in _SPEEDS:
        raise click.BadParameter(f"not one of {', '.join(_SPEEDS)}")
    return float(value.removesuffix("x"))


@click.command(name="play", short_help="Play a recording back.")
@click.option(
    "--speed",
    default="1",
    show_default=True,
    callback=_read_speed,
    metavar=f"[{'|'.join(_SPEEDS)}]",
    help="How fast to play it.",
)
@click.option("--skip-idle-time", "skip_idle", is_flag=True, help="Wait half a second at most where nothing happens.")
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["pty", "text", "json"]),
    default="pty",
    show_default=True,
    help="How to show it: in time, all output at once, or one event a line.",
)
@click.argument("what", metavar="ID|FILE")
@connection_options
@click.pass_context
def command(ctx: click.Context, speed: float, skip_idle: bool, form: str, what: str) -> int:
    """Play a session's recording: one of the cluster's, by its ID, or a file (.cast, .skr).

    At least the first 8 characters of an ID are enough, where no other recording's begins so.

    \b
    space        pause, and go on
    left, right  5 seconds back, or on
    up, down     faster, slower
    home, end    to the beginning, to the end
    q            quit

    What still arrives from its device is shown from where it is now; home goes back to its beginning, and end to
    what happens now. The line of a pause says "live" there.

    The exit status is 0 at the recording's end or after q, 1 where it cannot be played or is broken (all that is good
    was shown), 2 for a wrong command line, and 141 where nobody reads the output any more.
    """  # noqa: D301 - click keeps the lines of what follows its \b
    from tsh import playback

    recording, live = _find(settings_of(ctx), what, keep=form == "pty")
    try:
        if form == "pty":
            playback.play(recording, speed=speed, skip_idle=skip_idle, live=live)
        elif form == "text":
            playback.print_text(recording)
        else:
            playback.print_json(recording)
    except BrokenPipeError:
        return _BROKEN_PIPE  # whoever reads it has enough
    finally:
        recording.content.close()
    return 0


def _find(settings: Settings, what: str, *, keep: bool) -> tuple[Recording, bool]:
    """Return the recording that is meant, and whether more of it comes."""
    if names.is_uuid(what):
        return _ask_for(settings, names.parse_session_id(what), keep=keep)
    path = Path(what)
    if not path.exists() and is_beginning(what):
        return _ask_for(settings, _named(settings, what.lower()), keep=keep)
    if not path.exists():
        raise TshError(
            f"cannot play {escape_text(what)!r}: there is no such file, and a recording's ID looks otherwise; "
            "`tsh recordings ls` lists those you may play"
        )
    if not path.is_file():
        raise TshError(f"cannot play {escape_text(what)!r}: it is no file")
    return _open(settings, path), False


def _named(settings: Settings, beginning: str) -> SessionId:
    from tsh.archive import Archive

    archive = Archive(settings)
    try:
        return archive.find(beginning)
    finally:
        archive.close()


def _ask_for(settings: Settings, session: SessionId, *, keep: bool) -> tuple[Recording, bool]:
    from tsh.archive import Archive
    from tsh.content import DoorContent
    from tsh.playback import say
    from tsh.recording import SealedRecording

    archive = Archive(settings)
    entry = archive.entry(session)
    key = archive.key(session)
    live = entry.state == "arriving"
    if live:
        how = _FROM_NOW if keep else _AS_IT_COMES
        say(f"{session} is still arriving from {entry.hostname}: {how}")
    content = DoorContent(archive, session, total=entry.size, keep=keep)
    return SealedRecording(content, key, length=entry.duration), live


def _open(settings: Settings, path: Path) -> Recording:
    from protocol.recording.fault import RecordingError
    from tsh.content import FileContent
    from tsh.recording import CastFile, SealedRecording, looks_sealed

    content = FileContent(path)
    try:
        if not looks_sealed(content):
            return CastFile(content)
        return SealedRecording(content, _key_of(settings, content))
    except RecordingError as err:
        raise TshError(f"cannot play {path}: the recording is broken at {err}") from None
    except TshError as err:
        raise TshError(f"cannot play {path}: {err}") from None


def _key_of(settings: Settings, content: FileContent) -> RecordingKey | None:
    from tsh.archive import Archive, NotFoundError
    from tsh.playback import say
    from tsh.recording import read_header

    header = read_header(content)
    if header.cipher == "none":
        say(_OWN_WORD)
        return None
    try:
        return Archive(settings).key(header.session)
    except NotSignedInError as err:
        raise TshError(f"it is encrypted, and the cluster {header.cluster} has its key. {err}") from None
    except NotFoundError as err:
        raise TshError(
            f"it is encrypted, and the cluster that you are signed in to does not give you its key ({err}). "
            f"It was made for the cluster {header.cluster}"
        ) from None
