"""Recordings come in here: resumable uploads as tus 1.0.0 has them (https://tus.io/protocols/resumable-upload).

Of its extensions: creation, creation-defer-length and checksum; termination is refused, for what was recorded is not a
node's to delete. Of the metadata, the one key `session` is read and kept: it names the upload.
"""

from __future__ import annotations

import binascii
import logging
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta

from flask import Blueprint, Flask, Response, request

from controller.api.peer import LOG, error, judge_peer, peer_address, refuse_peer
from controller.api.turnstile import Turnstile
from controller.audit import AuditError
from controller.enrolment import Enrolment
from controller.enrolment.nodes import NodeRecord
from controller.https.complaints import Complaints
from controller.policy.upload import ALGORITHMS, Checksum, Piece
from controller.recordings import IntakeError, NoRoomError, Progress, Recordings
from controller.store.interface import StoreError
from protocol import endpoints, limits, names
from protocol.decision import Granted, Refused
from protocol.names import BadNameError, SessionId

VERSION = "1.0.0"
_EXTENSIONS = "creation,creation-defer-length,checksum"
_PIECE_TYPE = "application/offset+octet-stream"
# The door holds bodies of that size when a request begins to be answered: see `controller.https.worker`.
_READ_AHEAD = 2 * limits.RECORDING_PIECE_MAX
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_KEY = re.compile(r"[!-+\--~]{1,255}", re.ASCII)  # ASCII that can be seen, without the comma
# Each check of `controller.policy.upload`, and what the node is told where it fails. U3 is not among them: another
# node's upload is not there for it, and only where it would begin one of the same session must it be told otherwise.
_STATUSES = {
    "U1": 400,
    "U2": 404,
    "U4": 413,
    "U5": 400,
    "U6": 507,
    "U7": 413,
    "U8": 422,
    "U9": 409,
    "U10": 460,
    **dict.fromkeys(("U11", "U12", "U13", "U14", "U15", "U16", "U17"), 422),
}
_TEXTS = {
    400: "the request does not fit this upload",
    403: "no recording of this session is taken from this node",
    404: "there is no such upload: create it first",
    409: "the upload does not stand at this offset: ask where it stands",
    413: "that is more than is taken",
    422: "the recording does not fit, and no more of it is taken",
    460: "the checksum is not this piece's: send it again",
    507: "there is no room for it now: send it again later",
}

Answer = Response | tuple[Response, int]


class _BadRequestError(ValueError):
    """A header is not what it should be. Its message is for the peer."""


def add_uploads(app: Flask, enrolment: Enrolment, recordings: Recordings) -> None:
    """Let `app` take recordings."""
    door = _Door(enrolment, recordings)
    blueprint = Blueprint("uploads", __name__)
    blueprint.add_url_rule(
        endpoints.UPLOADS, "all", door.all, methods=_METHODS, provide_automatic_options=False, strict_slashes=False
    )
    blueprint.add_url_rule(
        f"{endpoints.UPLOADS}/<session>", "one", door.one, methods=_METHODS, provide_automatic_options=False
    )
    blueprint.after_request(_stamp)
    app.register_blueprint(blueprint)


