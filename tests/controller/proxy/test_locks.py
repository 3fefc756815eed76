"""Locks at the proxy: who comes is turned back with a word why, and who is in is cut off. How soon: see test_warden."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from controller.policy.liveness import Standing
from protocol.locks import LockKind, describe_lock
from protocol.presences import Beat
from tests.controller.harbour import ADMIN
from tests.controller.presence.crier import telling
from tests.controller.proxy.lab import (
    PATIENCE,
    ProxyLab,
    Streams,
    eventually,
    exchange,
    open_to,
    refusal,
    running_proxy,
)

TEXT = 'lock targeting User:"alice" is in force: gone'


def lock(lab: ProxyLab, kind: LockKind = "user", value: str = "alice", ttl: timedelta | None = None) -> str:
    """Put a lock on as another process does, and return what people are told."""
    return describe_lock(lab.cluster.locks.add(kind, value, "gone", ttl, ADMIN))


def beat(policy: int) -> Beat:
    """Return a heartbeat that tells by which policy document the node goes."""
    return Beat(1, 0, 0, 0, None, None, 0, 0, 0, None, True, 0, policy, 1)


class Listening(asyncssh.SSHClient):
    """A client that keeps with which words its connection ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(str(exc))


async def within_patience(waited_for: Awaitable[Any]) -> Any:  # noqa: ANN401 - whatever is waited for
    async with asyncio.timeout(PATIENCE):
        return await waited_for


async def come(lab: ProxyLab, keys: list[Any], **where: Any) -> tuple[asyncssh.SSHClientConnection, Listening]:  # noqa: ANN401 - the lab's own
    client = Listening()
    return await lab.connect(keys, client_factory=lambda: client, **where), client


async def is_cut(streams: Streams) -> None:
    """Wait until a channel is gone."""
    try:
        assert await within_patience(streams[0].read(1)) == b""
    except (asyncssh.Error, OSError):
        return


