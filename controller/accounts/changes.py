"""How the record of a person is changed by that person: compared and swapped, and told to the audit log, or neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from controller.accounts.records import UserRecord
from controller.audit import AuditError
from controller.origin import Origin
from controller.store.interface import ConflictError, Record, Store
from protocol.decision import Refused
from protocol.events import Json
from protocol.names import FactorName, UserName

GONE = Refused("the user was removed, reset or changed meanwhile", "H6")


class Changes:
    """Reads people's records to change them, and writes them."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._users = store.collection("users")
        self._clock = clock

    def find(self, user: UserName) -> tuple[Record, UserRecord] | None:
        """Return the person, and the record to swap; None where there is none."""
        record = self._users.get(user, now=self._clock())
        return None if record is None else (record, UserRecord.from_value(record.value))

    def unchanged(self, person: UserRecord) -> tuple[Record, UserRecord] | None:
        """Return the person as they are now; None where they were removed, reset or given fewer rights meanwhile."""
        found = self.find(person.name)
        return found if found is not None and found[1].valid_from == person.valid_from else None

    @contextmanager
    def swap(self, record: Record, changed: UserRecord) -> Iterator[None]:
        """Change the person, and tell the audit log within: where that fails, the person is as before.

        Raises `ConflictError`: somebody else was quicker, and nothing was changed.
        """
        written = self._users.replace(record, changed.to_value(), now=self._clock())
        try:
            yield
        except AuditError:
            with suppress(ConflictError):  # what somebody else has made of it since is theirs
                self._users.replace(written, record.value, now=self._clock())
            raise


def told(user: UserName, refused: Refused, origin: Origin, name: FactorName | None = None) -> dict[str, Json]:
    """Return what the audit log is told of a refusal; `name` is the second factor that it is about."""
    fields: dict[str, Json] = {
        "user": user,
        "success": False,
        "error": refused.reason,
        "check": refused.check,
        "addr.remote": origin.address,
        "via": origin.via,
    }
    return fields | ({"mfa_device_name": name} if name else {})
