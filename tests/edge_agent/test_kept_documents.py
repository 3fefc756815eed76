"""Documents that are kept as they came, whatever the disk has to say to that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edge_agent.kept_documents import KeptDocuments
from protocol import limits
from protocol.decision import Refused
from protocol.endorsement import Endorsed

NAME = "policy.json"
KEY = "ssh-ed25519 AAAA"


def said(body: str) -> Endorsed:
    return Endorsed("policy", body, KEY, b"signed")


@asynccontextmanager
async def keeping(documents: KeptDocuments) -> AsyncIterator[None]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(documents.run())
        yield
        task.cancel()


async def until_kept(directory: Path, endorsed: Endorsed) -> None:
    file = directory / NAME
    while not file.exists() or json.loads(file.read_text()) != endorsed.to_dict():  # noqa: ASYNC110 - a thread writes it
        await asyncio.sleep(0.01)


async def test_what_holds_is_on_disk_soon_and_read_again(tmp_path: Path) -> None:
    documents = KeptDocuments(tmp_path)
    assert documents.read(NAME) is None
    async with keeping(documents):
        for body in ("one", "two"):
            assert documents.hold(NAME, said(body))
            await until_kept(tmp_path, said(body))
    assert KeptDocuments(tmp_path).read(NAME) == said("two")


async def test_what_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    documents = KeptDocuments(tmp_path)
    assert documents.hold(NAME, said("one"), is_kept=True)
    assert not documents.hold(NAME, said("one"))
    assert documents.hold("z.json", said("other"))
    async with keeping(documents):
        while not (tmp_path / "z.json").exists():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
    assert not (tmp_path / NAME).exists()  # whose turn was before


async def test_what_the_disk_would_not_have_is_written_with_the_next(tmp_path: Path) -> None:
    documents = KeptDocuments(tmp_path)
    (tmp_path / f".{NAME}.new").mkdir()
    async with keeping(documents):
        documents.hold(NAME, said("one"))
        documents.hold("node.json", said("other"))
        while not (tmp_path / "node.json").exists():  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
        (tmp_path / f".{NAME}.new").rmdir()
        documents.hold("node.json", said("another"))
        await until_kept(tmp_path, said("one"))


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(limits.MQTT_MESSAGE_MAX + 1)
    found = KeptDocuments(tmp_path).read(NAME)
    assert isinstance(found, Refused)
    assert (found.check, found.reason) == ("Y1", f"{NAME} is larger than {limits.MQTT_MESSAGE_MAX} bytes")