async def test_a_locked_person_who_is_in_is_cut_off_and_told_why(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        alice, client = await come(lab, lab.person("alice").client_keys())
        bob = await lab.person_connected("bob")
        hers, his = await open_to(alice), await open_to(bob)
        assert await exchange(hers, b"x") == await exchange(his, b"x") == b"x"
        text = lock(lab)
        assert await within_patience(client.ended) == text == TEXT
        await is_cut(hers)
        assert await exchange(his, b"still here") == b"still here"


async def test_a_locked_person_who_comes_is_told_why_once_they_have_proved_who_they_are(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        person = lab.person("alice")
        text = lock(lab)
        _, client = await come(lab, person.client_keys())
        assert await within_patience(client.ended) == text
        (entry,) = await lab.audited("T3007W")
        assert (entry["check"], entry["error"], entry["door"]) == ("X1", text, "client")


async def test_who_cannot_sign_for_a_certificate_is_not_told_of_the_lock_on_it(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        stolen, thief = lab.person("alice"), lab.person("bob")
        lock(lab)
        thief.forged = asyncssh.import_certificate(stolen.line).public_data
        with pytest.raises(asyncssh.PermissionDenied) as refused:
            await lab.connect(thief.client_keys())
        assert "lock" not in str(refused.value)
        (entry,) = await lab.audited("T3007W")
        assert entry["check"] == "K8"


async def test_a_node_that_is_in_and_has_asked_for_nothing_yet_is_cut_off_as_well(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        _, client = await come(lab, credential.client_keys(), port=lab.tunnel_port, username=reply.node_id)
        text = lock(lab, "node", reply.node_id)
        assert await within_patience(client.ended) == text
        assert lab.tunnel_state(reply.node_id) is None


async def test_a_node_that_asks_to_be_reached_once_it_is_locked_is_not(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        node, client = await come(lab, credential.client_keys(), port=lab.tunnel_port, username=reply.node_id)
        text = lock(lab, "node", reply.node_id)
        with pytest.raises((asyncssh.ChannelListenError, asyncssh.DisconnectError)):
            await node.start_server(lambda _host, _port: False, "node", 22, encoding=None)
        assert await within_patience(client.ended) == text


async def test_a_node_that_asks_to_be_reached_once_it_is_removed_is_not(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol()
        node, client = await come(lab, credential.client_keys(), port=lab.tunnel_port, username=reply.node_id)
        lab.cluster.enrolment.nodes.remove(reply.node_id, ADMIN)
        with pytest.raises((asyncssh.ChannelListenError, asyncssh.DisconnectError)):
            await node.start_server(lambda _host, _port: False, "node", 22, encoding=None)
        assert await within_patience(client.ended) == "this node has been removed from the cluster"


async def test_a_lock_that_ends_lets_the_person_in_again(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        person = lab.person("alice")
        lock(lab, ttl=timedelta(minutes=5))
        _, client = await come(lab, person.client_keys())
        await within_patience(client.ended)
        lab.clock.move(minutes=5)
        connection, _ = await come(lab, person.client_keys())
        assert await exchange(await open_to(connection), b"x") == b"x"


async def test_a_lock_on_somebody_else_or_on_another_login_cuts_nobody_here(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        alice = await lab.person_connected("alice")
        mallory, client = await come(lab, lab.person("mallory").client_keys())
        streams = await open_to(alice)
        lock(lab, "login", "root")
        lock(lab, "user", "mallory")
        await within_patience(client.ended)  # so the locks have been looked at
        assert mallory.is_closed()
        assert await exchange(streams, b"still here") == b"still here"
        assert await exchange(await open_to(alice), b"y") == b"y"


async def test_who_may_use_a_locked_login_gets_no_channel_to_a_node_that_may_not_have_heard_of_the_lock(
    tmp_path: Path,
) -> None:
    async with running_proxy(tmp_path) as lab:
        heard, behind = await lab.node("heard"), await lab.node("behind")
        alice = await lab.person_connected("alice")
        streams = await open_to(alice, "behind")
        text = lock(lab, "login", "pi")
        version = int(lab.clock().timestamp())
        known = {
            heard.reply.node_id: Standing("online", beat=beat(version)),
            behind.reply.node_id: Standing("offline", beat=beat(version - 1)),
        }
        with telling(lab.cluster.config.data_dir, known):
            await eventually(lambda: lab.cluster.mirror.view().standings == known)
            assert await exchange(await open_to(alice, "heard"), b"x") == b"x"
            assert await refusal(alice, "behind") == (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
        await eventually(lambda: not lab.cluster.mirror.health.is_up)
        assert await exchange(await open_to(alice, "heard"), b"y") == b"y"  # what it has heard, it knows
        assert await exchange(streams, b"still here") == b"still here"
        (entry,) = await lab.audited("T1006W")
        assert (entry["check"], entry["reason"], entry["target"]) == ("X2", text, "behind")


async def test_a_node_that_is_online_judges_a_lock_on_a_login_that_is_new(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node()
        alice = await lab.person_connected("alice")
        text = lock(lab, "login", "pi")
        assert await refusal(alice, "gw-1") == (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
        with telling(lab.cluster.config.data_dir, {node.reply.node_id: Standing("online")}):
            await eventually(lambda: lab.cluster.mirror.health.is_up)
            assert await exchange(await open_to(alice), b"x") == b"x"
            lab.clock.move(minutes=1)
            assert await refusal(alice, "gw-1") == (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)


async def test_a_locked_node_loses_its_tunnel_and_is_told_why(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol("gone")
        kept = await lab.node("kept")
        where = {"port": lab.tunnel_port, "username": reply.node_id}
        node, client = await come(lab, credential.client_keys(), **where)
        await node.start_server(lambda _host, _port: False, "node", 22, encoding=None)
        await eventually(lambda: lab.tunnel_state(reply.node_id) == "up")
        text = lock(lab, "node", reply.node_id)
        assert await within_patience(client.ended) == text
        await eventually(lambda: lab.tunnel_state(reply.node_id) == "down")
        assert lab.tunnel_state(kept.reply.node_id) == "up"


async def test_a_locked_node_that_tries_again_and_again_is_one_event_and_comes_back_after_the_lock(
    tmp_path: Path,
) -> None:
    async with running_proxy(tmp_path) as lab:
        reply, credential = lab.enrol("gone")
        made = lab.cluster.locks.add("node", reply.node_id, "stolen", None, ADMIN)
        where = {"port": lab.tunnel_port, "username": reply.node_id}
        for _ in range(3):
            _, client = await come(lab, credential.client_keys(), **where)
            assert await within_patience(client.ended) == describe_lock(made)
        lab.cluster.locks.remove(made.lock_id, ADMIN)
        node, _ = await come(lab, credential.client_keys(), **where)
        await node.start_server(lambda _host, _port: False, "node", 22, encoding=None)
        await eventually(lambda: lab.tunnel_state(reply.node_id) == "up")
        (entry,) = await lab.audited("T3007W")
        assert (entry["check"], entry["door"], entry["user"]) == ("X3", "tunnel", reply.node_id)


async def test_channels_to_a_locked_node_are_closed_and_others_of_the_same_connection_go_on(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        gone, _ = await lab.node("gone"), await lab.node("kept")
        alice = await lab.person_connected("alice")
        to_gone, to_kept = await open_to(alice, "gone"), await open_to(alice, "kept")
        assert await exchange(to_gone, b"x") == await exchange(to_kept, b"x") == b"x"
        text = lock(lab, "node", gone.reply.node_id)
        await is_cut(to_gone)
        assert await exchange(to_kept, b"still here") == b"still here"
        assert await refusal(alice, "gone") == (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
        (entry,) = await lab.audited("T1006W")
        assert (entry["check"], entry["reason"], entry["user"]) == ("X3", text, "alice")


async def test_who_works_on_nothing_but_a_locked_node_is_told_why_the_connection_ends(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        gone = await lab.node("gone")
        alice, client = await come(lab, lab.person("alice").client_keys())
        await open_to(alice, "gone")
        text = lock(lab, "node", gone.reply.node_id)
        assert await within_patience(client.ended) == text


async def test_a_channel_that_a_node_takes_long_to_open_is_not_opened_into_a_lock(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        asked, may_answer = asyncio.Event(), asyncio.Event()
        reply, credential = lab.enrol("slow")
        node, its = await come(lab, credential.client_keys(), port=lab.tunnel_port, username=reply.node_id)

        async def answer_late() -> asyncssh.SSHTCPSession[bytes]:
            asked.set()
            await may_answer.wait()
            return asyncssh.SSHTCPSession()

        await node.create_server(lambda _host, _port: answer_late(), "node", 22, encoding=None)
        alice = await lab.person_connected("alice")
        async with asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(refusal(alice, "slow"))
            await within_patience(asked.wait())
            made = lab.cluster.locks.add("node", reply.node_id, "", None, ADMIN)
            may_answer.set()
            code, text = await opening
        # Whichever comes first, the node's answer or the warden, who cuts its tunnel: there is no channel.
        if code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            assert describe_lock(made) in text
        else:
            assert (code, text[:24]) == (asyncssh.OPEN_CONNECT_FAILED, "the node's tunnel broke:")
        assert await within_patience(its.ended) == describe_lock(made)


@contextmanager
def unreadable_locks(lab: ProxyLab) -> Iterator[None]:
    """Have a folder where the locks' file should be, as after a mistake of an admin's."""
    file = lab.cluster.config.data_dir / "store" / "locks.json"
    aside = file.rename(file.with_name("locks-aside")) if file.exists() else None
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        if aside is not None:
            aside.rename(file)


async def test_while_nobody_can_tell_who_is_locked_nobody_is_let_in_and_who_is_in_stays(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        alice = await lab.person_connected("alice")
        streams, bob = await open_to(alice), lab.person("bob")
        lock(lab, "login", "nobody")
        words = "the controller cannot read its records now: try again in a moment"
        with unreadable_locks(lab):
            _, client = await come(lab, bob.client_keys())
            assert await within_patience(client.ended) == words
            assert await refusal(alice, "gw-1") == (asyncssh.OPEN_RESOURCE_SHORTAGE, words)
            assert await exchange(streams, b"still here") == b"still here"
        connection, _ = await come(lab, bob.client_keys())
        assert await exchange(await open_to(connection), b"x") == b"x"


async def test_a_lock_that_could_not_be_read_at_first_is_carried_out_when_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        _, client = await come(lab, lab.person("alice").client_keys())
        lock(lab, "login", "nobody")
        with unreadable_locks(lab):
            await eventually(lambda: "cannot tell who is locked out" in caplog.text)
        text = lock(lab)
        assert await within_patience(client.ended) == text
        assert caplog.text.count("cannot tell who is locked out") == 1


async def test_the_audit_log_knows_who_was_cut_off_by_the_lock_s_own_event(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        _, client = await come(lab, lab.person("alice").client_keys())
        lock(lab)
        await within_patience(client.ended)
        assert [entry["target"] for entry in lab.entries("TLK00I")] == [{"user": "alice"}]
