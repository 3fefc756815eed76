"""The OpenAPI document (3.1): the table of permissions, that of operations and that of shapes, put together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache

from flask import Blueprint, Response

from controller.web.permissions import PERMISSIONS, Holder, Need, Permission, at
from controller.web.v1.operations import OPERATIONS, PATH_NAMES, Answer, Operation
from controller.web.v1.schema import Schema, ref, whole
from controller.web.v1.shapes import SHAPES
from protocol import endpoints
from protocol.endpoints import Endpoint
from protocol.events import Json
from protocol.messages import ErrorReply
from protocol.version import __version__

blueprint = Blueprint("v1_openapi", __name__)

_IN_PATH = re.compile(r"\{([a-z_]+)\}")
_UNREAD = 414
_ALWAYS = {
    500: "The controller could not finish this; its log says why",
    503: "The controller cannot reach its records, or the part of it that does this",
}
_HEADERS: Mapping[int, Mapping[str, Schema]] = {
    401: {"WWW-Authenticate": {"type": "string"}},
    429: {"Retry-After": whole(1)},
}
_ABOUT = (
    "What the dashboard does, for programs. A bearer token comes from `POST /v1/sign-in`, or from `tsh login`. "
    "Unknown fields of a body are passed over, and answers may have more fields than are told of here."
)


@blueprint.get(endpoints.OPENAPI.path)
def document() -> Response:
    """Hand out the document."""
    return Response(_text(), mimetype="application/json")


@cache
def _text() -> str:
    return json.dumps(build(), indent=1)


def build() -> Schema:
    """Return the document."""
    paths: dict[str, Json] = {}
    for endpoint, operation in OPERATIONS.items():
        entry = paths.setdefault(endpoint.path, {})
        if isinstance(entry, dict):
            entry[endpoint.method.lower()] = _operation(endpoint, operation, PERMISSIONS[at(endpoint)])
    shapes: Schema = {kind.__name__: dict(shape) for kind, shape in SHAPES.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skerry",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": shapes, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(endpoint: Endpoint, operation: Operation, permission: Permission) -> Schema:
    found: Schema = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.says,
        "security": [{"bearer": []}] if permission.holder is Holder.BEARER else [],
        "responses": {str(status): answer for status, answer in _responses(endpoint, operation, permission)},
    }
    if permission.need is not Need.NOTHING:
        found["description"] = f"Takes {permission.need.value}."
    parameters: list[Json] = [*_parameters(endpoint, operation)]
    if parameters:
        found["parameters"] = parameters
    if operation.asks is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref(operation.asks)}}}
    return found


def _parameters(endpoint: Endpoint, operation: Operation) -> Iterator[Schema]:
    for name in _IN_PATH.findall(endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": dict(PATH_NAMES[name])}
    for name, schema in operation.query.items():
        yield {"name": name, "in": "query", "schema": dict(schema)}


def _responses(endpoint: Endpoint, operation: Operation, permission: Permission) -> Iterator[tuple[int, Schema]]:
    for status, answer in operation.answers.items():
        yield status, _answer(answer)
    for status, says in sorted(_refusals(endpoint, operation, permission).items()):
        # What is not read to its end is answered before anybody looks who asks.
        shape: Schema = {"text/plain": {}} if status == _UNREAD else {"application/json": {"schema": ref(ErrorReply)}}
        refusal: Schema = {"description": says, "content": shape}
        yield status, refusal | _headers(_HEADERS.get(status, {}))


def _refusals(endpoint: Endpoint, operation: Operation, permission: Permission) -> dict[int, str]:
    found = dict(_ALWAYS)
    if operation.query or operation.asks is not None:
        found[400] = "The question could not be read; the message says what of it"
    if operation.query:
        found[414] = "The address is too long"
    if operation.asks is not None:
        found |= {413: "The body is too large", 415: "The body is said to be no JSON"}
    if permission.holder is Holder.BEARER:
        found |= {401: "There is no bearer token, or its sign-in has ended", 403: "A lock is in force"}
    if permission.need is not Need.NOTHING:
        found[403] = f"A lock is in force, or the person is not {permission.need.value}"
    if "{" in endpoint.path:
        found[404] = "There is no such thing, or it is not for this person to know of"
    if permission.limited:
        found[429] = "Too many tries from this address"
    return found | dict(operation.refusals)


def _answer(answer: Answer) -> Schema:
    found: Schema = {"description": answer.says}
    if answer.shape is not None:
        schema = ref(answer.shape) if isinstance(answer.shape, type) else dict(answer.shape)
        found["content"] = {media: {"schema": schema} for media in (answer.media, *answer.also)}
    return found | _headers(answer.headers)


def _headers(headers: Mapping[str, Schema]) -> Schema:
    told: Schema = {name: {"required": True, "schema": dict(schema)} for name, schema in headers.items()}
    return {"headers": told} if told else {}
