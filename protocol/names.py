"""Names, and one parser for each: the only way in from text.

A parser takes whatever a peer sent and returns the name, or raises `BadNameError`.
The alphabets are narrow on purpose: none of these can hold a path separator alone (``.`` and ``..``),
a control character, white space, or a character that a shell, a log or a page would read as more than
a letter.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import NewType

from protocol import limits

ClusterName = NewType("ClusterName", str)
NodeId = NewType("NodeId", str)
NodeName = NewType("NodeName", str)
SessionId = NewType("SessionId", str)
UserName = NewType("UserName", str)
Login = NewType("Login", str)
RoleName = NewType("RoleName", str)
TokenText = NewType("TokenText", str)
FactorName = NewType("FactorName", str)
Labels = Mapping[str, str]

_CLUSTER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@+-]{0,62}[A-Za-z0-9])?", re.ASCII)
_LOGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9./_-]{0,62}[A-Za-z0-9])?", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LABEL_VALUE_CHARS = 128
_LABEL_VALUE_FORBIDDEN = frozenset(",=\"'`\\<>")


class BadNameError(ValueError):
    """A text is not a name of the kind that was asked for. Its message is safe to show."""


def _match(pattern: re.Pattern[str], text: object, what: str, rule: str) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        message = f"not a valid {what} ({rule})"
        raise BadNameError(message)
    return text


def parse_cluster_name(text: object) -> ClusterName:
    """Return `text` as a cluster name: letters, digits, dots and hyphens, at most 63. Raises `BadNameError`."""
    return ClusterName(_match(_CLUSTER, text, "cluster name", "letters, digits, '.' and '-', at most 63"))


def parse_node_name(text: object) -> NodeName:
    """Return `text` as a node name. A UUID is refused: it would shadow another node's. Raises `BadNameError`."""
    name = _match(_NODE, text, "node name", "letters, digits, '.', '_' and '-', at most 128")
    if _UUID.fullmatch(name.lower()):
        message = "not a valid node name (a UUID would be taken for a node's id)"
        raise BadNameError(message)
    return NodeName(name)


def parse_user_name(text: object) -> UserName:
    """Return `text` as a user's name: letters, digits and ``._@+-``, at most 64. Raises `BadNameError`."""
    return UserName(_match(_USER, text, "user name", "letters, digits and '._@+-', at most 64"))


def parse_login(text: object) -> Login:
    """Return `text` as an operating-system user name, at most 32 characters. Raises `BadNameError`."""
    return Login(_match(_LOGIN, text, "login", "an operating-system user name, at most 32 characters"))


def parse_logins(text: str) -> tuple[Login, ...]:
    """Return a comma-separated list of logins, each once, in their order. Raises `BadNameError`."""
    return tuple(dict.fromkeys(parse_login(part.strip()) for part in text.split(",")))


def parse_role_name(text: object) -> RoleName:
    """Return `text` as a role name. Raises `BadNameError`."""
    return RoleName(_match(_ROLE, text, "role name", "small letters, digits and '-', at most 63"))


def parse_token(text: object) -> TokenText:
    """Return `text` as a join token, invite or sign-in token: 16 to 128 of ``A-Za-z0-9_-``. Raises `BadNameError`."""
    return TokenText(_match(_TOKEN, text, "token", "16 to 128 letters, digits, '_' and '-'"))


def parse_factor_name(text: object) -> FactorName:
    """Return what a person calls an authenticator app: one line of printable text. Raises `BadNameError`."""
    name = text.strip() if isinstance(text, str) else ""
    if not 0 < len(name) <= limits.FACTOR_NAME_MAX_CHARS or not name.isprintable():
        raise BadNameError(f"not a valid name ({limits.FACTOR_NAME_MAX_CHARS} printable characters are the most)")
    return FactorName(name)


def parse_factor_id(text: object) -> str:
    """Return `text` as the id of somebody's authenticator app, a UUID in small letters. Raises `BadNameError`."""
    return _parse_uuid(text, "second factor's id")


def _parse_uuid(text: object, what: str) -> str:
    lowered = text.lower() if isinstance(text, str) else text
    return str(uuid.UUID(_match(_UUID, lowered, what, "a UUID")))


def parse_node_id(text: object) -> NodeId:
    """Return `text` as a node's id, a UUID in small letters. Raises `BadNameError`."""
    return NodeId(_parse_uuid(text, "node id"))


def parse_session_id(text: object) -> SessionId:
    """Return `text` as a session's id, a UUID in small letters. Raises `BadNameError`."""
    return SessionId(_parse_uuid(text, "session id"))


def parse_key_id(text: object) -> str:
    """Return `text` as the id of a recording key of the cluster, a UUID in small letters. Raises `BadNameError`."""
    return _parse_uuid(text, "key id")


def parse_label(key: object, value: object) -> tuple[str, str]:
    """Return one label. A value is printable text of at most 128 characters. Raises `BadNameError`."""
    name = _match(_LABEL_KEY, key, "label name", "letters, digits and './_-', at most 64")
    printable = isinstance(value, str) and len(value) <= _LABEL_VALUE_CHARS and value.isprintable()
    if not printable or not _LABEL_VALUE_FORBIDDEN.isdisjoint(str(value)):
        message = f"not a valid value for label {name!r} (printable, at most {_LABEL_VALUE_CHARS}, none of ,=\"'`\\<>)"
        raise BadNameError(message)
    return name, str(value)


def parse_labels(pairs: object) -> dict[str, str]:
    """Return a mapping of labels, sorted by name, at most `limits.LABELS_MAX`. Raises `BadNameError`."""
    if not isinstance(pairs, Mapping):
        message = "labels are not a mapping of names to values"
        raise BadNameError(message)
    if len(pairs) > limits.LABELS_MAX:
        message = f"more than {limits.LABELS_MAX} labels"
        raise BadNameError(message)
    return dict(sorted(parse_label(key, value) for key, value in pairs.items()))


def parse_labels_text(text: str) -> dict[str, str]:
    """Return labels written as ``a=b,c=d``. An empty text is no labels. Raises `BadNameError`."""
    pairs: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            message = f"not a label: {part!r} (write name=value, several separated by commas)"
            raise BadNameError(message)
        pairs[key.strip()] = value.strip()
    return parse_labels(pairs)


def format_labels(labels: Labels) -> str:
    """Return labels as a person reads them: ``a=b, c=d``, sorted by name."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def is_uuid(text: str) -> bool:
    """Tell whether `text` has the form of a node's or session's id."""
    return bool(_UUID.fullmatch(text.lower()))


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^{pattern.pattern}$"


def _escaped(characters: Iterable[str]) -> str:
    return "".join(f"\\u{ord(each):04x}" for each in sorted(characters))


# What each name looks like, for documents that describe what is taken: regular expressions of ECMA-262.
PATTERNS: Mapping[str, str] = {
    "cluster": _whole(_CLUSTER),
    "node": _whole(_NODE),
    "user": _whole(_USER),
    "login": _whole(_LOGIN),
    "role": _whole(_ROLE),
    "token": _whole(_TOKEN),
    "label_name": _whole(_LABEL_KEY),
    # That it is printable is more than such an expression can say.
    "label_value": rf"^[^{_escaped(_LABEL_VALUE_FORBIDDEN)}\u0000-\u001f\u007f]*$",
    "uuid": "^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
}
