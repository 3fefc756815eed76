"""The recordings a person may see, asked of the web door."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlencode

from protocol import limits
from protocol.endpoints import RECORDING, RECORDING_CONTENT, RECORDING_KEY, RECORDINGS, Endpoint
from protocol.fields import MessageError
from protocol.names import SessionId
from protocol.recordings import RecordingEntry, RecordingKey, RecordingList
from protocol.table import escape_text
from tsh.error import NotSignedInError, TshError
from tsh.setting import Settings
from tsh.web_door import Answer, DoorRefusedError, SignInRefusedError, Trust, WebDoor

T = TypeVar("T")
_SHOWN_MAX = 5


class NotFoundError(TshError):
    """The recording is not there, or not for this person's eyes."""


class Archive:
    """The recordings of one cluster, as its web door shows them to the person who is signed in.

    All methods raise `NotSignedInError`, or `TshError` where the door cannot be reached, refuses or makes no sense.
    """

    def __init__(self, settings: Settings) -> None:
        """Open it for the profile that is meant. Raises `NotSignedInError` where there is none that is valid."""
        self._profile = settings.profile()
        settings.folder().valid_facts(self._profile, datetime.now(UTC))
        profile = self._profile
        self._door = WebDoor(profile.host, profile.port, Trust(profile.anchors, profile.insecure), user=profile.user)

    @property
    def url(self) -> str:
        """The web door's address, for people."""
        return self._profile.url

    def entries(self, wanted: Mapping[str, int]) -> RecordingList:
        """Return recordings, the newest first.

        Args:
            wanted: what the door is asked: ``last`` (seconds), ``since``, ``until`` (milliseconds), ``limit``.
        """
        endpoint = Endpoint(RECORDINGS.method, f"{RECORDINGS.path}?{urlencode(wanted)}")
        return self._read(endpoint, RecordingList.from_dict)

    def entry(self, session: SessionId) -> RecordingEntry:
        """Return one recording. Raises `NotFoundError`."""
        with_name = Endpoint(RECORDING.method, RECORDING.path.format(session=session))
        return self._about(session, lambda: self._read(with_name, RecordingEntry.from_dict))

    def find(self, beginning: str) -> SessionId:
        """Return the session, among the newest `limits.RECORDINGS_LISTED_MAX`, whose id begins so.

        Raises `NotFoundError` where none does, `TshError` where several do.
        """
        listed = self.entries({"limit": limits.RECORDINGS_LISTED_MAX}).recordings
        found = [entry for entry in listed if entry.session.startswith(beginning)]
        if not found:
            raise NotFoundError(
                f"no recording that you may see begins with {beginning}; `tsh recordings ls` lists them"
            )
        if len(found) > 1:
            shown = "".join(f"\n  {entry.session} on {escape_text(entry.hostname)}" for entry in found[:_SHOWN_MAX])
            raise TshError(f"{len(found)} recordings begin with {beginning}; name one by more of its ID:{shown}")
        return found[0].session

    def key(self, session: SessionId) -> RecordingKey:
        """Return what opens a recording; the cluster's audit log tells of it. Raises `NotFoundError`."""
        with_name = Endpoint(RECORDING_KEY.method, RECORDING_KEY.path.format(session=session))
        return self._about(session, lambda: self._read(with_name, RecordingKey.from_dict))

    def content(self, session: SessionId, offset: int, size: int) -> Answer:
        """Return at most `size` bytes of a recording from `offset`, as they are stored. Raises `NotFoundError`."""
        path = f"{RECORDING_CONTENT.path.format(session=session)}?{urlencode({'offset': offset, 'size': size})}"
        endpoint = Endpoint(RECORDING_CONTENT.method, path)
        token = self._profile.session_token
        return self._about(session, lambda: self._signed_in(lambda: self._door.fetch(endpoint, token)))

    def close(self) -> None:
        """Close the connection to the door."""
        self._door.close()

    def _read(self, endpoint: Endpoint, read: Callable[[object], T]) -> T:
        answer = self._signed_in(lambda: self._door.ask(endpoint, token=self._profile.session_token))
        try:
            return read(answer)
        except MessageError as err:
            raise TshError(f"asking {self.url} for recordings: it sent something else ({err})") from None

    def _about(self, session: SessionId, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except DoorRefusedError as err:
            if err.code == http.client.NOT_FOUND:
                raise NotFoundError(
                    f"recording {session} not found, or you may not see it; of a session of late, it may still wait "
                    "on its device"
                ) from None
            raise

    def _signed_in(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except SignInRefusedError:
            profile = self._profile
            text = f"your session at {profile.url} has ended; log in: {profile.login_command}"
            raise NotSignedInError(text) from None
