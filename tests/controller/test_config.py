from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config import (
    APP_SERVICE_WARNING,
    EXAMPLE,
    ConfigError,
    ExternalBroker,
    KeyPair,
    load_config,
    parse_config,
)
from controller.policy.retention import Retention

# The YAML of Teleport's own quick start, as people bring it.
TELEPORT = """\
app_service: {debug_app: true, enabled: true}
auth_service:
  cluster_name: teleport-quickstart
  enabled: true
  listen_addr: "127.0.0.1:3025"
  tokens: ["proxy,node,app:f7adb7ccdf04037bcd2b52ec6010fd6f0caec94ba190b765"]
proxy_service:
  enabled: true
  listen_addr: "0.0.0.0:3023"
  tunnel_listen_addr: "0.0.0.0:3024"
  web_listen_addr: "0.0.0.0:3080"
  https_keypairs: [{key_file: /path/localhost.key, cert_file: /path/localhost.crt}]
ssh_service: {enabled: true, labels: {env: staging}}
teleport: {data_dir: /var/lib/skerry}
"""


def test_teleport_s_own_yaml_is_understood_as_it_is() -> None:
    config = parse_config(TELEPORT, "controller.yaml")
    assert config.cluster_name == "teleport-quickstart"
    assert config.data_dir == Path("/var/lib/skerry")
    assert config.api_listen == ("127.0.0.1", 3025)
    assert (config.ssh_listen, config.tunnel_listen) == (("0.0.0.0", 3023), ("0.0.0.0", 3024))  # noqa: S104 - compared
    assert config.web_listen == ("0.0.0.0", 3080)  # noqa: S104 - compared
    assert config.https_keypair == KeyPair(Path("/path/localhost.key"), Path("/path/localhost.crt"))
    assert [token.reveal() for token in config.static_tokens] == ["f7adb7ccdf04037bcd2b52ec6010fd6f0caec94ba190b765"]
    assert (config.ssh_service, config.ssh_labels) == (True, {"env": "staging"})
    assert config.warnings == (APP_SERVICE_WARNING,)
    assert "f7adb7cc" not in repr(config)


def test_the_example_is_the_defaults() -> None:
    assert parse_config(EXAMPLE, "example") == parse_config("", "empty")


def test_the_example_can_be_read_on_a_console_of_80_columns() -> None:
    assert [line for line in EXAMPLE.splitlines() if len(line) > 80] == []


def test_nothing_at_all_is_the_defaults() -> None:
    config = parse_config("", "controller.yaml")
    assert (config.cluster_name, config.data_dir, config.nodename) == ("skerry", Path("/var/lib/skerry"), None)
    assert [address[1] for address in (config.api_listen, config.ssh_listen, config.tunnel_listen)] == [
        3025,
        3023,
        3024,
    ]
    assert (config.web_listen[1], config.mqtt_listen[1]) == (3080, 8883)
    assert (config.broker, config.external_broker) == ("mosquitto", None)
    assert (config.public.web, config.public.ssh, config.public.tunnel) == (None, None, None)
    assert (config.https_keypair, config.static_tokens, config.warnings) == (None, (), ())
    assert (config.drain_timeout, config.requests_per_minute) == (timedelta(seconds=10), 60)
    assert (config.record_session, config.record_input) == ("best_effort", False)
    assert config.locking_mode == "best_effort"
    assert config.recording_retention == Retention(age=None, size=None)
    assert (config.severity, config.ssh_service, config.ssh_labels) == ("INFO", False, {})


