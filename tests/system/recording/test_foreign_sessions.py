"""What a node may do to recordings that are not its own: nothing, whatever it says."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocol.endpoints import UPLOADS
from tests.harness.real_cluster import LOGIN, Agent, RealCluster
from tests.harness.recordings import Archive, Device, device, read_contents
from tests.system.conftest import Harbour

pytestmark = pytest.mark.system
_RESUMABLE = {"Tus-Resumable": "1.0.0"}


@dataclass(frozen=True)
class Thief:
    """Somebody with a device's certificate and key, who speaks to the machine API by hand."""

    cluster: RealCluster
    found: Device

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, dict[str, str]]:
        """Return status and headers (their names in small letters) of the answer."""
        granted = self.found.identity.granted
        context = ssl.create_default_context(cadata="\n".join(granted.tls_authorities))
        context.load_cert_chain(*self.found.identity.tls_files)
        context.check_hostname = False  # the name is the cluster's, and we dial an address
        connection = http.client.HTTPSConnection("127.0.0.1", self.cluster.port("api"), context=context, timeout=20)
        try:
            connection.request(method, path, body, {**_RESUMABLE, **headers})
            reply = connection.getresponse()
            reply.read()
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}
        finally:
            connection.close()

    def create(self, session: str) -> int:
        named = base64.b64encode(session.encode()).decode()
        return self.ask("POST", UPLOADS, {"Upload-Defer-Length": "1", "Upload-Metadata": f"session {named}"})[0]

    def head(self, session: str) -> tuple[int, dict[str, str]]:
        return self.ask("HEAD", f"{UPLOADS}/{session}", {})

    def send(self, session: str, data: bytes, offset: int = 0, size: int | None = None) -> tuple[int, dict[str, str]]:
        """Send `data` with its checksum; `size` is the declared length of the whole."""
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        headers = {
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {checksum}",
        }
        if size is not None:
            headers["Upload-Length"] = str(size)
        return self.ask("PATCH", f"{UPLOADS}/{session}", headers, data)


@pytest.fixture
def archive(harbour: Harbour) -> Archive:
    return Archive(harbour.cluster)


def thief(harbour: Harbour, agent: Agent, archive: Archive) -> Thief:
    return Thief(harbour.cluster, device(agent, archive))


def recorded_session(harbour: Harbour, archive: Archive, node: str) -> str:
    """Work on a node, and return the session when its recording is whole."""
    done = harbour.cluster.tsh(harbour.alice, "ssh", f"{LOGIN}@{node}", "echo $SSH_SESSION_ID")
    session = done.stdout.decode().strip()
    archive.await_state(session, "complete")
    return session


def refusals(harbour: Harbour) -> list[dict[str, object]]:
    return harbour.cluster.events("recording.refused")


def test_node_uploads_its_own_session_by_the_wire_protocol_alone(harbour: Harbour, archive: Archive) -> None:
    own = thief(harbour, harbour.edge_2, archive)
    what = own.found.script(datetime.now(UTC), ["by hand\r\n"])
    data = own.found.write(what)
    assert own.create(what.session) == 201
    assert own.create(what.session) == 201
    half = len(data) // 2
    assert own.send(what.session, data[:half])[0] == 204
    assert own.head(what.session)[1]["upload-offset"] == str(half)
    status, headers = own.send(what.session, data[half:], half, len(data))
    assert (status, headers["skerry-recording-state"]) == (204, "complete")
    assert archive.data(what.session) == data
    assert archive.contents(what.session).output() == "by hand\r\n"


def test_other_nodes_session_is_refused_at_every_request(harbour: Harbour, archive: Archive) -> None:
    session = recorded_session(harbour, archive, "edge-1")
    before = archive.data(session)
    other = thief(harbour, harbour.edge_2, archive)
    assert other.create(session) == 422
    assert other.head(session)[0] in {403, 404}
    assert other.send(session, b"more", len(before))[0] in {403, 404}
    assert archive.data(session) == before
    entry = archive.entry(session)
    assert entry
    assert entry.node == harbour.edge_1.node_id
    assert any(event["server_id"] == harbour.edge_2.node_id for event in refusals(harbour))


def test_session_that_another_node_is_uploading_is_not_taken_over(harbour: Harbour, archive: Archive) -> None:
    own, other = (thief(harbour, agent, archive) for agent in (harbour.edge_1, harbour.edge_2))
    what = own.found.script(datetime.now(UTC), ["mine\r\n"])
    data = own.found.write(what)
    assert own.create(what.session) == 201
    assert own.send(what.session, data[:500])[0] == 204
    assert other.create(what.session) == 422
    assert other.send(what.session, data[500:], 500)[0] in {403, 404}
    assert own.send(what.session, data[500:], 500, len(data))[0] == 204
    assert archive.data(what.session) == data


def test_session_of_another_node_is_not_taken_beforehand(harbour: Harbour, archive: Archive) -> None:
    own, other = (thief(harbour, agent, archive) for agent in (harbour.edge_1, harbour.edge_2))
    what = own.found.script(datetime.now(UTC), ["mine\r\n"])
    before = len(refusals(harbour))
    assert other.create(what.session) == 422
    told = refusals(harbour)[before:]
    assert [(event["server_id"], event["sid"], event["check"]) for event in told] == [
        (harbour.edge_2.node_id, what.session, "U17")
    ]
    data = own.found.write(what)
    assert own.create(what.session) == 201
    assert own.send(what.session, data, 0, len(data))[0] == 204
    assert archive.data(what.session) == data


def test_recording_in_another_nodes_name_is_refused_whoever_signed_it(harbour: Harbour, archive: Archive) -> None:
    own, other = (thief(harbour, agent, archive) for agent in (harbour.edge_1, harbour.edge_2))
    made = own.found.script(datetime.now(UTC), ["never done\r\n"])
    honest, _ = own.found.header(made)
    for header in (
        honest,  # of edge-1, by its key: stolen whole, and sent by edge-2
        replace(honest, signer=other.found.signer),  # in edge-1's name, by the thief's key
        replace(honest, node=other.found.identity.granted.node_id),  # in its own name, by edge-1's key
    ):
        what = replace(made, session=other.found.script(made.started, []).session)
        writer = own.found if header.signer == own.found.signer else other.found
        data = writer.write(what, replace(header, session=what.session, cipher="none", key=None))
        assert other.create(what.session) == 201
        assert other.send(what.session, data, 0, len(data))[0] == 422
        assert (
            other.head(what.session)[0] in {410, 422}
            or other.head(what.session)[1]["skerry-recording-state"] == "refused"
        )
        entry = archive.entry(what.session)
        assert entry is None or entry.state == "refused"


@pytest.mark.parametrize("name", ["../../x", "..%2f..%2fx", "/etc/passwd", "x" * 4000, "", "\0", "é"])
def test_name_that_is_no_session_id_makes_no_file(harbour: Harbour, archive: Archive, name: str) -> None:
    own = thief(harbour, harbour.edge_2, archive)
    before = sorted(Path(harbour.cluster.data_dir).rglob("*.skr"))
    assert own.create(name) in {400, 413, 431}
    assert sorted(Path(harbour.cluster.data_dir).rglob("*.skr")) == before
    assert harbour.cluster.controller.is_running


def test_stolen_recording_gives_nothing_up_without_the_clusters_key(harbour: Harbour, archive: Archive) -> None:
    own = thief(harbour, harbour.edge_2, archive)
    data = own.found.write(own.found.script(datetime.now(UTC), ["a secret word\r\n"]))
    assert b"secret" not in data
    with pytest.raises(ValueError, match="encrypted"):
        read_contents(data, None, own.found.signer)
