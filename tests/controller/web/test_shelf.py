from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from controller.web import shelf
from tests.controller.web.page_client import BASE, Browser

FRONTEND = Path(shelf.__file__).parent / "frontend"


def test_a_page_names_its_files_with_their_hash_and_those_are_kept_for_ever(browser: Browser) -> None:
    addresses = re.findall(r'(?:href|src)="(/web/static/[^"]+)"', browser.get("/web/login").text)
    assert len(addresses) >= 4
    for address in addresses:
        response = browser.get(address.replace("&amp;", "&"))
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable", address


def test_a_file_under_an_old_hash_is_asked_for_again(browser: Browser) -> None:
    response = browser.get("/web/static/skerry.css?v=0123456789abcdef")
    assert response.headers["Cache-Control"] == "public, no-cache"
    again = browser.get("/web/static/skerry.css", **{"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_text_is_sent_compressed_to_those_who_take_it(browser: Browser) -> None:
    plain = browser.get("/web/static/skerry.css").data
    packed = browser.get("/web/static/skerry.css", **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain


@pytest.mark.parametrize(
    "path",
    ["../app.py", "..%2fapp.py", "/etc/passwd", "%2e%2e/app.py", "skerry.css/", "vendor", "a\\b", "%00", "LICENSE"],
)
def test_nothing_but_the_files_on_the_shelf_is_served(browser: Browser, path: str) -> None:
    response = browser.client.get(f"/web/static/{path}", base_url=BASE)
    assert response.status_code == 404


def test_without_the_vendor_files_pages_work_and_the_log_says_how_to_build_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = tmp_path / "static"
    bare.mkdir()
    for file in shelf.STATIC.iterdir():
        if file.is_file():
            (bare / file.name).write_bytes(file.read_bytes())
    app = Flask("controller.web.app")
    shelf.stock(app, bare)
    assert "npm ci && node build.mjs" in caplog.text
    assert app.jinja_env.globals["vendor_built"] is False
    with app.test_request_context():
        page = app.jinja_env.get_template("base.html").render(asset=app.jinja_env.globals["asset"])
    assert "vendor" not in page
    assert "/web/static/skerry.css" in page


def test_the_lock_file_names_no_registry_and_pins_everything() -> None:
    lock = json.loads((FRONTEND / "package-lock.json").read_text())
    wanted = json.loads((FRONTEND / "package.json").read_text())["dependencies"]
    installed = {name.removeprefix("node_modules/"): entry for name, entry in lock["packages"].items() if name}
    assert wanted.keys() <= installed.keys()
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    for entry in installed.values():
        assert "resolved" not in entry
        assert entry["integrity"].startswith("sha512-")
