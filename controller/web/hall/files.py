"""A file on its way between a browser and a node: SFTP on an SSH connection of its own, a WebSocket of its own.

Text messages are JSON objects with a ``type``, binary ones the file's bytes. Up: the browser says ``file`` (size,
overwrite) and is answered ``exists`` (it may say ``file`` again) or ``go``; it sends the bytes, of which ``took`` says
how many have been written, and then ``done``. Down: it is told ``file`` (name, size) and sent the bytes; it answers
``took``. Either way ``done`` (bytes) is the last word but one, and ``end`` (code, text) the last.

What goes up is written beside its place and put there when it is whole: nothing half-written takes a file's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import posixpath
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import asyncssh
from asyncssh.sftp import SFTPAttrs, SFTPClient, SFTPError, SFTPNoSuchFile, SFTPPermissionDenied

from controller.policy.ticket import Order
from controller.web.hall.guest import BAD_MESSAGE, FAILED, NORMAL, Ending, Guest
from controller.web.hall.road import Reached, Road, RoadError, Traveller
from controller.web.hall.web_socket import WebSocket
from protocol import limits
from protocol.fields import Fields, MessageError, decode, flag, text, whole
from protocol.sizes import format_size
from protocol.table import escape_text

T = TypeVar("T")
# Of a file, so much is asked of the node at once, and so much may be on its way to the browser.
_PIECE = 128 * 1024
_AHEAD = limits.SOCKET_BEHIND
_PATIENCE = timedelta(seconds=60)
# A person is asked whether what stands there is to be replaced.
_REPLY = timedelta(minutes=10)
_NAME_MAX = 100
_PRIVATE = 0o600
_MORE = "the device sent more than it was asked for"
_FEWER = "the device sent less than it had said: it may have been cut while it was read"
_SIZELESS = "the device does not say how large it is, as with what is in /proc: use scp or cat"
_TOO_LARGE = f"a file of more than {format_size(limits.WEB_FILE_MAX)} does not go through the browser: use scp or rsync"


class FileRefusedError(Exception):
    """The file does not go; the message is for the person."""


@dataclass(slots=True)
class Moved:
    """How far a file has come."""

    count: int = 0


async def serve_file(
    guest: Guest, socket: WebSocket, order: Order, road: Road, traveller: Traveller, moved: Moved
) -> Ending:
    """Move one file, and return how that ended."""
    work = _take_up if order.kind == "upload" else _bring_down
    try:
        async with road.to(traveller, order.node, order.login) as reached, _sftp(reached) as sftp:
            await work(guest, socket, sftp, order, moved)
    except RoadError as err:
        return Ending(FAILED, str(err))
    except (FileRefusedError, SFTPError) as err:
        return Ending(FAILED, _words(err, order.path))
    except MessageError as err:
        return Ending(BAD_MESSAGE, f"the page said something that is not understood: {err}")
    except TimeoutError:
        return Ending(FAILED, "no answer in time")
    socket.send_text(json.dumps({"type": "done", "bytes": moved.count}))
    return Ending(NORMAL, "")


@asynccontextmanager
async def _sftp(reached: Reached) -> AsyncIterator[SFTPClient]:
    try:
        client = await reached.connection.start_sftp_client()
    except (asyncssh.Error, OSError) as err:
        raise RoadError("this device has no SFTP server: install openssh-sftp-server there, or use scp -O") from err
    async with client:
        yield client


# --- up ---------------------------------------------------------------------------------------------------------


async def _take_up(guest: Guest, socket: WebSocket, sftp: SFTPClient, order: Order, moved: Moved) -> None:
    place, size, before = await _agree(socket, sftp, order.path)
    beside = posixpath.join(posixpath.dirname(place), f".skerry-{guest.user}-{secrets.token_hex(8)}.part")
    try:
        async with sftp.open(beside, "xb", SFTPAttrs(permissions=_PRIVATE)) as file:
            socket.send_text(json.dumps({"type": "go"}))
            await _write(guest, socket, file, size, moved)
        await _put_in_place(sftp, beside, place, before)
    except BaseException:
        await _sweep(sftp, beside)
        raise


async def _agree(socket: WebSocket, sftp: SFTPClient, path: str) -> tuple[str, int, SFTPAttrs | None]:
    """Return where a file goes, how large it is, and what stands there now, once the person agrees to replace it."""
    place = await _resolve(sftp, path)
    patience = _PATIENCE
    while True:
        fields = await _said(socket, "file", patience)
        size = fields.take("size", whole)
        if size > limits.WEB_FILE_MAX:
            raise FileRefusedError(_TOO_LARGE)
        before = await _look(sftp, place)
        if before is None or fields.get("overwrite", flag, False):
            return place, size, before
        socket.send_text(json.dumps({"type": "exists", "size": before.size or 0}))
        patience = _REPLY


async def _resolve(sftp: SFTPClient, path: str) -> str:
    """Return the absolute path that a person means: from the login's home, unless it begins with a slash."""
    if path == "~" or path.startswith("~/"):
        path = path[2:] or "."
    return str(await sftp.realpath(path))


