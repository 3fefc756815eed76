from __future__ import annotations

import array
import asyncio
import base64
import fcntl
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.cluster import open_cluster
from protocol import limits
from protocol.access import ACCESS, AUDITOR
from protocol.certificates import NODE_EXTENSION, ROLES_EXTENSION, USER_EXTENSION
from protocol.names import parse_login
from tests.controller.harbour import ADMIN
from tests.controller.proxy.lab import (
    Credential,
    ProxyLab,
    eventually,
    exchange,
    open_to,
    private_key,
    refusal,
    running_proxy,
)

PROHIBITED, FAILED, SHORTAGE = (
    asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
    asyncssh.OPEN_CONNECT_FAILED,
    asyncssh.OPEN_RESOURCE_SHORTAGE,
)


def forged(lab: ProxyLab, folder: Path) -> Credential:
    """Return a good certificate in which one bit of what it says was turned."""
    del folder
    good = lab.person()
    blob = bytearray(base64.b64decode(good.line.split()[1]))
    blob[blob.index(b"user@skerry")] ^= 1
    return Credential(good.line, good.key, bytes(blob))


def of_another_cluster(lab: ProxyLab, folder: Path) -> Credential:
    other = open_cluster(replace(lab.cluster.config, data_dir=folder / "other"), lab.clock)
    lab.add_user()
    return lab.certify(lab.user_order(), other)


def with_order(**changed: Any) -> Callable[[ProxyLab, Path], Credential]:  # noqa: ANN401 - fields of the order
    def make(lab: ProxyLab, _folder: Path) -> Credential:
        lab.add_user()
        return lab.certify(lab.user_order(**changed))

    return make


def expired(lab: ProxyLab, _folder: Path) -> Credential:
    credential = lab.person()
    lab.clock.move(hours=1)
    return credential


def early(lab: ProxyLab, _folder: Path) -> Credential:
    lab.clock.move(hours=1)
    credential = lab.person()
    lab.clock.move(hours=-1)
    return credential


def a_node_s(lab: ProxyLab, _folder: Path) -> Credential:
    return lab.enrol()[1]


def signed_by_the_host_authority(lab: ProxyLab, _folder: Path) -> Credential:
    lab.add_user()
    return lab.certify(lab.user_order(kind="host"))


def of_nobody(lab: ProxyLab, _folder: Path) -> Credential:
    return lab.certify(lab.user_order("nobody"))


def from_before_a_role_was_taken_away(lab: ProxyLab, _folder: Path) -> Credential:
    lab.add_user()
    users = lab.cluster.accounts.users
    users.update("alice", roles=(ACCESS, AUDITOR), origin=ADMIN)
    credential = lab.certify(lab.user_order())
    users.update("alice", roles=(ACCESS,), origin=ADMIN)  # in the second in which it was issued
    return credential


def from_before_a_login_was_taken_away(lab: ProxyLab, _folder: Path) -> Credential:
    lab.add_user()
    users = lab.cluster.accounts.users
    pi, root = parse_login("pi"), parse_login("root")
    users.update("alice", logins=(pi, root), origin=ADMIN)
    credential = lab.certify(lab.user_order(principals=(pi, root)))
    users.update("alice", logins=(pi,), origin=ADMIN)
    return credential


def from_before_a_reset(lab: ProxyLab, _folder: Path) -> Credential:
    credential = lab.person()
    lab.clock.move(seconds=2)
    lab.cluster.accounts.users.reset("alice", limits.RESET_TTL, ADMIN)
    return credential


