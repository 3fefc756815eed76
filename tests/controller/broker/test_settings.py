from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from controller.broker import settings
from protocol import limits, topics
from protocol.names import NodeId

NODE = NodeId("6f9c1a54-1f0e-4f5c-9d0e-0a1b2c3d4e5f")
OTHER = NodeId("0b7e2d31-55aa-4c1b-8f7d-9a8b7c6d5e4f")


def test_the_configuration_demands_a_certificate_and_takes_the_name_from_it() -> None:
    lines = settings.configuration_text(("127.0.0.1", 18883)).splitlines()
    assert "listener 18883 127.0.0.1" in lines
    for line in (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "allow_anonymous false",
        "crlfile revoked.crl",
        "acl_file acl",
        "persistence true",
        "persistence_location ./",
    ):
        assert line in lines


def test_without_an_address_of_its_own_the_broker_listens_on_both_families() -> None:
    assert "listener 8883\n" in settings.configuration_text(("::", 8883))
    assert "listener 8883 0.0.0.0\n" in settings.configuration_text(("0.0.0.0", 8883))  # noqa: S104 - a text
    assert "listener 8883 ::1\n" in settings.configuration_text(("::1", 8883))


def test_the_largest_document_fits_a_packet_and_1_mib_does_not() -> None:
    found = re.search(r"^max_packet_size (\d+)$", settings.configuration_text(("::1", 1)), re.MULTILINE)
    assert found is not None
    assert limits.MQTT_MESSAGE_MAX < int(found[1]) < 1024 * 1024


def test_another_broker_finds_the_files_where_they_are_brought_to() -> None:
    text = settings.external_text(("::", 8883), "/etc/mosquitto/skerry/", "/var/lib/mosquitto/")
    for name in ("authorities.crt", "server.crt", "server.key", "revoked.crl", "acl"):
        assert f" /etc/mosquitto/skerry/{name}\n" in text
    assert "persistence_location /var/lib/mosquitto/\n" in text
    assert "Written by" not in text


def test_patterns_are_the_topics_of_the_node_they_name() -> None:
    assert topics.NODE_STATE_PATTERN.replace("%u", NODE) == topics.state(NODE)
    assert topics.NODE_BEAT_PATTERN.replace("%u", NODE) == topics.beat(NODE)
    assert topics.NODE_DOCUMENT_PATTERN.replace("%u", NODE) == topics.node_document(NODE)


def test_whoever_is_denied_is_named_once_and_in_the_same_order_every_time() -> None:
    text = settings.access_text({NODE, OTHER})
    assert text == settings.access_text([OTHER, NODE])
    assert text.count("topic deny #") == 2
    assert text.index(OTHER) < text.index(NODE)
    assert "deny" not in settings.access_text(())


def test_who_is_silenced_may_not_write_and_who_is_denied_too_may_nothing() -> None:
    text = settings.access_text({OTHER}, {NODE, OTHER})
    assert f"user {NODE}\ntopic deny {topics.state(NODE)}\ntopic deny {topics.beat(NODE)}\n" in text
    assert f"topic deny {topics.live(NODE)}\n" in text
    assert text.count(f"user {OTHER}\n") == 1
    assert f"user {OTHER}\ntopic deny #\n" in text


def test_the_larger_the_fleet_the_more_changes_make_a_save_and_never_more_than_a_hundredth_of_it() -> None:
    assert [settings.changes_to_a_save(nodes) for nodes in (0, 1, 999, 1000, 9999, 10_000)] == [1, 1, 1, 10, 10, 100]
    assert "autosave_interval 10\n" in settings.configuration_text(("::1", 1), changes=10)
    assert "autosave_interval 1\n" in settings.configuration_text(("::1", 1))


def test_a_broker_of_one_s_own_listens_where_the_controller_s_url_says(tmp_path: Path) -> None:
    config = tmp_path / "controller.yaml"
    config.write_text("mqtt: {broker: external, url: 'mqtts://broker.example:18883'}")
    command = [sys.executable, "-m", "controller.cli", "configure", "--broker", "mosquitto", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nlistener 18883\n" in done.stdout
    config.write_text("mqtt: {broker: none}")
    assert "\nlistener 8883\n" in subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    config.unlink()
    missing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert f"{config}: cannot be read" in missing.stderr
