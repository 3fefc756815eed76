"""The surveys of the recordings that people look at, kept for a while: the next question goes on from there."""

from __future__ import annotations

import threading
from collections import OrderedDict

from controller.authority import UnknownKeyError, UnopenableError
from controller.recordings import Recordings, Stored
from controller.recordings.survey import Survey
from protocol.names import SessionId
from protocol.recording.fault import RecordingError
from protocol.recording.opening import Opener

_KEPT = 16


class Surveys:
    """Surveys by session, those that were asked for last. May be used by any thread; each process keeps its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[SessionId, Survey] = OrderedDict()
        self._renewals: OrderedDict[SessionId, Survey] = OrderedDict()

    def of(self, recordings: Recordings, stored: Stored) -> Survey:
        """Return the survey of a recording: the one there is, unless the recording was replaced meanwhile.

        Raises:
            AuthorityError, StoreError: its key cannot be had now.
            RecordingsError: it is not there any more.
        """
        return self._find(self._kept, recordings, stored)

    def again(self, recordings: Recordings, stored: Stored) -> Survey:
        """Return a survey that goes through a recording once more: the one under way, or one that is begun.

        What is on the disk may have changed. `of` returns the one before until `settle` is told that it is done. Raises
        what `of` does.
        """
        return self._find(self._renewals, recordings, stored)

    def settle(self, session: SessionId, survey: Survey) -> None:
        """Have the survey that `again` returned, now done, take the place of the one before."""
        with self._lock:
            if self._renewals.get(session) is survey:
                del self._renewals[session]
                _put(self._kept, session, survey)

    def _find(self, kept: OrderedDict[SessionId, Survey], recordings: Recordings, stored: Stored) -> Survey:
        session = stored.entry.session
        with self._lock:
            found = kept.get(session)
            if found is not None and found.header == stored.header and found.taken <= stored.entry.size:
                kept.move_to_end(session)
                return found
        made = Survey(stored.header, _opener(recordings, stored))
        with self._lock:
            _put(kept, session, made)
        return made


def _put(kept: OrderedDict[SessionId, Survey], session: SessionId, survey: Survey) -> None:
    kept[session] = survey
    kept.move_to_end(session)
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _opener(recordings: Recordings, stored: Stored) -> Opener | None:
    """Return what opens the records; None where nothing here will ever open them."""
    try:
        return Opener(stored.header, recordings.key(stored.entry.session).key)
    except (UnknownKeyError, UnopenableError, RecordingError):
        return None