def test_every_key_is_read() -> None:
    text = """\
version: v3
teleport: {data_dir: /srv/skerry, nodename: harbour-1, log: {severity: warning}}
auth_service:
  enabled: true
  cluster_name: harbour
  listen_addr: "[::1]:1"
  tokens: ["node:insecure-token-0001", "proxy, Node:insecure-token-0002"]
  record_session: strict
  record_input: true
  locking_mode: strict
  recording_retention: {age: 365d, size: 100GiB}
proxy_service:
  enabled: true
  listen_addr: "127.0.0.1:0"
  tunnel_listen_addr: "127.0.0.1:2"
  web_listen_addr: "127.0.0.1:3"
  public_addr: [skerry.example.com]
  ssh_public_addr: ssh.example.com:22
  tunnel_public_addr: "[2001:db8::1]"
  https_keypairs: []
  drain_timeout: 1m30s
  requests_per_minute: 1000
ssh_service: {enabled: false, labels: {env: dev, rack: 7, spare: false}}
mqtt: {broker: mosquitto, listen_addr: "127.0.0.1:4", public_addr: mqtt.example.com}
"""
    config = parse_config(text, "controller.yaml")
    assert (config.cluster_name, config.nodename, config.severity) == ("harbour", "harbour-1", "WARN")
    assert config.data_dir == Path("/srv/skerry")
    assert (config.api_listen, config.ssh_listen) == (("::1", 1), ("127.0.0.1", 0))
    assert (config.tunnel_listen, config.web_listen) == (("127.0.0.1", 2), ("127.0.0.1", 3))
    assert (config.mqtt_listen, config.broker) == (("127.0.0.1", 4), "mosquitto")
    assert config.public.mqtt == ("mqtt.example.com", 8883)
    assert config.public.web == ("skerry.example.com", 3080)
    assert config.public.ssh == ("ssh.example.com", 22)
    assert config.public.tunnel == ("2001:db8::1", 3024)
    assert config.https_keypair is None
    assert [token.reveal()[-4:] for token in config.static_tokens] == ["0001", "0002"]
    assert (config.drain_timeout, config.requests_per_minute) == (timedelta(seconds=90), 1000)
    assert (config.record_session, config.record_input) == ("strict", True)
    assert config.locking_mode == "strict"
    assert config.recording_retention == Retention(age=timedelta(days=365), size=100 * 1024**3)
    assert (config.ssh_service, config.ssh_labels) == (False, {"env": "dev", "rack": "7", "spare": "false"})
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("teleport:\n  data_dirr: /x\n", 2, "teleport.data_dirr: unknown key (did you mean 'data_dir'?)"),
        ("telephone: {}\n", 1, "telephone: unknown key"),
        ("okta: {enabled: true}\n", 1, "okta: unknown key (known here: "),
        ("teleport: {data_dir: 7}\n", 1, "teleport.data_dir: should be a text, not a number"),
        ('teleport: {data_dir: ""}\n', 1, "teleport.data_dir: should be a text, not an empty text"),
        ('teleport: {data_dir: "/x\\0"}\n', 1, "teleport.data_dir: should be a path"),
        ("teleport: {nodename: a/b}\n", 1, "teleport.nodename: not a valid node name"),
        ("teleport: []\n", 1, "teleport: not a mapping of keys to values"),
        ("teleport:\n  log:\n    severity: LOUD\n", 3, "teleport.log.severity: should be one of DEBUG, INFO"),
        ("auth_service:\n  enabled: false\n", 2, "auth_service.enabled: cannot be false"),
        ("proxy_service:\n  enabled: 1\n", 2, "proxy_service.enabled: should be true or false, not a number"),
        ("auth_service: {cluster_name: 'a b'}\n", 1, "auth_service.cluster_name: not a valid cluster name"),
        ("auth_service: {listen_addr: 3025}\n", 1, "auth_service.listen_addr: should be a text, not a number"),
        ("auth_service: {listen_addr: ':3025'}\n", 1, "auth_service.listen_addr: should be HOST:PORT, with the"),
        ("auth_service: {listen_addr: 'a:99999'}\n", 1, "auth_service.listen_addr: should be HOST:PORT"),
        ("auth_service: {listen_addr: '::1:3025'}\n", 1, "auth_service.listen_addr: should be HOST:PORT with an IPv6"),
        ("auth_service:\n  tokens:\n    - insecure-token-0001\n", 3, "auth_service.tokens: should be ROLES:TOKEN"),
        ("auth_service: {tokens: ['proxy:insecure-token-0001']}\n", 1, "auth_service.tokens: should be ROLES:TOKEN"),
        ("auth_service: {tokens: ['node:short']}\n", 1, "auth_service.tokens: not a valid token"),
        ("auth_service: {tokens: {a: b}}\n", 1, "auth_service.tokens: should be a list of texts, not a mapping"),
        ("auth_service:\n  record_session: true\n", 2, "auth_service.record_session: should be strict, best_effort or"),
        ("auth_service: {record_session: node}\n", 1, "auth_service.record_session: should be strict, best_effort or"),
        ("auth_service: {locking_mode: off}\n", 1, "auth_service.locking_mode: should be strict or best_effort"),
        ("auth_service: {record_input: 1}\n", 1, "auth_service.record_input: should be true or false, not a number"),
        ("auth_service: {recording_retention: 365d}\n", 1, "auth_service.recording_retention: not a mapping of keys"),
        (
            "auth_service:\n  recording_retention:\n    sizes: 1GiB\n",
            3,
            "auth_service.recording_retention.sizes: unknown key (did you mean 'size'?)",
        ),
        (
            "auth_service: {recording_retention: {age: 365}}\n",
            1,
            "auth_service.recording_retention.age: should be a text, not a number",
        ),
        (
            "auth_service: {recording_retention: {age: never}}\n",
            1,
            "auth_service.recording_retention.age: not a span of time: 'never'",
        ),
        (
            "auth_service: {recording_retention: {size: much}}\n",
            1,
            "auth_service.recording_retention.size: not a number of bytes",
        ),
        (
            "auth_service: {recording_retention: {size: 0}}\n",
            1,
            "auth_service.recording_retention.size: should be more than nothing",
        ),
        ("proxy_service: {public_addr: []}\n", 1, "proxy_service.public_addr: should be HOST:PORT"),
        ("proxy_service: {public_addr: ':443'}\n", 1, "proxy_service.public_addr: should be HOST:PORT"),
        ("proxy_service: {public_addr: 'a:0'}\n", 1, "proxy_service.public_addr: should be HOST:PORT"),
        ("proxy_service: {ssh_public_addr: 'http://a'}\n", 1, "proxy_service.ssh_public_addr: should be HOST:PORT"),
        (
            "proxy_service: {tunnel_public_addr: 7}\n",
            1,
            "proxy_service.tunnel_public_addr: should be HOST:PORT, a text or a list of texts, not a number",
        ),
        ("proxy_service: {public_addr: [12]}\n", 1, "proxy_service.public_addr: should be a text, not a number"),
        ("proxy_service: {https_keypairs: [{key_file: /a}]}\n", 1, "proxy_service.https_keypairs: should be a list"),
        ("proxy_service: {https_keypairs: /a}\n", 1, "proxy_service.https_keypairs: should be a list of one"),
        (
            "proxy_service: {https_keypairs: [{key_file: /a, cert_file: /b}, {key_file: /c, cert_file: /d}]}\n",
            1,
            "proxy_service.https_keypairs: should be a list of one",
        ),
        (
            "proxy_service: {https_keypairs: [{key_file: 7, cert_file: /b}]}\n",
            1,
            "proxy_service.https_keypairs: should be a text, not a number",
        ),
        ("proxy_service: {drain_timeout: 10}\n", 1, "proxy_service.drain_timeout: should be a text, not a number"),
        ("proxy_service: {drain_timeout: soon}\n", 1, "proxy_service.drain_timeout: not a span of time: 'soon'"),
        ("proxy_service: {requests_per_minute: 0}\n", 1, "proxy_service.requests_per_minute: should be a whole"),
        ("proxy_service: {requests_per_minute: true}\n", 1, "proxy_service.requests_per_minute: should be a whole"),
        ("ssh_service: {enabled: maybe}\n", 1, "ssh_service.enabled: should be true or false, not a text"),
        ("ssh_service: {labels: [a]}\n", 1, "ssh_service.labels: should be a mapping of label names to values"),
        ("ssh_service: {labels: {a: [b]}}\n", 1, "ssh_service.labels: not a valid value for label 'a'"),
        ("ssh_service: {labels: {'a b': c}}\n", 1, "ssh_service.labels: not a valid label name"),
        ("mqtt: {listen_addr: nowhere}\n", 1, "mqtt.listen_addr: should be HOST:PORT"),
        ("mqtt: {broker: rabbit}\n", 1, "mqtt.broker: should be mosquitto, external or none"),
        ("mqtt: {url: mqtt://broker:1883}\n", 1, "mqtt.url: should be mqtts://HOST:PORT"),
        ("mqtt: {url: 'mqtts://:8883'}\n", 1, "mqtt.url: should be mqtts://HOST:PORT"),
        ("mqtt: {url: broker}\n", 1, "mqtt.url: should be mqtts://HOST:PORT"),
        ("mqtt: {ca_file: 7}\n", 1, "mqtt.ca_file: should be a text, not a number"),
        ("teleport: {data_dir: /a, data_dir: /b}\n", 1, "teleport.data_dir: stands here twice"),
        ("teleport: {data_dir: /a}\nteleport: {data_dir: /b}\n", 2, "teleport: stands here twice"),
        ("teleport: {\n", 2, "not YAML"),
        ("\tteleport: {}\n", 1, "not YAML"),
        ("- a\n", 1, "not a mapping of keys to values"),
        ("teleport: {data_dir: !!python/object/apply:os.system [a]}\n", 1, "teleport.data_dir: not a plain value"),
        ("[" * 2000, 1, "not YAML"),
    ],
)
def test_a_fault_is_one_line_with_file_line_and_key(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "controller.yaml")
    message = str(caught.value)
    assert message.startswith(f"controller.yaml:{line}: {words}")
    assert "\n" not in message


