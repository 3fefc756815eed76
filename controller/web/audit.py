"""The audit log as a page: filtered, newest first, each event with its JSON; exported; and whether it is as written."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from controller.audit_reader import BadCursorError, Wanted
from controller.web import refusal, visit
from controller.web.archive import PERIODS, Period
from controller.web.reply import page
from protocol import events
from protocol.event_sentences import describe_event, time_of

blueprint = Blueprint("audit", __name__)

PAGE_SIZE = 50
_TEXT_MAX = 100
_FIELDS = ("kind", "user", "node", "session", "text", "last", "from", "to")
_TONES = {"W": "is-stale", "E": "is-danger"}
_COLUMNS = ("time", "code", "event", "user", "server_hostname", "sid", "summary", "json")
# What a spreadsheet would take for a formula begins with one of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EXPORT_IN_MEMORY, _EXPORT_PIECE = 4 * 1024 * 1024, 64 * 1024
FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Question:
    """What the page's address asks for: the fields as they stand there, and what they want."""

    fields: Mapping[str, str]
    wanted: Wanted

    @classmethod
    def read(cls, asked: Mapping[str, str], now: datetime) -> Question:
        """Read it from the page's address; what makes no sense is left out. ``kind`` may be several, with commas."""
        fields = {name: asked.get(name, "").strip()[:_TEXT_MAX] for name in _FIELDS}
        period = Period.read(fields, now)
        kinds = tuple(filter(None, (kind.strip() for kind in fields["kind"].split(","))))
        return cls(
            fields,
            Wanted(
                kinds=tuple(kind for kind in kinds if kind not in events.BY_CODE),
                codes=tuple(kind for kind in kinds if kind in events.BY_CODE),
                user=fields["user"] or None,
                node=fields["node"] or None,
                session=fields["session"] or None,
                since=period.since,
                until=period.until,
                text=fields["text"],
            ),
        )

    @property
    def given(self) -> dict[str, str]:
        """The fields that are there, as a link has them."""
        return {name: value for name, value in self.fields.items() if value}

    def link(self, **more: str) -> str:
        """Return the query of a link that asks for the same, and for `more`."""
        return "?" + urlencode({**self.given, **more})


@dataclass(frozen=True, slots=True)
class Row:
    """One event as its row shows it. `session` is empty where it is about none."""

    time: datetime
    summary: str
    code: str
    name: str
    tone: str
    uid: str
    session: str
    body: str
    event: Mapping[str, Any]


@blueprint.get("/web/audit")
def show_audit() -> Response:
    """Show the page."""
    services = visit.services()
    question = Question.read(request.args, services.clock())
    before = request.args.get("before")
    try:
        found = services.ledger.page(question.wanted, before, PAGE_SIZE)
    except BadCursorError as err:
        return refusal.answer(400, f"This page of the audit log cannot be shown: {err}.")
    return page(
        "audit.html",
        rows=[row_of(event) for event in found.events],
        question=question,
        groups=_groups(),
        periods=PERIODS,
        older=question.link(before=found.next) if found.next else None,
        newest=question.link() if before else None,
        examined=found.examined,
        chain=services.ledger.verification() if "chain" in request.args else None,
    )


@blueprint.get("/web/audit/chain")
def show_chain() -> Response:
    """Check the chain, as far as it was not checked before, and say what it is like."""
    return page("audit_chain.html", chain=visit.services().ledger.verification())


@blueprint.get("/web/audit/export")
def export() -> Response:
    """Hand out the filtered view, the newest first, as JSON lines or CSV. The audit log knows of it before."""
    services = visit.services()
    form = request.args.get("format", "jsonl")
    if form not in FORMATS:
        return refusal.answer(400, "The audit log is exported as jsonl or csv.")
    question = Question.read(request.args, services.clock())
    return hand_out(question.wanted, urlencode(question.given), form)


def hand_out(wanted: Wanted, said: str, form: str) -> Response:
    """Return the events that are wanted as a file; `said` is what was asked for, as the audit log is told of it."""
    services = visit.services()
    found = services.ledger.export(wanted)
    with ExitStack() as undo:
        kept = undo.enter_context(closing(_Export()))
        count = kept.fill(_csv(found)) - 1 if form == "csv" else kept.fill(_jsonl(found))
        services.audit.write(
            events.AUDIT_EXPORT,
            {
                "user": visit.person().user,
                "count": count,
                "addr.remote": visit.origin().address,
                "filter": said,
                "via": "web",
            },
        )
        response = Response(kept.pieces(), content_type=FORMATS[form])
        day = services.clock().strftime("%Y-%m-%d")
        response.headers["Content-Disposition"] = f'attachment; filename="audit-{day}.{form}"'
        response.call_on_close(undo.pop_all().close)  # from here on the server's to close, sent or not
    return response


class _Export:
    """What is exported, put aside until the audit log knows how much that is: in memory while it is little."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_EXPORT_IN_MEMORY)  # noqa: SIM115 - open until it was sent

    def fill(self, lines: Iterable[bytes]) -> int:
        """Put all of them aside, and return how many they were."""
        count = 0
        for line in lines:
            self._file.write(line)
            count += 1
        self._file.seek(0)
        return count

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it, once."""
        with self._file:
            while piece := self._file.read(_EXPORT_PIECE):
                yield piece

    def close(self) -> None:
        """Throw it away."""
        self._file.close()


def row_of(event: Mapping[str, Any]) -> Row:
    """Return how an event is shown."""
    code = str(event.get("code", ""))
    return Row(
        time=time_of(event),
        summary=describe_event(event),
        code=code,
        name=str(event.get("event", "")),
        tone=_TONES.get(code[-1:], ""),
        uid=str(event.get("uid", "")),
        session=str(event.get("sid", "")),
        body=json.dumps(event, indent=2, ensure_ascii=True),
        event=event,
    )


def guarded(cell: str) -> str:
    """Return a cell of CSV that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _groups() -> list[tuple[str, list[events.EventKind]]]:
    """Return the kinds of events by the first word of their names, as a list to choose from shows them."""
    ordered = sorted(events.KINDS, key=lambda kind: (kind.name.partition(".")[0], kind.name, kind.code))
    return [(name, list(kinds)) for name, kinds in groupby(ordered, key=lambda kind: kind.name.partition(".")[0])]


def _jsonl(found: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for event in found:
        yield json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _csv(found: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    yield _csv_line(_COLUMNS)
    for event in found:
        fields = [str(event.get(name, "")) for name in _COLUMNS[:-2]]
        yield _csv_line([*fields, describe_event(event), json.dumps(event, separators=(",", ":"))])


def _csv_line(cells: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow([guarded(cell) for cell in cells])
    return out.getvalue().encode(errors="replace")