def of_a_removed_user(lab: ProxyLab, _folder: Path) -> Credential:
    credential = lab.person()
    lab.cluster.accounts.users.remove("alice", ADMIN)
    return credential


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (forged, "K0"),
        (a_node_s, "K1"),
        (signed_by_the_host_authority, "K1"),
        (of_another_cluster, "K2"),
        (expired, "K3"),
        (early, "K3"),
        (with_order(extensions={USER_EXTENSION: "", ROLES_EXTENSION: "access"}), "K5"),
        (with_order(extensions={USER_EXTENSION: "alice", ROLES_EXTENSION: "NO ROLE"}), "K5"),
        (with_order(principals=("not a login",)), "K5"),
        (of_nobody, "P1"),
        (of_a_removed_user, "P1"),
        (from_before_a_reset, "P2"),
        (from_before_a_role_was_taken_away, "P2"),
        (from_before_a_login_was_taken_away, "P2"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_certificate_that_is_not_good_is_refused_alike_and_audited_with_its_check(
    make: Callable[[ProxyLab, Path], Credential], check: str, tmp_path: Path
) -> None:
    async with running_proxy(tmp_path) as lab:
        credential = make(lab, tmp_path)
        with pytest.raises(asyncssh.PermissionDenied) as caught:
            await lab.connect(credential.client_keys())
        assert caught.value.reason == "Permission denied for user pi on host 127.0.0.1"
        (entry,) = await lab.audited("T3007W")
        assert (entry["check"], entry["door"], entry["user"], entry["success"]) == (check, "client", "pi", False)
        assert entry["addr.remote"].startswith("127.0.0.1:")


async def test_a_refused_certificate_is_audited_also_where_a_good_one_comes_after_it(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        bad = of_another_cluster(lab, tmp_path)
        good = lab.person()
        person = await lab.connect([*bad.client_keys(), *good.client_keys()])
        (entry,) = await lab.audited("T3007W")
        assert entry["check"] == "K2"
        assert await exchange(await open_to(person), b"x") == b"x"


async def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        stolen, thief = lab.person(), Ed25519PrivateKey.generate()
        # The library will not pair them: the certificate is offered, and signed for with another key.
        certificate = asyncssh.import_certificate(stolen.line)
        pair = asyncssh.load_keypairs([(private_key(stolen.key), certificate)])[0]
        pair._key = private_key(thief)  # type: ignore[attr-defined]
        with pytest.raises(asyncssh.PermissionDenied):
            await lab.connect([pair])
        (entry,) = await lab.audited("T3007W")
        assert entry["check"] == "K8"


async def test_plain_keys_are_refused_even_of_someone_who_has_a_certificate(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        credential = lab.person()
        with pytest.raises(asyncssh.PermissionDenied):
            await lab.connect([private_key(credential.key)])
        (entry,) = await lab.audited("T3007W")
        assert entry["check"] == "K0"
        assert entry["error"] == "a plain public key, not a certificate"


@pytest.mark.parametrize("door", ["client", "tunnel"])
async def test_passwords_are_not_asked_for_at_either_door(door: str, tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        port = lab.client_port if door == "client" else lab.tunnel_port
        with pytest.raises(asyncssh.PermissionDenied):
            await lab.connect([], port, password="insecure password")
        command = ["ssh", "-v", "-F", "none", "-p", str(port), "-o", "StrictHostKeyChecking=no"]
        command += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "pi@127.0.0.1", "true"]
        process = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
        )
        _, said = await process.communicate()
        assert process.returncode == 255
        assert b"Authentications that can continue: publickey\r\n" in said


async def test_a_person_reaches_a_node_by_name_id_and_label_whatever_the_ssh_user_name(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        node = await lab.node("gw-1", env="staging")
        connection = await lab.connect(lab.person().client_keys(), username="anything at all")
        for target in ("gw-1", "GW-1", node.reply.node_id, "env=staging"):
            assert await exchange(await open_to(connection, target), b"hello") == b"hello"
        entries = await lab.audited("T2010I", 4)
        assert [entry["target"] for entry in entries] == ["gw-1", "GW-1", node.reply.node_id, "env=staging"]
        assert {(entry["user"], entry["server_id"]) for entry in entries} == {("alice", node.reply.node_id)}


async def test_unknown_offline_ambiguous_and_denied_are_four_different_answers(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        person = await lab.person_connected()
        lab.enrol("never")
        gone = await lab.node("gone")
        gone.connection.abort()
        one, two = await lab.node("twin", site="pier"), await lab.node("twin", site="quay")
        assert await refusal(person, "nowhere") == (
            FAILED,
            'no node "nowhere" in this cluster: `tsh ls` lists the nodes you may reach',
        )
        code, text = await refusal(person, "never")
        assert (code, text) == (FAILED, 'node "never" is offline: it has not connected since this controller knows it')
        await eventually(lambda: lab.tunnel_state(gone.reply.node_id) == "down")
        code, text = await refusal(person, "gone")
        assert code == FAILED
        assert text.startswith(f'node "gone" is offline since {lab.clock():%d %b %Y %H:%M:%S} UTC (0 seconds ago)')
        code, text = await refusal(person, "twin")
        assert code == FAILED
        assert text.startswith("ambiguous host could match multiple nodes")
        assert one.reply.node_id in text
        assert two.reply.node_id in text
        assert text.count(" online ") == 2
        assert "tsh ls -v" in text
        assert "tsh ssh user@node-id" in text


async def test_a_person_without_a_role_is_denied_and_the_reason_goes_to_the_audit_log(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        lab.add_user()
        extensions = {USER_EXTENSION: "alice", ROLES_EXTENSION: ""}
        stranger = await lab.connect(lab.certify(lab.user_order(extensions=extensions)).client_keys())
        assert await refusal(stranger, "gw-1") == (PROHIBITED, 'access denied to node "gw-1"')
        (entry,) = await lab.audited("session.rejected")
        assert (entry["user"], entry["target"], entry["check"]) == ("alice", "gw-1", "A2")
        assert "role" in entry["reason"]


async def test_a_certificate_for_one_node_leads_to_no_other(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        wanted, _other = await lab.node("gw-1"), await lab.node("gw-2")
        lab.add_user()
        order = lab.user_order()
        own = replace(order, extensions=dict(order.extensions) | {NODE_EXTENSION: wanted.reply.node_id})
        person = await lab.connect(lab.certify(own).client_keys())
        assert await refusal(person, "gw-2") == (PROHIBITED, "access denied")
        (entry,) = await lab.audited("session.rejected")
        assert (entry["user"], entry["target"], entry["check"]) == ("alice", "gw-2", "P5")
        reader, writer = await person.open_connection("gw-1", 22, encoding=None)
        writer.close()
        await reader.read()


@pytest.mark.parametrize("target", ["", "x" * 20_000, "\x1b[31mred", "a\nb", "=", "../../etc", "é"])
async def test_whatever_is_asked_for_the_door_answers_on_one_line_and_goes_on(target: str, tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        person = await lab.person_connected()
        _, text = await refusal(person, target)
        assert text.isprintable()
        assert len(text) < 500
        await lab.node()
        assert await exchange(await open_to(person), b"x") == b"x"


@pytest.mark.parametrize(("change", "check"), [("remove", "P1"), ("reset", "P2"), ("fewer", "P2"), ("expire", "P3")])
async def test_what_happens_to_a_person_counts_for_the_next_channel_of_a_connection_that_is_open(
    change: str, check: str, tmp_path: Path
) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        person = await lab.person_connected()
        running = await open_to(person)
        users = lab.cluster.accounts.users
        lab.clock.move(seconds=2)
        if change == "remove":
            users.remove("alice", ADMIN)
        elif change == "reset":
            users.reset("alice", limits.RESET_TTL, ADMIN)
        elif change == "fewer":
            users.update("alice", roles=(AUDITOR,), origin=ADMIN)
        else:
            lab.clock.move(hours=1)
        assert await refusal(person, "gw-1") == (PROHIBITED, "access denied: log in again")
        (entry,) = await lab.audited("session.rejected")
        assert (entry["check"], entry["user"]) == (check, "alice")
        assert await exchange(running, b"still here") == b"still here"


async def test_a_certificate_from_after_a_reset_is_good(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        lab.add_user()
        lab.clock.move(seconds=1)
        lab.cluster.accounts.users.reset("alice", limits.RESET_TTL, ADMIN)
        assert await exchange(await open_to(await lab.person_connected()), b"x") == b"x"


async def test_more_channels_than_the_limit_are_refused_also_while_they_are_being_opened(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        person = await lab.person_connected()
        asked = limits.CHANNELS_PER_CONNECTION + 10
        answers = await asyncio.gather(*(open_to(person) for _ in range(asked)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, asyncssh.ChannelOpenError)]
        opened = [answer for answer in answers if isinstance(answer, tuple)]
        assert (len(opened), len(refused)) == (limits.CHANNELS_PER_CONNECTION, 10)
        assert {(each.code, each.reason) for each in refused} == {(SHORTAGE, "too many channels on this connection")}
        opened[0][1].close()
        await opened[0][1].wait_closed()
        assert await exchange(await open_to(person), b"room again") == b"room again"


async def test_a_channel_whose_person_takes_nothing_is_counted_though_the_node_has_closed_it(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        closed = 0

        async def say_and_go(_reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            nonlocal closed
            writer.write(b"x" * 10_000)
            writer.close()
            await writer.wait_closed()
            closed += 1

        await lab.node(handler=say_and_go)
        person = await lab.person_connected()
        opened = []
        for _ in range(limits.CHANNELS_PER_CONNECTION):
            async with asyncio.timeout(20):
                opened.append(await person.open_connection("gw-1", 22, encoding=None, window=1000))
        await eventually(lambda: closed == len(opened))
        assert await refusal(person, "gw-1") == (SHORTAGE, "too many channels on this connection")
        async with asyncio.timeout(20):
            assert await opened[0][0].read() == b"x" * 10_000
            await opened[0][1].wait_closed()
        await open_to(person)


async def test_shells_commands_and_subsystems_on_the_proxy_itself_are_refused(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        person = await lab.person_connected()
        device = await lab.node()
        for connection in (person, device.connection):
            for ask in (
                connection.create_process(),
                connection.create_process("id"),
                connection.create_process(subsystem="sftp"),
            ):
                with pytest.raises(asyncssh.ChannelOpenError):
                    await ask
        assert await exchange(await open_to(person), b"x") == b"x"


async def test_forwards_from_the_client_door_back_are_refused(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        person = await lab.person_connected()

        def nobody(_host: str, _port: int) -> bool:
            return False

        for port in (0, 22, 8080):
            with pytest.raises(asyncssh.ChannelListenError):
                await person.start_server(nobody, "node", port)
        with pytest.raises(asyncssh.ChannelListenError):
            await person.start_unix_server(lambda: False, "/tmp/nobody")
        with pytest.raises(asyncssh.ChannelOpenError):
            await person.open_unix_connection("/etc/passwd")


async def test_a_damaged_store_is_one_line_and_a_plain_answer_and_the_door_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        credential = lab.person()
        person = await lab.connect(credential.client_keys())
        path = tmp_path / "data" / "store" / "users.json"
        good = path.read_bytes()
        path.write_bytes(b"{damaged")
        code, text = await refusal(person, "gw-1")
        assert (code, text) == (SHORTAGE, "the controller cannot read its records now: try again in a moment")
        with pytest.raises(asyncssh.PermissionDenied):
            await lab.connect(credential.client_keys())
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert ["users.json is damaged" in record.getMessage() for record in errors] == [True, True]
        path.write_bytes(good)
        assert await exchange(await open_to(person), b"x") == b"x"


def unread(connection: asyncssh.SSHClientConnection) -> int:
    """Return how many bytes have come that nobody has read."""
    count = array.array("i", [0])
    fcntl.ioctl(connection.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    return count[0]


def sockets() -> int:
    """Return how many sockets are open in this process, in which both ends of each connection live."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


async def test_a_person_who_leaves_while_a_channel_is_being_opened_leaves_no_channel_behind(tmp_path: Path) -> None:
    async with running_proxy(tmp_path, drain="19s") as lab:
        asked, leave, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def handler(reader: asyncssh.SSHReader[bytes], _writer: asyncssh.SSHWriter[bytes]) -> None:
            await reader.read()
            ended.set()

        node = await lab.node(handler=handler)

        # A node whose confirmation takes as long as the test wants: it stops reading from its connection.
        transport = node.connection._transport
        assert transport is not None
        transport.pause_reading()
        person = await lab.person_connected()

        async def ask() -> None:
            asked.set()
            with pytest.raises((asyncssh.Error, OSError)):
                await open_to(person)
            leave.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask())
            await asked.wait()
            await eventually(lambda: unread(node.connection) > 0)  # the proxy has asked the node
            ends = sockets()
            person.abort()
            await leave.wait()
            await eventually(lambda: sockets() <= ends - 2)  # theirs, and the proxy's
            transport.resume_reading()
        async with asyncio.timeout(10):
            await ended.wait()  # the node was told that the channel is over
        lab.stop.set()
        async with asyncio.timeout(5):
            await lab.ended.wait()  # and nothing is waited for


async def test_openssh_with_the_certificate_goes_through_the_door_by_stdio_forwarding(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        await lab.node()
        credential = lab.person()
        known_hosts = tmp_path / "known_hosts"
        (host_authority,) = lab.cluster.authority.ssh_authorities("host")
        known_hosts.write_text(f"@cert-authority * {host_authority}\n")
        process = await asyncio.create_subprocess_exec(
            *("ssh", "-F", "none", "-p", str(lab.client_port), "-i", str(credential.write(tmp_path))),
            *("-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes", "-o", "GlobalKnownHostsFile=/dev/null", "-W", "gw-1:22", "pi@127.0.0.1"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        sent = os.urandom(1_000_000)
        async with asyncio.timeout(20):
            out, err = await process.communicate(sent)
        assert (process.returncode, err) == (0, b"")
        assert out == sent


async def test_openssh_is_told_why_there_is_no_channel(tmp_path: Path) -> None:
    async with running_proxy(tmp_path) as lab:
        credential = lab.person()
        process = await asyncio.create_subprocess_exec(
            *("ssh", "-F", "none", "-p", str(lab.client_port), "-i", str(credential.write(tmp_path))),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"),
            *("-o", "IdentitiesOnly=yes", "-W", "nowhere:22", "pi@127.0.0.1"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            _, err = await process.communicate()
        assert process.returncode == 255
        assert b'no node "nowhere" in this cluster' in err