class _Door:
    def __init__(self, enrolment: Enrolment, recordings: Recordings) -> None:
        self._enrolment = enrolment
        self._recordings = recordings
        self._complaints = Complaints(LOG)
        self._turnstile = Turnstile(limits.UPLOADS_AT_ONCE)

    def all(self) -> Answer:
        """Answer at the address of all uploads."""
        return self._answer({"POST": self._create, "OPTIONS": _options})

    def one(self, session: str) -> Answer:
        """Answer at the address of one upload."""

        def parsed(handle: Callable[[NodeRecord, SessionId], Answer]) -> Callable[[NodeRecord], Answer]:
            return lambda node: handle(node, names.parse_session_id(session))

        return self._answer({"HEAD": parsed(self._tell), "PATCH": parsed(self._take), "OPTIONS": _options})

    def _answer(self, methods: dict[str, Callable[[NodeRecord], Answer]]) -> Answer:
        peer = judge_peer(self._enrolment)
        if isinstance(peer, Refused):
            return refuse_peer(peer)
        method = request.headers.get("X-HTTP-Method-Override", request.method).upper()
        if method not in methods:
            return _with(error("no such method here", 405), {"Allow": ", ".join(methods)})
        if method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
            return _with(error(f"this is tus {VERSION}, and no other version", 412), {"Tus-Version": VERSION})
        with self._turnstile.enter(peer.value.node_id) as is_in:
            return self._carry_out(peer.value, methods[method]) if is_in else _later(503, limits.UPLOAD_BUSY_RETRY)

    def _carry_out(self, node: NodeRecord, handle: Callable[[NodeRecord], Answer]) -> Answer:
        try:
            return handle(node)
        except BadNameError:
            return error(_TEXTS[404], 404)
        except _BadRequestError as err:
            return error(str(err), 400)
        except NoRoomError as err:
            self._complaints.say("machine API: upload of node %s: %s", node.node_id, err)
            return _later(507)
        except (IntakeError, AuditError, StoreError) as err:
            self._complaints.say("machine API: upload of node %s not taken: %s", node.node_id, err, level=logging.ERROR)
            return _later(503)

    def _create(self, node: NodeRecord) -> Answer:
        length, session = _declared_length(), _metadata_session()
        answer = self._recordings.begin(node, session, length, peer_address())
        if isinstance(answer, Refused):
            return self._refuse(node, answer, stranger=403)
        made = Response(status=201)
        made.headers["Location"] = f"{endpoints.UPLOADS}/{answer.value.session}"
        return made

    def _tell(self, node: NodeRecord, session: SessionId) -> Answer:
        answer = self._recordings.progress(node, session, peer_address())
        if isinstance(answer, Refused):
            return self._refuse(node, answer)
        made = _progress(answer, 200)
        length = answer.value.length
        made.headers.add(*(("Upload-Defer-Length", "1") if length is None else ("Upload-Length", str(length))))
        made.headers["Upload-Metadata"] = f"session {b64encode(session.encode()).decode()}"
        made.headers["Cache-Control"] = "no-store"
        return made

    def _take(self, node: NodeRecord, session: SessionId) -> Answer:
        if request.headers.get("Content-Type") != _PIECE_TYPE:
            return error(f"a piece of an upload is {_PIECE_TYPE}", 415)
        offset, length, checksum = _number("Upload-Offset"), _optional_number("Upload-Length"), _checksum()
        request.max_content_length = limits.RECORDING_PIECE_MAX
        piece = Piece(offset, request.get_data(cache=False), length, checksum)
        answer = self._recordings.append(node, session, piece, peer_address())
        return self._refuse(node, answer) if isinstance(answer, Refused) else _progress(answer, 204)

    def _refuse(self, node: NodeRecord, refused: Refused, *, stranger: int = 404) -> Answer:
        status = stranger if refused.check == "U3" else _STATUSES[refused.check]
        if status == 507:
            self._complaints.say("machine API: no room for node %s: %s", node.node_id, refused.reason)
            return _later(status)
        LOG.debug("machine API: upload of node %s (%s): %s", node.node_id, refused.check, refused.reason)
        return error(_TEXTS[status], status)


def _options(_node: NodeRecord) -> Answer:
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": _EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Tus-Max-Size": str(limits.RECORDING_MAX),
    }
    return Response(status=204, headers=headers)


def _progress(granted: Granted[Progress], status: int) -> Response:
    progress = granted.value
    answer = Response(status=status)
    answer.headers["Upload-Offset"] = str(progress.offset)
    answer.headers["Skerry-Recording-State"] = progress.state
    if progress.hash is not None:
        answer.headers["Skerry-Recording-Hash"] = progress.hash.hex()
    return answer


def _later(status: int, after: timedelta = limits.UPLOAD_RETRY) -> Answer:
    text = _TEXTS.get(status, "the recording cannot be stored now: send it again later")
    return _with(error(text, status), {"Retry-After": str(int(after.total_seconds()))})


def _with(answer: tuple[Response, int], headers: dict[str, str]) -> Answer:
    answer[0].headers.update(headers)
    return answer


def _stamp(answer: Response) -> Response:
    """Name the version, and take what a refusal left of the body: it has come already, and the connection goes on."""
    answer.headers["Tus-Resumable"] = VERSION
    if answer.status_code >= 400 and (request.content_length or 0) <= _READ_AHEAD:
        request.environ["wsgi.input"].read(request.content_length or 0)
    return answer


# --- what the headers say -------------------------------------------------------------------------------------------


def _number(name: str) -> int:
    text = request.headers.get(name, "")
    if not _NUMBER.fullmatch(text):
        raise _BadRequestError(f"{name} is not a whole number from 0 up")
    return int(text)


def _optional_number(name: str) -> int | None:
    return _number(name) if name in request.headers else None


def _declared_length() -> int | None:
    """Return the length that a creation declares, or None where it is deferred: one of the two must be said."""
    length, deferred = _optional_number("Upload-Length"), request.headers.get("Upload-Defer-Length")
    if deferred not in {None, "1"} or (length is None) == (deferred is None):
        raise _BadRequestError("either Upload-Length or Upload-Defer-Length: 1 must be said")
    return length


def _metadata_session() -> str:
    found: dict[str, str] = {}
    for pair in request.headers.get("Upload-Metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise _BadRequestError("Upload-Metadata should be keys, each once, each with a value in base64")
        found[key] = value
    if "session" not in found:
        raise _BadRequestError("Upload-Metadata names no session")
    return _base64(found["session"], "Upload-Metadata").decode(errors="replace")


def _checksum() -> Checksum | None:
    if "Upload-Checksum" not in request.headers:
        return None
    name, _, value = request.headers["Upload-Checksum"].partition(" ")
    for algorithm in ALGORITHMS:
        if name == algorithm:
            return Checksum(algorithm, _base64(value, "Upload-Checksum"))
    raise _BadRequestError(f"Upload-Checksum should be by one of {', '.join(ALGORITHMS)}")


def _base64(value: str, name: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _BadRequestError(f"{name} should be in base64") from None
