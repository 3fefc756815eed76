"""What mosquitto 2.0 takes up while it runs, as `controller.broker.broker` goes by it."""

from __future__ import annotations

import socket
import time
from datetime import timedelta

import pytest

from controller.broker import settings
from controller.broker.broker import Change
from controller.origin import Origin
from protocol import limits, topics
from protocol.names import NodeId
from tests.controller.broker.lab import NODE, OTHER, PATIENCE, Lab, RefusedError, chain_of, serial_of

THIRD = NodeId("7d0f3c58-0c5e-4a39-9f3c-2f1e0d9c8b7a")
ADMIN = Origin(via="tctl", actor="root")


def revoke(lab: Lab, chain: str, node_id: NodeId = NODE) -> None:
    now = lab.clock()
    expires = now + limits.HOST_CERTIFICATE_TTL
    lab.store.collection("revoked").create(serial_of(chain), {"node_id": node_id}, now=now, expires=expires)


def take_up(lab: Lab) -> Change:
    """Have the broker take up what changed, and wait until it has: its process says so."""
    lab.clock.move(seconds=3)
    return lab.refresh()


def test_a_removed_node_s_certificate_is_refused_and_others_are_not(lab: Lab) -> None:
    chain, good = chain_of(lab.authority, lab.clock), chain_of(lab.authority, lab.clock, OTHER)
    lab.node(chain=chain).close()
    pid = lab.process.pid
    revoke(lab, chain)
    assert take_up(lab) is Change.RELOAD
    lab.await_answer(chain, is_let_in=False)
    lab.node(OTHER, chain=good)
    assert lab.process.pid == pid
    assert lab.refresh() is Change.NONE


