"""What every page has: the way to the others, the files it is made of, and text from peers made visible."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from flask import Flask

from controller.web import shelf
from tests.controller.web.crew import enter
from tests.controller.web.lab import Lab
from tests.controller.web.page_client import Browser, text_of

VENDOR = {
    "xterm.js",
    "xterm.css",
    "xterm-fit.js",
    "xterm-search.js",
    "xterm-links.js",
    "asciinema-player.js",
    "asciinema-player.css",
    "uplot.js",
    "uplot.css",
}


def places(browser: Browser, path: str = "/web/home") -> list[str]:
    page = browser.get(path).text
    rail = re.search(r'<nav class="rail".*?</nav>', page, re.DOTALL)
    assert rail is not None
    return re.findall(r'<a href="/web/(\w+)"', rail[0])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("paul", []),
        ("rita", ["audit"]),
        ("olga", ["audit", "users", "tokens", "locks"]),
        ("ada", ["audit", "users", "tokens", "locks"]),
    ],
)
def test_each_person_is_led_to_what_they_may_see(lab: Lab, name: str, more: list[str]) -> None:
    browser = enter(lab, lab.app(), name)
    assert places(browser) == ["home", "nodes", "sessions", "recordings", *more, "settings"]
    for place in places(browser):
        assert browser.get(f"/web/{place}").status_code == 200, place


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/web/home", "home"),
        ("/web/nodes", "nodes"),
        ("/web/nodes/00000000-0000-4000-8000-000000000001", "nodes"),
        ("/web/devices/new", "nodes"),
        ("/web/settings", "settings"),
    ],
)
def test_the_page_that_is_shown_is_marked(lab: Lab, path: str, place: str) -> None:
    lab.enrol(1, "buoy")
    page = enter(lab, lab.app(), "ada").get(path).text
    assert set(re.findall(r'<a href="/web/(\w+)" aria-current="page"', page)) == {place}


def test_every_page_has_one_heading_landmarks_and_a_way_past_the_menu(lab: Lab) -> None:
    lab.enrol(1, "buoy")
    browser = enter(lab, lab.app(), "ada")
    for path in ("/web/home", "/web/nodes", "/web/nodes/00000000-0000-4000-8000-000000000001", "/web/devices/new"):
        page = browser.get(path).text
        assert page.count("<h1") == 1, path
        assert '<a class="skip" href="#main">' in page
        assert page.count('<main id="main"') == 1
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", page), path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("buoy", "buoy"),
        ("ø\N{SNOWMAN}", "ø\N{SNOWMAN}"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b", "a\\u202eb"),
        ("a\nb", "a\\nb"),
        ("x" * 400, "x" * 299 + "…"),
        ("<b>", "<b>"),
    ],
)
def test_text_from_peers_is_made_visible_and_cut(lab: Lab, text: str, shown: str) -> None:
    assert lab.app().jinja_env.filters["plain"](text) == shown


def test_text_of_a_million_characters_is_cut_before_it_is_looked_at(lab: Lab) -> None:
    assert len(lab.app().jinja_env.filters["plain"]("\x1b" * 1_000_000, 20)) == 20


def test_each_third_party_file_is_on_the_shelf_under_a_name_that_holds_its_hash(lab: Lab) -> None:
    app = lab.app()
    manifest = shelf.read_manifest(shelf.STATIC)
    assert manifest.keys() == VENDOR
    browser = Browser(app)
    with app.test_request_context():
        addresses = [app.jinja_env.globals["vendor"](name) for name in VENDOR]  # type: ignore[operator]  # a function of ours
    for address in addresses:
        response = browser.get(address)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable", address
        assert "sourceMappingURL" not in response.text


def test_the_licence_of_each_third_party_package_lies_beside_it() -> None:
    wanted = json.loads((shelf.STATIC.parent / "frontend" / "package.json").read_text())["dependencies"]
    licences = {path.name for path in (shelf.STATIC / "vendor").glob("LICENSE-*.txt")}
    assert {name for name in licences if "xterm" in name} == {
        f"LICENSE-{name[1:].replace('/', '-')}.txt" for name in wanted if "xterm" in name
    }
    assert {"LICENSE-asciinema-player.txt", "LICENSE-uplot.txt", "LICENSE-solid-js.txt"} <= licences


@pytest.mark.parametrize("manifest", [None, "", "[1]", '{"uplot.js": "../../app.py"}', '{"uplot.js": "uplot.0.js"}'])
def test_a_page_whose_files_are_not_built_says_so_and_works(tmp_path: Path, manifest: str | None) -> None:
    bare = tmp_path / "static"
    (bare / "vendor").mkdir(parents=True)
    for file in shelf.STATIC.iterdir():
        if file.is_file():
            (bare / file.name).write_bytes(file.read_bytes())
    if manifest is not None:
        (bare / "vendor" / "manifest.json").write_text(manifest)
    app = Flask("controller.web.app")
    shelf.stock(app, bare)
    with app.test_request_context():
        assert app.jinja_env.globals["vendor"]("uplot.js") == ""  # type: ignore[operator]  # a function of ours
        assert shelf.missing_files() == ["uplot.js"]


def test_a_page_for_somebody_else_refuses_in_style(lab: Lab) -> None:
    paul = enter(lab, lab.app(), "paul")
    refused = paul.get("/web/devices/new")
    assert refused.status_code == 403
    assert "This takes the role admin" in text_of(refused)
    assert "skerry.css" in refused.text
