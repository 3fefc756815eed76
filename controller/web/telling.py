"""What the audit log says, as a page shows it: its sentences, in which moments are in the reader's own zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from markupsafe import Markup, escape

from protocol.event_sentences import describe_event
from protocol.events import Json
from protocol.instants import parse_instant
from protocol.table import cut_text, escape_text

# Fields of events that hold moments. What else looks like one, in a command say, stands as it was typed.
_MOMENTS = ("expires", "offline_since", "down_since")


def tell_event(event: Mapping[str, Json], most: int) -> Markup:
    """Return the sentence of an event, its values made visible, of at most `most` characters."""
    text = escape(cut_text(escape_text(describe_event(event)[: most + 1]), most))
    for name in _MOMENTS:
        said = event.get(name)
        if isinstance(said, str) and said in text:
            text = text.replace(escape(said), tell_instant(said))
    return text


def tell_instant(text: str) -> Markup:
    """Return a moment as a ``time`` element; what is none stands as it is, made visible."""
    try:
        moment = parse_instant(text).astimezone(UTC)
    except ValueError:
        return escape(escape_text(text[:60]))
    element = Markup('<time class="local" datetime="{}">{}</time>')
    return element.format(moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.strftime("%Y-%m-%d %H:%M UTC"))
