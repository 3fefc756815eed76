"""What the agent goes by: what was granted, and what the controller has said since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.papers import Papers
from protocol.control import NodeDocument
from protocol.names import NodeName
from protocol.ssh.certificate import key_blob
from tests.harness.inner_door import joined_identity
from tests.harness.simulated_controller import CLUSTER, SimulatedController, TlsAuthority, public_line


@pytest.fixture
def papers(own_controller: SimulatedController, tmp_path: Path) -> Papers:
    return Papers(joined_identity(own_controller, tmp_path))


def test_before_there_was_a_policy_document_what_was_granted_counts(papers: Papers) -> None:
    granted = papers.identity.granted
    assert papers.user_authorities == {key_blob(line) for line in granted.user_authorities}
    assert papers.host_authorities == granted.host_authorities
    assert papers.tls_authorities == granted.tls_authorities


def test_the_policy_document_says_whom_to_trust_from_then_on(
    papers: Papers, own_controller: SimulatedController
) -> None:
    keys = [public_line(Ed25519PrivateKey.generate()) for _ in range(3)]
    pem = TlsAuthority().pem
    policy = replace(
        own_controller.renewals.policy(CLUSTER),
        user_authorities=(f"{keys[0]} of today", keys[1]),
        host_authorities=(f"{keys[2]} of today",),
        tls_authorities=(pem,),
    )
    papers.take_policy(policy)
    assert papers.user_authorities == {key_blob(keys[0]), key_blob(keys[1])}
    assert papers.host_authorities == (keys[2],)
    assert papers.tls_authorities == (pem,)
    papers.renew(replace(papers.identity, granted=replace(papers.identity.granted, host_authorities=())))
    assert papers.host_authorities == (keys[2],)


def test_what_an_admin_says_of_the_node_counts_more_than_what_was_granted(papers: Papers) -> None:
    granted = papers.identity.granted
    assert (papers.target.node_id, papers.target.name, papers.target.labels) == (
        granted.node_id,
        granted.name,
        granted.labels,
    )
    papers.take_node(NodeDocument(granted.node_id, 1, NodeName("renamed"), {"env": "prod"}))
    assert (papers.target.node_id, papers.target.name, papers.target.labels) == (
        granted.node_id,
        "renamed",
        {"env": "prod"},
    )


def test_whoever_listens_hears_of_every_change_and_finds_it_made(
    papers: Papers, own_controller: SimulatedController
) -> None:
    heard: list[tuple[object, ...]] = []
    for _ in range(2):
        papers.on_change(lambda: heard.append((papers.identity, papers.policy, papers.node)))
    identity = replace(papers.identity, controller=None)
    policy = own_controller.renewals.policy(CLUSTER)
    node = NodeDocument(identity.granted.node_id, 1, NodeName("renamed"), {})
    papers.renew(identity)
    papers.take_policy(policy)
    papers.take_node(node)
    changes = [(identity, None, None), (identity, policy, None), (identity, policy, node)]
    assert heard == [change for change in changes for _ in range(2)]
