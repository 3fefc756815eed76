"""Clients of tus that others wrote: they upload recordings here as to any server of tus 1.0."""

from __future__ import annotations

import io
import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from controller.tls_files import anchors
from protocol import endpoints
from tests.controller.api.running_api import API_HOST, PATIENCE, Door, running_api
from tests.controller.api.uploader import Uploader
from tests.harness.tape import Tape

TUS_JS = Path(__file__).parent / "tus-js"
SIZE = 700


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def node(shared: Door) -> Iterator[Uploader]:
    with closing(Uploader(shared, f"gw-{uuid.uuid4().hex[:8]}")) as uploader:
        yield uploader


@pytest.fixture
def authority(shared: Door, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of what both clients are to trust."""
    path = shared.folder / "anchors.pem"
    path.write_text(anchors(shared.cluster))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return path


@pytest.fixture
def tape(node: Uploader, tmp_path: Path) -> Tape:
    made = node.tape()
    (tmp_path / "recording").write_bytes(made.content)
    return made


def stored(door: Door, tape: Tape) -> bytes:
    return door.cluster.recordings.read(tape.session, 0, 10**7)


# --- tuspy ------------------------------------------------------------------------------------------------------------


def tuspy(node: Uploader, **more: str) -> TusClient:
    url = f"https://127.0.0.1:{node.door.port}{endpoints.UPLOADS}"
    return TusClient(url, headers=more, client_cert=str(node.identity))


@pytest.mark.usefixtures("authority")
@pytest.mark.parametrize("checksum", [False, True])
def test_tuspy_uploads_a_recording(node: Uploader, tape: Tape, tmp_path: Path, checksum: bool) -> None:
    with (tmp_path / "recording").open("rb") as file:
        uploader = tuspy(node).uploader(
            file_stream=file, chunk_size=SIZE, metadata={"session": tape.session}, upload_checksum=checksum
        )
        uploader.upload()
        assert uploader.get_offset() == len(tape.content)
    assert stored(node.door, tape) == tape.content
    assert node.head(tape.session).headers["Skerry-Recording-Hash"] == tape.chain.hex()


@pytest.mark.usefixtures("authority")
def test_tuspy_goes_on_where_it_was_broken_off(node: Uploader, tape: Tape, tmp_path: Path) -> None:
    with (tmp_path / "recording").open("rb") as file:
        first = tuspy(node).uploader(file_stream=file, chunk_size=SIZE, metadata={"session": tape.session})
        first.upload(stop_at=2 * SIZE)
        second = tuspy(node).uploader(file_stream=file, chunk_size=SIZE, url=first.url)
        assert second.offset == 2 * SIZE
        second.upload()
    assert stored(node.door, tape) == tape.content


@pytest.mark.usefixtures("authority")
def test_tuspy_is_told_of_what_is_refused(node: Uploader, tape: Tape) -> None:
    file = io.BytesIO(tape.content[:-1] + b"?")
    uploader = tuspy(node).uploader(file_stream=file, chunk_size=SIZE, metadata={"session": tape.session})
    with pytest.raises(TusUploadFailed) as failed:
        uploader.upload()
    assert failed.value.status_code == 422
    with pytest.raises(TusCommunicationError) as bad:
        tuspy(node).uploader(file_stream=file, chunk_size=SIZE, metadata={"session": "../../x"}).upload()
    assert bad.value.status_code == 400


# --- tus-js-client ----------------------------------------------------------------------------------------------------


def tus_js(node: Uploader, tape: Tape, authority: Path, file: Path, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if not (TUS_JS / "node_modules").is_dir():
        pytest.fail(f"tus-js-client is not there: cd {TUS_JS} && npm ci (or: make test)")
    asked = {
        "endpoint": f"https://127.0.0.1:{node.door.port}{endpoints.UPLOADS}",
        "servername": API_HOST,
        "file": str(file),
        "size": file.stat().st_size,
        "session": tape.session,
        "ca": str(authority),
        "identity": str(node.identity),
        "chunkSize": SIZE,
        "deferred": False,
        "override": False,
    }
    done = subprocess.run(
        ["node", "upload.mjs", json.dumps(asked | changed)],
        cwd=TUS_JS,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("override", [False, True])
def test_tus_js_client_uploads_a_recording(
    node: Uploader, tape: Tape, authority: Path, tmp_path: Path, *, deferred: bool, override: bool
) -> None:
    said = tus_js(node, tape, authority, tmp_path / "recording", deferred=deferred, override=override)
    assert said.get("done"), said
    assert said["requests"][0] == ["POST", 201, None]
    assert said["requests"][-1] == ["POST" if override else "PATCH", 204, "complete"]
    assert len(said["requests"]) == 1 - (-len(tape.content) // SIZE)
    assert node.head(tape.session).headers["Upload-Length"] == str(len(tape.content))
    assert stored(node.door, tape) == tape.content


def test_tus_js_client_goes_on_where_it_was_broken_off(
    node: Uploader, tape: Tape, authority: Path, tmp_path: Path
) -> None:
    first = tus_js(node, tape, authority, tmp_path / "recording", stopAt=2 * SIZE)
    assert first["stopped"] >= 2 * SIZE, first
    said = tus_js(node, tape, authority, tmp_path / "recording", url=first["url"])
    assert said.get("done"), said
    assert said["requests"][0] == ["HEAD", 200, "arriving"]
    assert stored(node.door, tape) == tape.content


def test_tus_js_client_is_told_of_what_is_refused(node: Uploader, tape: Tape, authority: Path, tmp_path: Path) -> None:
    path = tmp_path / "recording"
    path.write_bytes(tape.content[:-1] + b"?")
    said = tus_js(node, tape, authority, path)
    assert said["error"] == 422, said
    assert node.head(tape.session).state == "refused"