def test_another_broker_is_where_its_url_says() -> None:
    config = parse_config("mqtt: {broker: external, url: 'mqtts://broker.example'}", "x")
    assert config.external_broker == ExternalBroker(("broker.example", 8883), None, None)
    keys = "url: 'mqtts://[::1]:1/', ca_file: /ca, cert_file: /cert, key_file: /key"
    config = parse_config(f"mqtt: {{broker: external, {keys}}}", "x")
    assert config.external_broker == ExternalBroker(("::1", 1), Path("/ca"), KeyPair(Path("/key"), Path("/cert")))
    assert parse_config("mqtt: {broker: none}", "x").external_broker is None


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{broker: external}", "mqtt.url: is missing: mqtt.broker: external needs mqtts://HOST:PORT"),
        ("{url: 'mqtts://a:1'}", "mqtt.url: goes with mqtt.broker: external"),
        ("{broker: none, key_file: /a}", "mqtt.key_file: goes with mqtt.broker: external"),
        ("{broker: external, url: 'mqtts://a', cert_file: /a}", "mqtt.cert_file: cert_file and key_file go together"),
    ],
)
def test_keys_of_another_broker_that_contradict_each_other_are_one_line(section: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"mqtt: {section}\n", "controller.yaml")
    assert str(caught.value) == f"controller.yaml: {words}"


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_a_file_for_the_broker_that_is_not_there_stops_the_start_alone_with_its_line(tmp_path: Path, key: str) -> None:
    (tmp_path / "there.pem").touch()
    missing, path = tmp_path / "missing.pem", tmp_path / "controller.yaml"
    files = dict.fromkeys(("ca_file", "cert_file", "key_file"), tmp_path / "there.pem")
    lines = ["mqtt:", "  broker: external", "  url: mqtts://broker.example"]
    path.write_text("\n".join([*lines, *(f"  {name}: {file}" for name, file in (files | {key: missing}).items())]))
    line = 4 + list(files).index(key)
    command = [sys.executable, "-m", "controller.cli", "start", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    words = f"mqtt.{key}: {missing} cannot be read: No such file or directory"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ERROR: {path}:{line}: {words}\n")
    assert load_config(path).external_broker is not None


def test_a_token_that_is_wrong_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config("auth_service: {tokens: ['insecure-token-0001']}", "controller.yaml")
    assert "insecure" not in str(caught.value)


@pytest.mark.parametrize("word", ["off", '"off"', "no", "false"])
def test_recording_is_off_however_yaml_takes_the_word(word: str) -> None:
    assert parse_config(f"auth_service: {{record_session: {word}}}", "x").record_session == "off"


@pytest.mark.parametrize(
    ("text", "retention"),
    [
        ("{age: 12h}", Retention(age=timedelta(hours=12))),
        ("{size: 1.5GB}", Retention(size=1_500_000_000)),
        ("{size: 4096}", Retention(size=4096)),
        ("{}", Retention()),
        ("", Retention()),
    ],
)
def test_either_end_of_retention_may_be_left_out(text: str, retention: Retention) -> None:
    config = parse_config(f"auth_service:\n  recording_retention: {text}\n", "x")
    assert config.recording_retention == retention


def test_an_empty_section_is_its_defaults_and_app_service_is_accepted_even_empty() -> None:
    assert parse_config("proxy_service:\nteleport:\n", "x") == parse_config("", "x")
    assert parse_config("app_service:\n", "x").warnings == (APP_SERVICE_WARNING,)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("3000", ("127.0.0.1", 3000)),
        ('":3000"', ("127.0.0.1", 3000)),
        ("192.0.2.1:9", ("192.0.2.1", 9)),
        ('"[::]:0"', ("::", 0)),
    ],
)
def test_diagnostics_without_a_host_are_for_this_machine_alone(written: str, address: tuple[str, int]) -> None:
    assert parse_config(f"teleport: {{diag_addr: {written}}}", "controller.yaml").diag_listen == address
    assert parse_config("", "controller.yaml").diag_listen is None


