"""The words of JSON Schema (2020-12) that the OpenAPI document is written in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import get_args

from protocol.events import Json
from protocol.names import PATTERNS

Schema = dict[str, Json]

TEXT_MAX = 16 * 1024
WHOLE_MAX = 2**63 - 1
# The last moment that there is, milliseconds since 1970: the calendar's end.
LATEST = 253_402_300_799_999


def text(most: int = TEXT_MAX, *, least: int = 0, says: str = "") -> Schema:
    """Return the schema of a text of at most so many characters."""
    found: Schema = {"type": "string", "maxLength": most}
    found |= {"minLength": least} if least else {}
    return found | _says(says)


def secret(most: int = TEXT_MAX) -> Schema:
    """Return the schema of a text that nobody else is to see."""
    return text(most) | {"format": "password"}


def name(kind: str, says: str = "") -> Schema:
    """Return the schema of a name, one of `protocol.names.PATTERNS`."""
    return {"type": "string", "pattern": PATTERNS[kind]} | _says(says)


def matching(pattern: str, says: str = "") -> Schema:
    """Return the schema of a text that a regular expression describes whole."""
    return {"type": "string", "pattern": pattern} | _says(says)


def one_of(kind: object) -> Schema:
    """Return the schema of a literal type's texts."""
    return chosen(get_args(kind))


def chosen(texts: Iterable[str]) -> Schema:
    """Return the schema of one of some texts."""
    found: Schema = {"type": "string"}
    found["enum"] = [*texts]
    return found


def whole(least: int = 0, most: int = WHOLE_MAX, says: str = "") -> Schema:
    """Return the schema of a whole number."""
    found: Schema = {"type": "integer", "minimum": least, "maximum": most}
    return found | _says(says)


def instant(says: str = "") -> Schema:
    """Return the schema of a moment, no later than the calendar's end."""
    return whole(most=LATEST, says=f"{says}; milliseconds since 1970, UTC" if says else "Milliseconds since 1970, UTC")


def flag(says: str = "") -> Schema:
    """Return the schema of true and false."""
    return {"type": "boolean"} | _says(says)


def items(schema: Schema, most: int | None = None, *, least: int = 0, unique: bool = False) -> Schema:
    """Return the schema of a list."""
    found: Schema = {"type": "array", "items": schema}
    found |= {} if most is None else {"maxItems": most}
    found |= {"minItems": least} if least else {}
    return found | ({"uniqueItems": True} if unique else {})


def labels(most: int) -> Schema:
    """Return the schema of a node's labels."""
    return {
        "type": "object",
        "propertyNames": {"pattern": PATTERNS["label_name"]},
        "additionalProperties": {"type": "string", "maxLength": 128, "pattern": PATTERNS["label_value"]},
        "maxProperties": most,
    }


def anything() -> Schema:
    """Return the schema of any object."""
    return {"type": "object"}


def record(fields: Mapping[str, Schema], optional: Collection[str] = (), says: str = "") -> Schema:
    """Return the schema of an object with these fields; those of `optional` may be left out."""
    properties: Schema = {**fields}
    required: list[Json] = [field for field in fields if field not in optional]
    found: Schema = {"type": "object", "properties": properties, "required": required}
    return found | _says(says)


def or_null(schema: Schema) -> Schema:
    """Return the schema of what may be null."""
    if "type" in schema and "enum" not in schema:
        return schema | {"type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def ref(kind: type) -> Schema:
    """Return the reference to a body's schema."""
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def asked(fields: Mapping[str, Schema], optional: Collection[str] = (), says: str = "") -> Schema:
    """Return the schema of a body that programs send: what they may leave out may be null as well."""
    return record({key: or_null(each) if key in optional else each for key, each in fields.items()}, optional, says)


def _says(words: str) -> Schema:
    return {"description": words} if words else {}