def test_who_is_connected_when_it_is_removed_is_neither_heard_nor_told_any_more(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("n/#")
    chain = chain_of(lab.authority, lab.clock)
    node, other = lab.node(chain=chain), lab.node(OTHER)
    node.subscribe(topics.POLICY)
    node.publish(topics.beat(NODE), b"before")
    assert controller.next_message()[1] == b"before"
    gone = chain_of(lab.authority, lab.clock, THIRD)
    revoke(lab, chain)
    revoke(lab, gone, THIRD)
    take_up(lab)
    lab.await_answer(gone, is_let_in=False)  # from here on the reload is over
    node.publish(topics.beat(NODE), b"after")
    other.publish(topics.beat(OTHER), b"the next")
    assert controller.next_message() == (topics.beat(OTHER), b"the next", False)
    controller.publish(topics.POLICY, b"secret")
    other.subscribe(topics.POLICY)
    controller.publish(topics.POLICY, b"the next")
    assert other.next_message()[1] == b"the next"
    node.subscribe(topics.PULSE)  # what was sent to it before the answer to this would have come before it
    assert node.messages.empty()


def test_a_locked_node_is_kept_out_until_the_lock_is_gone(lab: Lab) -> None:
    chain = chain_of(lab.authority, lab.clock)
    lab.serials[NODE] = (serial_of(chain),)
    lock = lab.locks.add("node", NODE, "stolen", None, ADMIN)
    assert lab.refresh() is Change.NONE  # it is still to hear of its lock
    assert take_up(lab) is Change.RELOAD
    lab.await_answer(chain, is_let_in=False)
    lab.locks.remove(lock.lock_id, ADMIN)
    assert take_up(lab) is Change.RELOAD
    lab.await_answer(chain, is_let_in=True)


def test_a_locked_node_that_stays_connected_is_not_heard_and_hears_that_its_lock_is_off(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("n/#")
    chain, marker = chain_of(lab.authority, lab.clock), chain_of(lab.authority, lab.clock, OTHER)
    gone = chain_of(lab.authority, lab.clock, THIRD)  # of another: who asks by a node's own takes its place
    node = lab.node(chain=chain)
    node.subscribe(topics.POLICY)
    lab.serials[NODE] = (serial_of(chain),)
    lab.locks.add("node", NODE, "", None, ADMIN)
    revoke(lab, gone, THIRD)
    take_up(lab)
    lab.await_answer(gone, is_let_in=False)  # from here on the reload is over
    node.publish(topics.state(NODE), b"silenced")
    lab.node(OTHER, chain=marker).publish(topics.state(OTHER), b"the next")
    assert controller.next_message()[1] == b"the next"
    controller.publish(topics.POLICY, b"without the lock", retain=True)  # before the broker hears of that
    assert node.next_message()[1] == b"without the lock"


def test_a_lock_that_ends_by_itself_lets_the_node_in_again(lab: Lab) -> None:
    chain = chain_of(lab.authority, lab.clock)
    lab.serials[NODE] = (serial_of(chain),)
    lab.locks.add("node", NODE, "", timedelta(minutes=1), ADMIN)
    take_up(lab)
    lab.await_answer(chain, is_let_in=False)
    lab.clock.move(minutes=1)
    assert lab.refresh() is Change.RELOAD
    lab.await_answer(chain, is_let_in=True)


def test_a_muted_node_stays_connected_and_is_not_heard(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("n/#")
    node, other = lab.node(), lab.node(OTHER)
    lab.store.collection("muted").create(NODE, {}, now=lab.clock(), expires=lab.clock() + limits.MUTE)
    assert take_up(lab) is Change.RELOAD
    other.publish(topics.state(OTHER), b"beside it")
    assert controller.next_message()[1] == b"beside it"
    deadline = time.monotonic() + PATIENCE
    while True:
        node.publish(topics.beat(NODE), b"flood")
        other.publish(topics.beat(OTHER), b"mark")
        if controller.next_message()[1] == b"mark":
            break  # what came before it was not heard
        controller.next_message()
        assert time.monotonic() < deadline, "the broker did not take up what changed"
    lab.clock.now += limits.MUTE
    assert lab.refresh() is Change.RELOAD


def served(lab: Lab) -> str:
    """Return the serial number of the certificate that the broker presents."""
    context = lab.context(chain_of(lab.authority, lab.clock))
    with (
        socket.create_connection(("127.0.0.1", lab.port), timeout=PATIENCE) as sock,
        context.wrap_socket(sock, server_hostname="mqtt.harbour") as tls,
    ):
        certificate = tls.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_the_broker_s_own_certificate_is_renewed_while_it_runs(lab: Lab) -> None:
    lab.clock.now -= limits.WEB_CERTIFICATE_TTL * 2 / 3
    lab.broker.prepare()
    lab.kill()
    lab.run()
    first, pid = served(lab), lab.process.pid
    lab.clock.now += limits.WEB_CERTIFICATE_TTL * 2 / 3
    assert lab.refresh() is Change.RELOAD
    deadline = time.monotonic() + PATIENCE
    while served(lab) == first:
        assert time.monotonic() < deadline, "the broker did not take up what changed"
    assert lab.process.pid == pid


def test_after_a_rotation_the_broker_is_started_again_and_knows_old_and_new(lab: Lab) -> None:
    old = chain_of(lab.authority, lab.clock)
    lab.authority.rotate("tls", "init", lab.clock())
    assert lab.refresh() is Change.RESTART
    lab.authority.rotate("tls", "update_clients", lab.clock())
    lab.refresh()
    new = chain_of(lab.authority, lab.clock, OTHER)
    lab.await_answer(new, is_let_in=True)
    lab.await_answer(old, is_let_in=True)
    revoke(lab, old)
    take_up(lab)
    lab.await_answer(old, is_let_in=False)


def test_a_list_that_is_out_of_date_would_shut_everybody_out_so_ours_lives_as_long_as_its_authority(lab: Lab) -> None:
    chain = chain_of(lab.authority, lab.clock)
    old = lab.authority.revocation_lists((), lab.clock() - limits.CA_CERTIFICATE_TTL - timedelta(days=1))
    (lab.broker.directory / settings.REVOKED).write_text(old)
    lab.kill()
    lab.run()
    with pytest.raises(RefusedError):
        lab.node(chain=chain)
    lab.broker.prepare()
    lab.kill()
    lab.run()
    lab.node(chain=chain)


def test_a_clock_that_was_put_back_makes_a_new_list_and_a_new_start(lab: Lab) -> None:
    lab.broker.prepare()
    lab.clock.move(hours=-2)
    assert lab.refresh() is Change.RESTART
    lab.node()
