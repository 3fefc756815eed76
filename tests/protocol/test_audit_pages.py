from __future__ import annotations

import pytest

from protocol.audit_pages import AuditEvents
from protocol.fields import MessageError


def test_what_was_written_is_read_again() -> None:
    page = {"events": [{"event": "user.login", "code": "T1000I"}], "next": "2026-11-22.17", "examined": 5}
    assert AuditEvents.from_dict(page).to_dict() == page


def test_what_is_no_page_is_refused() -> None:
    with pytest.raises(MessageError, match="events: not an object"):
        AuditEvents.from_dict({"events": [1], "examined": 0})
