"""What mosquitto grants with the configuration that the controller writes. No client here is well-behaved."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from controller.authority import Authority, Vault
from controller.store.memory import MemoryStore
from protocol import limits, topics
from protocol.names import ClusterName
from protocol.secret import Secret
from tests.controller.broker.lab import NODE, OTHER, PATIENCE, Lab, RefusedError, chain_of


def test_a_node_s_state_heartbeats_and_last_will_reach_the_controller(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("n/#")
    node = lab.stranger(lab.context(chain_of(lab.authority, lab.clock)), NODE, clean=False)
    node.client.will_set(topics.state(NODE), b"lost", 1, retain=True)
    node.connect(lab.port)
    node.publish(topics.state(NODE), b"online", retain=True)
    node.publish(topics.beat(NODE), b"[1]", qos=0)
    assert controller.next_message() == (topics.state(NODE), b"online", False)
    assert controller.next_message() == (topics.beat(NODE), b"[1]", False)
    node.publish(topics.live(NODE), b"{}", retain=True)
    assert controller.next_message() == (topics.live(NODE), b"{}", False)
    node.cut()
    assert controller.next_message() == (topics.state(NODE), b"lost", False)


def test_a_node_reads_what_is_for_all_and_for_itself_and_nothing_else(lab: Lab) -> None:
    controller, node = lab.controller(), lab.node()
    for wish in ("#", "+/+/+", "c/#", "n/+/s", "seen/#", "$SYS/#", "$share/all/#", topics.node_document(OTHER)):
        node.subscribe(wish)
    for topic in (
        topics.seen(NODE),
        topics.node_document(OTHER),
        topics.state(OTHER),
        topics.beat(OTHER),
        topics.live(OTHER),
        topics.live(NODE),
        topics.state(NODE),
        "x",
    ):
        controller.publish(topic, b"not for it", retain=True)
    controller.publish(topics.POLICY, b"policy")
    controller.publish(topics.PULSE, b"pulse")
    controller.publish(topics.node_document(NODE), b"its own")
    controller.publish(topics.POLICY, b"last")
    seen: list[tuple[str, bytes]] = []
    while not seen or seen[-1] != (topics.POLICY, b"last"):
        seen.append(node.next_message()[:2])
    assert set(seen) == {
        (topics.POLICY, b"policy"),
        (topics.PULSE, b"pulse"),
        (topics.node_document(NODE), b"its own"),
        (topics.POLICY, b"last"),
    }


def test_a_wildcard_asked_for_later_brings_nothing_that_was_retained_for_others(lab: Lab) -> None:
    controller = lab.controller()
    for topic in (topics.seen(NODE), topics.state(OTHER), topics.node_document(OTHER)):
        controller.publish(topic, b"not for it", retain=True)
    controller.publish(topics.POLICY, b"policy", retain=True)
    node = lab.node()
    node.subscribe("#")
    node.subscribe("$SYS/#")
    assert node.next_message() == (topics.POLICY, b"policy", True)
    controller.publish(topics.PULSE, b"the next")
    assert node.next_message()[1] == b"the next"


@pytest.mark.parametrize(
    "topic",
    [
        topics.state(OTHER),
        topics.beat(OTHER),
        topics.live(OTHER),
        topics.POLICY,
        topics.PULSE,
        topics.node_document(NODE),
        topics.node_document(OTHER),
        topics.seen(NODE),
        f"n/{NODE}/x",
        f"n/{NODE}",
        "n/%u/s",
        "$SYS/broker/version",
        "anything",
    ],
)
def test_a_node_writes_nowhere_but_under_its_own_id(lab: Lab, topic: str) -> None:
    controller, node = lab.controller(), lab.node()
    controller.subscribe("#")
    controller.subscribe("c/#")
    with contextlib.suppress(RefusedError):  # some of these end the connection
        node.publish(topic, b"forged", retain=True)
    other = lab.node()
    other.publish(topics.beat(NODE), b"the next")
    assert controller.next_message() == (topics.beat(NODE), b"the next", False)
    late = lab.node(OTHER)
    late.subscribe("#")
    controller.publish(topics.POLICY, b"the only")
    assert late.next_message()[1] == b"the only"


def test_a_last_will_for_another_s_topic_is_never_spoken(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("n/#")
    liar = lab.stranger(lab.context(chain_of(lab.authority, lab.clock)), NODE)
    liar.client.will_set(topics.state(OTHER), b"lost", 1, retain=True)
    with contextlib.suppress(RefusedError):
        liar.connect(lab.port)
        liar.cut()
        liar.await_fact("disconnected")
    lab.node().publish(topics.beat(NODE), b"the next")
    assert controller.next_message()[1] == b"the next"


def test_the_client_id_is_the_certificate_s_name_whatever_is_claimed(lab: Lab) -> None:
    controller, node = lab.controller(), lab.node()
    controller.subscribe("n/#")
    thief = lab.node(OTHER, client_id=NODE)
    nameless = lab.node("11111111-2222-4333-8444-555555555555", client_id="")
    usurper = lab.node("21111111-2222-4333-8444-555555555555", client_id=topics.CONTROLLER)
    for caller in (thief, nameless, usurper):
        caller.publish(topics.state(NODE), b"forged")
    node.publish(topics.state(NODE), b"still here")  # nobody took its place
    assert controller.next_message() == (topics.state(NODE), b"still here", False)


def test_a_user_name_that_is_given_counts_for_nothing(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("#")
    node = lab.stranger(lab.context(chain_of(lab.authority, lab.clock)), NODE)
    node.client.username_pw_set(topics.CONTROLLER, "insecure")
    node.connect(lab.port)
    node.publish(topics.POLICY, b"forged")
    node.publish(topics.beat(NODE), b"the next")
    assert controller.next_message()[1] == b"the next"


def foreign_chain(lab: Lab) -> str:
    foreign = Authority(MemoryStore(), Vault(Secret(b"insecure master key of 32 bytes!")), ClusterName("harbour"))
    foreign.create_missing(lab.clock())
    return chain_of(foreign, lab.clock)


def server_chain(lab: Lab) -> str:
    chain, key = lab.authority.issue_broker_server([topics.CONTROLLER], lab.clock())
    return key.reveal() + chain


def overdue_chain(lab: Lab) -> str:
    lab.clock.now -= 2 * limits.HOST_CERTIFICATE_TTL
    chain = chain_of(lab.authority, lab.clock)
    lab.clock.now += 2 * limits.HOST_CERTIFICATE_TTL
    return chain


@pytest.mark.parametrize("make", [foreign_chain, server_chain, overdue_chain, None])
def test_a_foreign_a_server_s_an_expired_and_no_certificate_are_refused(lab: Lab, make: object) -> None:
    chain = make(lab) if callable(make) else None
    with pytest.raises(RefusedError):
        lab.caller(lab.context(chain), NODE)
    lab.node()


def test_a_payload_of_1_mib_ends_its_connection_and_nobody_else_s(lab: Lab) -> None:
    controller, other = lab.controller(), lab.node(OTHER)
    controller.subscribe("n/#")
    node = lab.node()
    with pytest.raises(RefusedError):
        node.publish(topics.beat(NODE), b"x" * 1024 * 1024)
    other.publish(topics.beat(OTHER), b"y" * limits.BEAT_MAX)
    assert controller.next_message() == (topics.beat(OTHER), b"y" * limits.BEAT_MAX, False)


def test_the_largest_policy_document_passes(lab: Lab) -> None:
    controller, node = lab.controller(), lab.node()
    node.subscribe(topics.POLICY)
    controller.publish(topics.POLICY, b"x" * limits.MQTT_MESSAGE_MAX, retain=True)
    assert len(node.next_message()[1]) == limits.MQTT_MESSAGE_MAX


def test_mqtt_5_is_held_to_the_same(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("#")
    node = lab.stranger(lab.context(chain_of(lab.authority, lab.clock)), OTHER, protocol=MQTTProtocolVersion.MQTTv5)
    node.connect(lab.port)
    node.client.publish(topics.state(OTHER), b"forged", qos=1)
    node.await_fact("published")
    node.publish(topics.beat(NODE), b"the next")
    assert controller.next_message() == (topics.beat(NODE), b"the next", False)


def test_mosquitto_s_own_client_gets_no_further(lab: Lab) -> None:
    controller = lab.controller()
    controller.subscribe("#")
    chain = lab.folder / "node.pem"
    chain.write_text(chain_of(lab.authority, lab.clock))
    authorities = lab.folder / "authorities.crt"
    authorities.write_text("".join(lab.authority.tls_authorities()))
    command = ["mosquitto_pub", "--insecure", "-h", "127.0.0.1", "-p", str(lab.port), "--cafile", str(authorities)]
    identity = ["--cert", str(chain), "--key", str(chain), "-i", OTHER, "-q", "1", "-m", "said"]
    for topic in (topics.POLICY, topics.state(OTHER), topics.beat(NODE)):
        subprocess.run([*command, *identity, "-t", topic], check=True, timeout=PATIENCE)
    assert controller.next_message() == (topics.beat(NODE), b"said", False)
    stranger = subprocess.run(
        [*command, "-t", topics.POLICY, "-m", "x"], capture_output=True, check=False, timeout=PATIENCE
    )
    assert stranger.returncode != 0


def test_who_speaks_no_tls_is_not_spoken_to_and_the_log_stays_short(lab: Lab) -> None:
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", lab.port), timeout=PATIENCE) as sock:
            sock.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
            with contextlib.suppress(ConnectionError):
                assert not sock.recv(64).startswith(b"\x20")
    with pytest.raises(RefusedError):
        lab.caller(ssl.create_default_context(), NODE)  # a client that does not know the authority
    lab.node()
