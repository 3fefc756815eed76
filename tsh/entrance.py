"""The web door, for the person who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from protocol.endpoints import Endpoint
from protocol.fields import MessageError
from tsh.error import NotSignedInError, TshError
from tsh.setting import Settings
from tsh.web_door import SignInRefusedError, Trust, WebDoor

T = TypeVar("T")


class Entrance:
    """The web door of the profile that is meant, asked with its session token.

    Attributes:
        profile: that profile.
    """

    def __init__(self, settings: Settings) -> None:
        """Look the profile up. Raises `NotSignedInError` where there is none that is valid."""
        profile = self.profile = settings.profile()
        settings.folder().valid_facts(profile, datetime.now(UTC))
        self._door = WebDoor(profile.host, profile.port, Trust(profile.anchors, profile.insecure), user=profile.user)

    def ask(self, endpoint: Endpoint, read: Callable[[object], T], *, doing: str, body: object = None) -> T:
        """Return what the door answers, as `read` reads it.

        Args:
            endpoint: what is asked.
            read: reads the answer, None where there is no body; raises `MessageError`.
            doing: what this is for, as a message says it: ``listing the nodes``.
            body: the JSON value to send, if any.

        Raises:
            NotSignedInError: the session has ended.
            TshError: the door cannot be reached, refuses, or makes no sense.
        """
        profile = self.profile
        try:
            return read(self._door.ask(endpoint, body, token=profile.session_token))
        except SignInRefusedError:
            text = f"your session at {profile.url} has ended; log in: {profile.login_command}"
            raise NotSignedInError(text) from None
        except MessageError as err:
            raise TshError(f"{doing}: {profile.url} sent something else ({err})") from None
