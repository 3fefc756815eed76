"""A YAML text held against a form: every key known, every value of its type, every fault with its line.

A `Section` lists the keys that may stand in a mapping; `read_form` walks the text's own node tree, so
that a fault can name the line it stands on. Values come back as plain Python, defaults filled in.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from protocol.addresses import split_address


class FormError(ValueError):
    """The text does not fit the form.

    Attributes:
        line: where, counted from 1.
        key: the full key, such as ``auth_service.listen_addr``; empty for the whole text.
    """

    def __init__(self, source: str, line: int, key: str, problem: str) -> None:
        super().__init__(f"{source}:{line}: {key + ': ' if key else ''}{problem}")
        self.line = line
        self.key = key


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a section.

    Attributes:
        read: turns the plain value (str, int, float, bool, None, list, dict) into the setting; raises
            ValueError with the words that the person should read.
        default: the setting where the key is absent.
    """

    read: Callable[[Any], Any]
    default: Any = None


@dataclass(frozen=True, slots=True)
class Section:
    """The keys of a mapping. `known` entries are settings, `sections` are mappings within."""

    known: Mapping[str, Entry] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)

    def keys(self) -> list[str]:
        """Return every key that may stand here."""
        return [*self.known, *self.sections]


Settings = dict[str, Any]
# What the YAML library lets out beside its own errors: numbers out of range, odd tags, endless nesting.
_STRAY_ERRORS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def read_form(text: str, source: str, form: Section) -> Settings:
    """Return the settings in `text`: nested dicts, with every key of `form` present.

    Args:
        text: the YAML.
        source: the file's name, for messages.
        form: what may stand in it.

    Raises:
        FormError: with file, line, key and what is wrong; the first fault only.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        raise FormError(source, line, "", f"not YAML: {err.problem}") from None
    except (yaml.YAMLError, *_STRAY_ERRORS) as err:
        raise FormError(source, 1, "", f"not YAML: {str(err).partition(chr(10))[0]}") from None
    if root is None:
        return defaults(form)
    return _read_section(_Place(source, root, ""), form)


def defaults(form: Section) -> Settings:
    """Return the settings of an empty text."""
    found = {key: entry.default for key, entry in form.known.items()}
    return found | {key: defaults(section) for key, section in form.sections.items()}


@dataclass(frozen=True, slots=True)
class _Place:
    source: str
    node: yaml.Node
    path: str

    def fault(self, problem: str) -> FormError:
        return FormError(self.source, self.node.start_mark.line + 1, self.path, problem)

    def inner(self, node: yaml.Node, key: str) -> _Place:
        return _Place(self.source, node, f"{self.path}.{key}" if self.path else key)


def _read_section(place: _Place, form: Section) -> Settings:
    found = defaults(form)
    for key, inner in _pairs(place):
        if key in form.sections:
            found[key] = _read_inner(inner, form.sections[key])
        elif key in form.known:
            found[key] = _read_entry(inner, form.known[key])
        else:
            near = difflib.get_close_matches(key, form.keys(), 1)
            hint = f" (did you mean {near[0]!r}?)" if near else f" (known here: {', '.join(sorted(form.keys()))})"
            raise inner.fault(f"unknown key{hint}")
    return found


def _read_inner(inner: _Place, section: Section) -> Settings:
    empty = isinstance(inner.node, yaml.ScalarNode) and inner.node.tag == "tag:yaml.org,2002:null"
    return defaults(section) if empty else _read_section(inner, section)


def _pairs(place: _Place) -> list[tuple[str, _Place]]:
    if not isinstance(place.node, yaml.MappingNode):
        raise place.fault("not a mapping of keys to values")
    pairs: dict[str, _Place] = {}
    for key_node, value_node in place.node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        inner = place.inner(value_node, key)
        if key in pairs:
            raise FormError(place.source, key_node.start_mark.line + 1, inner.path, "stands here twice")
        pairs[key] = inner
    return list(pairs.items())


def _read_entry(place: _Place, entry: Entry) -> Any:  # noqa: ANN401 - a setting is whatever its reader makes of it
    try:
        return entry.read(_plain(place))
    except FormError:
        raise
    except ValueError as err:
        raise place.fault(str(err)) from None


def _plain(place: _Place) -> Any:  # noqa: ANN401 - a YAML value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(place.node, deep=True)
    except (yaml.YAMLError, *_STRAY_ERRORS):
        raise place.fault("not a plain value") from None
    finally:
        loader.dispose()


def text(value: object) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"should be a text, not {describe(value)}")
    return value


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"should be true or false, not {describe(value)}")
    return value


def texts(value: object) -> tuple[str, ...]:
    """Read a list of texts; one text alone is a list of one."""
    if isinstance(value, str) and value:
        return (value,)
    if not isinstance(value, list):
        raise ValueError(f"should be a list of texts, not {describe(value)}")
    return tuple(text(item) for item in value)


def listen_address(value: object) -> tuple[str, int]:
    """Read ``HOST:PORT`` to listen on; IPv6 in brackets; port 0 lets the system choose."""
    host, port = split_address(text(value))
    if not host:
        raise ValueError("should be HOST:PORT, with the address to listen on (0.0.0.0 for all)")
    return host, port


def describe(value: object) -> str:
    """Return what kind of value this is, in words for a complaint."""
    if value is None:
        return "nothing"
    words = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return "an empty text" if value == "" else words.get(type(value), "a text")
