"""The OpenAPI document, held against the table of permissions and against the dataclasses that travel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Protocol, cast

import pytest

from controller.audit_verifier import Verification
from controller.home import Home
from controller.policy.alert import Alert
from controller.web.permissions import PERMISSIONS, Holder, Need
from controller.web.v1 import openapi
from controller.web.v1.operations import OPERATIONS
from controller.web.v1.schema import Schema
from controller.web.v1.shapes import AUDIT_CURSOR, CURSOR, SHAPES
from protocol import endpoints
from protocol.events import Json
from protocol.fields import MessageError
from protocol.names import PATTERNS
from tests.controller.web.v1.office import ADMIN, AUDITOR, NEVER, PLAIN, Office


class Body(Protocol):
    """A dataclass that travels."""

    def to_dict(self) -> dict[str, Json]: ...

    @classmethod
    def from_dict(cls, data: object) -> Body: ...


DOCUMENT: dict[str, Any] = openapi.build()
# Something that fits each pattern.
FITTING = {
    PATTERNS["cluster"]: "harbour",
    PATTERNS["node"]: "gate",
    PATTERNS["user"]: "ada",
    PATTERNS["login"]: "pi",
    PATTERNS["role"]: "access",
    PATTERNS["token"]: "0123456789abcdef",
    PATTERNS["label_name"]: "env",
    PATTERNS["label_value"]: "prod",
    PATTERNS["uuid"]: "6F9C1A54-1f0e-4f5c-9d0e-0a1b2c3d4e5f",
    "^[0-9a-f]{32}$": "0" * 32,
    CURSOR: "61",
    AUDIT_CURSOR: "2026-11-22.17",
}
# Answers that no program of ours reads.
WRITTEN_ALONE = {Home, Verification, Alert}
ASKED = {operation.asks for operation in OPERATIONS.values() if operation.asks is not None}
ADDRESSES = {"ssh_address", "tunnel_address", "api_address", "mqtt_address"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def example(schema: dict[str, Any], name: str = "") -> Any:  # noqa: ANN401 - whatever fits
    """Return something that fits a schema, with every field that may be there."""
    if "$ref" in schema:
        return example(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return example(schema["anyOf"][0], name)
    kind = schema["type"][0] if isinstance(schema.get("type"), list) else schema.get("type", "object")
    if kind == "object":
        return {field: example(inner, field) for field, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema["items"])] * max(1, schema.get("minItems", 1))
    if kind == "string":
        return _text(schema, name)
    return {"integer": schema.get("minimum", 1), "number": 1.5, "boolean": True}[kind]


def _text(schema: dict[str, Any], name: str) -> str:
    if name in ADDRESSES:
        return "skerry.example:3023"
    if "pattern" in schema:
        return FITTING[schema["pattern"]]
    if schema.get("format") == "password" and name == "token":
        return "0123456789abcdef"
    if name in {"public_key", "signature", "signer", "key"}:
        return "c2VjcmV0"
    return cast("str", schema.get("const") or schema.get("enum", ["insecure-secret-text"])[0])


def shapes() -> Iterator[tuple[type, Schema]]:
    for kind, schema in SHAPES.items():
        variants = schema.get("oneOf")
        for each in variants if isinstance(variants, list) else [schema]:
            yield kind, cast("Schema", each)


def test_anyone_may_have_the_document(office: Office) -> None:
    response = office.ask("", endpoints.OPENAPI)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.get_json() == DOCUMENT


def test_every_endpoint_of_the_table_is_in_the_document_and_nothing_else() -> None:
    table = {
        (method, rule.replace("<", "{").replace(">", "}")) for method, rule in PERMISSIONS if rule.startswith("/v1/")
    }
    assert {(method, path) for method, path, _ in operations()} == table


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is_for() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z][A-Za-z]+", name) for name in names)
    assert all(operation["summary"] and operation["tags"] for _, _, operation in operations())


def test_who_may_ask_is_what_the_table_says() -> None:
    for method, path, operation in operations():
        permission = PERMISSIONS[method, path.replace("{", "<").replace("}", ">")]
        wants_token = permission.holder is Holder.BEARER
        assert operation["security"] == ([{"bearer": []}] if wants_token else []), path
        assert ("401" in operation["responses"]) >= wants_token, path
        assert (permission.need is Need.NOTHING) == ("description" not in operation), path
        assert ("429" in operation["responses"]) == permission.limited, path


def test_every_parameter_has_bounds() -> None:
    for _, path, operation in operations():
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            bounded = {"enum", "pattern", "maximum", "maxLength", "maxItems"} & schema.keys()
            assert bounded or schema["type"] == "boolean", (path, parameter["name"])


def test_everything_that_is_referred_to_is_there() -> None:
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert named == {kind.__name__ for kind in SHAPES} == DOCUMENT["components"]["schemas"].keys()


READ = [(kind, schema) for kind, schema in shapes() if kind not in WRITTEN_ALONE]


@pytest.mark.parametrize(("kind", "schema"), READ, ids=lambda each: getattr(each, "__name__", ""))
def test_a_dataclass_reads_and_writes_what_its_schema_says(kind: type[Body], schema: dict[str, Any]) -> None:
    assert kind.from_dict(example(schema)).to_dict().keys() == schema["properties"].keys()


@pytest.mark.parametrize(("kind", "schema"), READ, ids=lambda each: getattr(each, "__name__", ""))
def test_what_a_schema_requires_may_not_be_left_out_where_it_is_asked_for_and_the_rest_may(
    kind: type[Body], schema: dict[str, Any]
) -> None:
    fitting = example(schema)
    required = {name: fitting[name] for name in schema["required"]}
    kind.from_dict(required)
    for name in required if kind in ASKED else ():
        with pytest.raises(MessageError, match=f"{name}: missing"):
            kind.from_dict({key: value for key, value in required.items() if key != name})


@pytest.mark.parametrize("who", [ADMIN, AUDITOR, PLAIN])
def test_what_the_controller_alone_writes_is_as_its_schema_says(office: Office, who: str) -> None:
    person, services = office.lab.accounts.users.get(who), office.lab.services("skerry.example:3080", 100)
    assert person is not None
    schemas = DOCUMENT["components"]["schemas"]
    home = services.home.of(person)
    assert home.to_dict().keys() == schemas["Home"]["properties"].keys()
    assert services.ledger.verification().to_dict().keys() == schemas["Verification"]["properties"].keys()
    for alert in (*home.alerts, Alert("disk", "warning", "The disk is full", "Make room")):
        assert alert.to_dict().keys() == schemas["Alert"]["properties"].keys()


def test_answers_that_name_things_that_are_not_there_are_as_documented(office: Office) -> None:
    for method, path, operation in operations():
        if "{" in path and "requestBody" not in operation and "sign_in" not in path:
            names = {name: "nobody" if name == "user" else NEVER for name in re.findall(r"\{(\w+)\}", path)}
            names |= {"token": "0123456789abcdef0"} if "token" in names else {}
            answer = office.api.open(
                path.format(**names),
                method=method,
                base_url="https://skerry.example:3080",
                headers={"Authorization": f"Bearer {office.tokens[ADMIN]}"},
            )
            assert answer.status_code == 404, (method, path)
            assert "404" in operation["responses"]