async def _look(sftp: SFTPClient, place: str) -> SFTPAttrs | None:
    """Return what stands at a place; None for nothing. Raises `FileRefusedError` for what is no file."""
    try:
        found = await sftp.stat(place)
    except SFTPNoSuchFile:
        return None
    if not stat.S_ISREG(found.permissions or 0):
        what = "a directory" if stat.S_ISDIR(found.permissions or 0) else "no plain file"
        raise FileRefusedError(f"it is {what}")
    return found


async def _write(guest: Guest, socket: WebSocket, file: asyncssh.SFTPClientFile, size: int, moved: Moved) -> None:
    while moved.count < size:
        data = await _next(socket)
        if not isinstance(data, bytes):
            raise MessageError("a text where the file's bytes should be")
        if moved.count + len(data) > min(size, limits.WEB_FILE_MAX):
            raise FileRefusedError("the browser sent more than it had said")
        await _in_time(file.write(data, moved.count))
        moved.count += len(data)
        guest.is_used = True
        socket.send_text(json.dumps({"type": "took", "bytes": len(data)}))
    await _said(socket, "done")


async def _put_in_place(sftp: SFTPClient, beside: str, place: str, before: SFTPAttrs | None) -> None:
    """Give the file its name: over the one that stood there, or only where nothing stands there yet."""
    if before is None:
        await sftp.setstat(beside, SFTPAttrs(permissions=0o644))
        await sftp.rename(beside, place)  # refuses where there is something by now
        return
    await sftp.setstat(beside, SFTPAttrs(permissions=stat.S_IMODE(before.permissions or 0o644)))
    await sftp.posix_rename(beside, place)


async def _sweep(sftp: SFTPClient, beside: str) -> None:
    with contextlib.suppress(SFTPError, OSError, asyncssh.Error, TimeoutError):
        async with asyncio.timeout(5):
            await sftp.remove(beside)


# --- down -------------------------------------------------------------------------------------------------------


async def _bring_down(guest: Guest, socket: WebSocket, sftp: SFTPClient, order: Order, moved: Moved) -> None:
    place = await _resolve(sftp, order.path)
    found = await _look(sftp, place)
    if found is None:
        raise FileRefusedError("there is no such file")
    if (found.size or 0) > limits.WEB_FILE_MAX:
        raise FileRefusedError(_TOO_LARGE)
    async with sftp.open(place, "rb") as file:
        size = found.size or 0
        socket.send_text(json.dumps({"type": "file", "name": saved_name(order.path), "size": size}))
        await _read(guest, socket, file, size, moved)


def saved_name(path: str) -> str:
    """Return what a file is saved as: the last part of the path that the person gave; the device has no say in it.

    Without what makes a name look like another, or like a path: control and bidirectional characters, backslashes.
    """
    last = posixpath.basename(path.rstrip("/"))
    kept = "".join(each for each in last if each.isprintable() and each != "\\").lstrip().rstrip(" .")
    return (kept if len(kept) <= _NAME_MAX else kept[:_NAME_MAX].rstrip(" .")) or "file"


async def _read(guest: Guest, socket: WebSocket, file: asyncssh.SFTPClientFile, size: int, moved: Moved) -> None:
    """Send as much as was said: of a file that grows meanwhile, what was there. What gives less or more is refused."""
    ahead = 0
    while moved.count < size:
        wanted = min(_PIECE, size - moved.count)
        data = await _piece(file, wanted, moved.count)
        if not 0 < len(data) <= wanted:
            raise FileRefusedError(_MORE if data else _FEWER)
        socket.send_bytes(data)
        moved.count += len(data)
        ahead += len(data)
        guest.is_used = True
        while ahead > _AHEAD:
            ahead -= (await _said(socket, "took")).take("bytes", whole)
    if not size and await _piece(file, 1, 0):
        raise FileRefusedError(_SIZELESS)
    while ahead > 0:
        ahead -= (await _said(socket, "took")).take("bytes", whole)


async def _piece(file: asyncssh.SFTPClientFile, size: int, at: int) -> bytes:
    data = await _in_time(file.read(size, at))
    assert isinstance(data, bytes)  # noqa: S101 - opened as bytes
    return data


# --- both -------------------------------------------------------------------------------------------------------


async def _next(socket: WebSocket, patience: timedelta = _PATIENCE) -> str | bytes:
    said = await _in_time(socket.receive(), patience)
    if said is None:
        raise FileRefusedError("the browser is gone")
    return said


async def _said(socket: WebSocket, kind: str, patience: timedelta = _PATIENCE) -> Fields:
    """Return the next message, which must be a text of this type. Raises `MessageError`."""
    said = await _next(socket, patience)
    if not isinstance(said, str):
        raise MessageError("bytes where a word should be")
    fields = Fields(decode(said.encode()))
    if fields.take("type", text) != kind:
        raise MessageError(f"something else than {kind}")
    return fields


async def _in_time(work: Awaitable[T], patience: timedelta = _PATIENCE) -> T:
    async with asyncio.timeout(patience.total_seconds()):
        return await work


def _words(err: Exception, path: str) -> str:
    shown = escape_text(path[:200])
    if isinstance(err, SFTPPermissionDenied):
        return f"{shown}: permission denied"
    if isinstance(err, SFTPNoSuchFile):
        return f"{shown}: no such file or directory"
    reason = err.reason if isinstance(err, SFTPError) else str(err)
    return f"{shown}: {escape_text(reason[:200]) or type(err).__name__}"
