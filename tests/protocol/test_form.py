from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import form
from protocol.form import Entry, FormError, Section, defaults, read_form


def keep(value: object) -> object:
    return value


FORM = Section(
    known={"name": Entry(form.text, "unnamed"), "any": Entry(keep)},
    sections={
        "auth_service": Section(
            known={
                "enabled": Entry(form.flag, default=True),
                "listen_addr": Entry(form.listen_address, ("0.0.0.0", 3025)),  # noqa: S104 - a default, not opened
                "tokens": Entry(form.texts, ()),
            }
        )
    },
)


def outcome(text: str) -> dict[str, Any] | FormError:
    try:
        return read_form(text, "c.yaml", FORM)
    except FormError as err:
        return err


def fault(text: str) -> str:
    with pytest.raises(FormError) as caught:
        read_form(text, "c.yaml", FORM)
    return str(caught.value)


def test_an_empty_text_gives_the_defaults() -> None:
    expected = {
        "name": "unnamed",
        "any": None,
        "auth_service": {"enabled": True, "listen_addr": ("0.0.0.0", 3025), "tokens": ()},  # noqa: S104 - a default
    }
    assert read_form("", "c.yaml", FORM) == expected == defaults(FORM)
    assert read_form("# nothing\nauth_service:\n", "c.yaml", FORM) == expected


def test_settings_are_read_and_the_rest_is_default() -> None:
    text = 'name: x\nauth_service:\n  enabled: no\n  listen_addr: "[::1]:0"\n  tokens: ["a", b]\n'
    settings = read_form(text, "c.yaml", FORM)
    assert settings["name"] == "x"
    assert settings["auth_service"] == {"enabled": False, "listen_addr": ("::1", 0), "tokens": ("a", "b")}
    assert read_form("auth_service: {tokens: one}", "c.yaml", FORM)["auth_service"]["tokens"] == ("one",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nnamme: x", "c.yaml:2: namme: unknown key (did you mean 'name'?)"),
        ("zzz: x", "c.yaml:1: zzz: unknown key (known here: any, auth_service, name)"),
        ("name: x\nname: y", "c.yaml:2: name: stands here twice"),
        ("[a]", "c.yaml:1: not a mapping of keys to values"),
        ("auth_service: 3", "c.yaml:1: auth_service: not a mapping of keys to values"),
        ("auth_service:\n  enabled: 3", "c.yaml:2: auth_service.enabled: should be true or false, not a number"),
        ("name: [x]", "c.yaml:1: name: should be a text, not a list"),
        ("name: {x: y}", "c.yaml:1: name: should be a text, not a mapping"),
        ("name: ''", "c.yaml:1: name: should be a text, not an empty text"),
        ("name:", "c.yaml:1: name: should be a text, not nothing"),
        ("name: true", "c.yaml:1: name: should be a text, not true or false"),
        ("auth_service: {tokens: 1.5}", "c.yaml:1: auth_service.tokens: should be a list of texts, not a number"),
        ("auth_service: {enabled: maybe}", "c.yaml:1: auth_service.enabled: should be true or false, not a text"),
        ("auth_service: {listen_addr: host}", "c.yaml:1: auth_service.listen_addr: should be HOST:PORT, not 'host'"),
        (
            "auth_service: {listen_addr: ':80'}",
            "c.yaml:1: auth_service.listen_addr: should be HOST:PORT, with the address to listen on (0.0.0.0 for all)",
        ),
        ("[x]: y", "c.yaml:1: ?: unknown key (known here: any, auth_service, name)"),
        ("a: b: c", "c.yaml:1: not YAML: mapping values are not allowed here"),
        ("name: 'x", "c.yaml:1: not YAML: found unexpected end of stream"),
        ("name: \0", "c.yaml:1: not YAML: unacceptable character #x0000: special characters are not allowed"),
        ("name: x\n---\nname: y", "c.yaml:2: not YAML: but found another document"),
        ("any: !!python/object:os.system x", "c.yaml:1: any: not a plain value"),
        ("any: &a [*a]", "c.yaml:1: any: not a plain value"),
        ("any: !!int x", "c.yaml:1: any: not a plain value"),
        ("any: !!bool x", "c.yaml:1: any: not a plain value"),
        ("any: !!timestamp x", "c.yaml:1: any: not a plain value"),
        ("any: 2026-13-45", "c.yaml:1: any: not a plain value"),
        ("any: " + "1" * 5000, "c.yaml:1: any: not a plain value"),
    ],
)
def test_a_fault_is_one_line_with_file_line_and_key(text: str, message: str) -> None:
    assert fault(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "any: " + "[" * 1000,
        "any: " + "[" * 150 + "]" * 150,
        'any: "\\UFFFFFFFF"',
        "%YAML " + "9" * 5000 + ".1\n---\na: 1",
    ],
)
def test_what_the_yaml_library_chokes_on_is_a_fault_or_a_value(text: str) -> None:
    found = outcome(text)
    assert isinstance(found, dict) or str(found).startswith("c.yaml:1: ")


def test_a_reader_may_raise_a_fault_of_its_own() -> None:
    def read(_: object) -> object:
        raise FormError("other.yaml", 7, "x", "is odd")

    with pytest.raises(FormError, match=r"^other\.yaml:7: x: is odd$"):
        read_form("a: 1", "c.yaml", Section(known={"a": Entry(read)}))


YamlText = st.text() | st.text(alphabet="any: \n-[]{}&*!|>'\"%@`#,?0123456789.xe\\U", max_size=60)


@given(YamlText)
def test_any_text_is_settings_or_one_fault(text: str) -> None:
    for whole in (text, "any: " + text):
        found = outcome(whole)
        if isinstance(found, FormError):
            assert found.line >= 1
        else:
            assert set(found) == {"name", "any", "auth_service"}