@pytest.mark.parametrize("written", ["x", "true", "-1", "99999", "[1]", '""'])
def test_a_diagnostics_address_that_is_none_is_one_error(written: str) -> None:
    with pytest.raises(ConfigError, match=r"^controller.yaml:1: teleport.diag_addr: should be "):
        parse_config(f"teleport: {{diag_addr: {written}}}", "controller.yaml")


@given(st.text(max_size=200))
def test_any_text_is_settings_or_one_error(text: str) -> None:
    with suppress(ConfigError):  # the declared error, and no other
        parse_config(text, "controller.yaml")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(TELEPORT)
    assert load_config(path).cluster_name == "teleport-quickstart"


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    hint = r"name the controller's configuration with -c FILE \(`controller configure` prints one to begin with\)$"
    with pytest.raises(ConfigError, match=rf"missing\.yaml: cannot be read: No such file or directory; {hint}"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    noise = tmp_path / "noise.yaml"
    noise.write_bytes(b"\xff\xfe\x00" + os.urandom(100))
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8 text"):
        load_config(noise)


def test_the_master_key_lies_in_the_data_directory_unless_another_file_is_named() -> None:
    inside = parse_config("teleport: {data_dir: /srv/skerry}", "controller.yaml")
    assert inside.master_key_file == Path("/srv/skerry/master.key")
    elsewhere = parse_config("auth_service: {master_key_file: /etc/skerry/master-key}", "controller.yaml")
    assert elsewhere.master_key_file == Path("/etc/skerry/master-key")
