"""controller.yaml: Teleport's keys, where the thing behind them exists here, and our own section ``mqtt``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from controller.policy.retention import Retention
from controller.policy.severity import parse_severity
from protocol import durations, form, names, sizes
from protocol.addresses import split_address
from protocol.form import Entry, FormError, Section
from protocol.locks import LockingMode, parse_locking_mode
from protocol.names import ClusterName, Labels, NodeName, TokenText
from protocol.recordings import Mode
from protocol.secret import Secret

Address = tuple[str, int]
# mosquitto: a child of ours. external: somebody else's. none: presence and control are not told over MQTT.
BrokerKind = Literal["mosquitto", "external", "none"]

APP_SERVICE_WARNING = "app_service: application access does not exist yet; the section is accepted and does nothing"
# Where the Debian package of the controller puts the agent's archives.
ARCHIVES = Path("/usr/share/skerry/agent-archives")
# The master key's file in the data directory, where no other is named.
MASTER_KEY = "master.key"


class ConfigError(Exception):
    """controller.yaml cannot be used; the message is one line with file, line and key."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A TLS key and its certificate chain, as PEM files of the admin's."""

    key_file: Path
    cert_file: Path


@dataclass(frozen=True, slots=True)
class PublicAddresses:
    """What people and devices are to dial, where it is not the address they found us under."""

    web: Address | None
    ssh: Address | None
    tunnel: Address | None
    mqtt: Address | None = None


@dataclass(frozen=True, slots=True)
class ExternalBroker:
    """A broker that is not ours to run.

    Attributes:
        address: where we and the nodes dial it.
        ca_file: the authorities by which we know it, PEM; None for the cluster's own.
        keypair: what we present to it; None for a certificate that the cluster's TLS authority issues.
    """

    address: Address
    ca_file: Path | None
    keypair: KeyPair | None


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """The settings of a controller. An address of port 0 lets the system choose a port."""

    cluster_name: ClusterName
    data_dir: Path
    nodename: NodeName | None
    severity: str
    master_key_file: Path
    api_listen: Address
    ssh_listen: Address
    tunnel_listen: Address
    web_listen: Address
    mqtt_listen: Address
    broker: BrokerKind
    external_broker: ExternalBroker | None
    public: PublicAddresses
    https_keypair: KeyPair | None
    static_tokens: tuple[Secret[TokenText], ...]
    record_session: Mode
    record_input: bool
    locking_mode: LockingMode
    recording_retention: Retention
    drain_timeout: timedelta
    requests_per_minute: int
    agent_archives: Path
    ssh_service: bool
    ssh_labels: Labels
    diag_listen: Address | None
    warnings: tuple[str, ...]


def load_config(path: Path, *, with_files: bool = False) -> ControllerConfig:
    """Read controller.yaml. Raises `ConfigError`.

    `with_files` says to see whether the files for the broker can be read, too: a start is the moment to be told.
    """
    return parse_config(read_settings(path), str(path), with_files=with_files)


def read_settings(path: Path) -> str:
    """Return the text of controller.yaml, for `parse_config`. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}{_hint(err)}") from None


def _hint(err: Exception) -> str:
    """Return what to do about a file that cannot be read."""
    if isinstance(err, FileNotFoundError):
        return "; name the controller's configuration with -c FILE (`controller configure` prints one to begin with)"
    if isinstance(err, PermissionError):
        return "; run this as root, or as the user that runs the controller"
    return "; name the controller's configuration with -c FILE" if isinstance(err, OSError) else ""


def parse_config(text: str, source: str, *, with_files: bool = False) -> ControllerConfig:
    """Read the text of a controller.yaml; `source` is its name, for messages. Raises `ConfigError`."""
    try:
        found = form.read_form(text, source, _form_with_files() if with_files else _FORM)
    except FormError as err:
        raise ConfigError(str(err)) from None
    auth, proxy, node, teleport = (found[key] for key in ("auth_service", "proxy_service", "ssh_service", "teleport"))
    keypairs = proxy["https_keypairs"]
    return ControllerConfig(
        cluster_name=auth["cluster_name"],
        data_dir=teleport["data_dir"],
        nodename=teleport["nodename"],
        severity=teleport["log"]["severity"],
        master_key_file=auth["master_key_file"] or teleport["data_dir"] / MASTER_KEY,
        api_listen=auth["listen_addr"],
        ssh_listen=proxy["listen_addr"],
        tunnel_listen=proxy["tunnel_listen_addr"],
        web_listen=proxy["web_listen_addr"],
        mqtt_listen=found["mqtt"]["listen_addr"],
        broker=found["mqtt"]["broker"],
        external_broker=_external_broker(found["mqtt"], source),
        public=PublicAddresses(
            proxy["public_addr"], proxy["ssh_public_addr"], proxy["tunnel_public_addr"], found["mqtt"]["public_addr"]
        ),
        https_keypair=keypairs[0] if keypairs else None,
        static_tokens=auth["tokens"],
        record_session=auth["record_session"],
        record_input=auth["record_input"],
        locking_mode=auth["locking_mode"],
        recording_retention=Retention(**auth["recording_retention"]),
        drain_timeout=proxy["drain_timeout"],
        requests_per_minute=proxy["requests_per_minute"],
        agent_archives=proxy["agent_archives"],
        ssh_service=node["enabled"],
        ssh_labels=node["labels"],
        diag_listen=teleport["diag_addr"],
        warnings=(APP_SERVICE_WARNING,) if found["app_service"] is not None else (),
    )


def _diag_address(value: object) -> Address:
    """Read ``PORT``, ``:PORT`` or ``HOST:PORT``; without a host it is this machine's own alone."""
    written = value if isinstance(value, str) else _scalar(value)
    text = form.text(written)
    host, port = split_address(f":{text}" if text.isdecimal() else text)
    return host or "127.0.0.1", port


def _path(value: object) -> Path:
    path = form.text(value)
    if "\0" in path:
        raise ValueError("should be a path, which holds no NUL character")
    return Path(path)


def _readable_file(value: object) -> Path:
    path = _path(value)
    try:
        path.open("rb").close()
    except OSError as err:
        raise ValueError(f"{path} cannot be read: {err.strerror}") from None
    return path


def _form_with_files() -> Section:
    """Return the form that looks at the files of ``mqtt`` as well."""
    mqtt = _FORM.sections["mqtt"]
    files = {key: Entry(_readable_file) for key in ("ca_file", "cert_file", "key_file")}
    return replace(_FORM, sections={**_FORM.sections, "mqtt": replace(mqtt, known={**mqtt.known, **files})})


def _always_on(value: object) -> bool:
    if not form.flag(value):
        raise ValueError("cannot be false: one controller is certificate authority and proxy")
    return True


def _public_address(default_port: int) -> Any:  # noqa: ANN401 - a reader, as Entry takes it
    def read(value: object) -> Address:
        if not isinstance(value, str | list):
            raise ValueError(f"should be HOST:PORT, a text or a list of texts, not {form.describe(value)}")
        addresses = form.texts(value)
        host, port = split_address(addresses[0], default_port) if addresses else ("", 0)
        if not host or not port:
            raise ValueError("should be HOST:PORT with the name that others dial")
        return host, port

    return read


def _broker_kind(value: object) -> BrokerKind:
    for kind in get_args(BrokerKind):
        if value == kind:
            return kind  # type: ignore[no-any-return]  # one of the literal's own
    raise ValueError("should be mosquitto, external or none")


def _broker_url(value: object) -> Address:
    scheme, found, address = form.text(value).partition("://")
    host, port = split_address(address.removesuffix("/"), 8883) if found and scheme == "mqtts" else ("", 0)
    if not host or not port:
        raise ValueError("should be mqtts://HOST:PORT with the name that devices dial")
    return host, port


def _external_broker(section: Mapping[str, Any], source: str) -> ExternalBroker | None:
    """Return the broker that ``mqtt.url`` names. Raises `ConfigError` for keys that contradict each other."""
    given = [key for key in ("url", "ca_file", "cert_file", "key_file") if section[key] is not None]
    if section["broker"] != "external":
        if given:
            raise ConfigError(f"{source}: mqtt.{given[0]}: goes with mqtt.broker: external")
        return None
    if section["url"] is None:
        raise ConfigError(f"{source}: mqtt.url: is missing: mqtt.broker: external needs mqtts://HOST:PORT")
    if (section["cert_file"] is None) != (section["key_file"] is None):
        raise ConfigError(f"{source}: mqtt.{given[-1]}: cert_file and key_file go together")
    pair = KeyPair(section["key_file"], section["cert_file"]) if section["cert_file"] else None
    return ExternalBroker(section["url"], section["ca_file"], pair)


def _static_tokens(value: object) -> tuple[Secret[TokenText], ...]:
    return tuple(_static_token(text) for text in form.texts(value))


def _static_token(text: str) -> Secret[TokenText]:
    roles, colon, token = text.partition(":")
    if not colon or "node" not in [role.strip().lower() for role in roles.split(",")]:
        raise ValueError("should be ROLES:TOKEN with node among the roles, such as node:f7adb7cc…")
    return Secret(names.parse_token(token))


def _keypairs(value: object) -> tuple[KeyPair, ...]:
    if not isinstance(value, list) or len(value) > 1:
        raise ValueError("should be a list of one mapping with key_file and cert_file")
    return tuple(_keypair(item) for item in value)


def _keypair(value: object) -> KeyPair:
    if not isinstance(value, dict) or set(value) != {"key_file", "cert_file"}:
        raise ValueError("should be a list of one mapping with key_file and cert_file")
    return KeyPair(_path(value["key_file"]), _path(value["cert_file"]))


def _severity(value: object) -> str:
    return parse_severity(form.text(value))


def _duration(value: object) -> timedelta:
    return durations.parse_duration(form.text(value))


def _rate(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
        raise ValueError("should be a whole number from 1 to 1000000")
    return value


def _recording_mode(value: object) -> Mode:
    if value is False:
        return "off"  # a bare off is YAML's word for false
    for mode in get_args(Mode):
        if value == mode:
            return mode  # type: ignore[no-any-return]  # one of the literal's own
    raise ValueError("should be strict, best_effort or off")


def _locking_mode(value: object) -> LockingMode:
    try:
        return parse_locking_mode(value)
    except ValueError:
        raise ValueError("should be strict or best_effort") from None


def _size(value: object) -> int:
    size = sizes.parse_size(value)
    if not size:
        raise ValueError("should be more than nothing; leave it out to keep all")
    return size


def _anything(value: object) -> object:
    return value if value is not None else {}


def _labels(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError("should be a mapping of label names to values")
    return names.parse_labels({str(key): _scalar(item) for key, item in value.items()})


def _scalar(value: object) -> object:
    """Take a bare number or truth value as the text it was written as."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


_FORM = Section(
    known={"version": Entry(form.text), "app_service": Entry(_anything)},
    sections={
        "teleport": Section(
            known={
                "data_dir": Entry(_path, Path("/var/lib/skerry")),
                "nodename": Entry(names.parse_node_name),
                "diag_addr": Entry(_diag_address),
            },
            sections={"log": Section(known={"severity": Entry(_severity, "INFO")})},
        ),
        "auth_service": Section(
            known={
                "enabled": Entry(_always_on, default=True),
                "cluster_name": Entry(names.parse_cluster_name, "skerry"),
                "listen_addr": Entry(form.listen_address, ("0.0.0.0", 3025)),  # noqa: S104 - devices dial in
                "tokens": Entry(_static_tokens, ()),
                "master_key_file": Entry(_path),
                "record_session": Entry(_recording_mode, "best_effort"),
                "record_input": Entry(form.flag, default=False),
                "locking_mode": Entry(_locking_mode, "best_effort"),
            },
            sections={"recording_retention": Section(known={"age": Entry(_duration), "size": Entry(_size)})},
        ),
        "proxy_service": Section(
            known={
                "enabled": Entry(_always_on, default=True),
                "listen_addr": Entry(form.listen_address, ("0.0.0.0", 3023)),  # noqa: S104 - people dial in
                "tunnel_listen_addr": Entry(form.listen_address, ("0.0.0.0", 3024)),  # noqa: S104
                "web_listen_addr": Entry(form.listen_address, ("0.0.0.0", 3080)),  # noqa: S104
                "public_addr": Entry(_public_address(3080)),
                "ssh_public_addr": Entry(_public_address(3023)),
                "tunnel_public_addr": Entry(_public_address(3024)),
                "https_keypairs": Entry(_keypairs, ()),
                "drain_timeout": Entry(_duration, timedelta(seconds=10)),
                "requests_per_minute": Entry(_rate, 60),
                "agent_archives": Entry(_path, ARCHIVES),
            }
        ),
        "ssh_service": Section(
            known={"enabled": Entry(form.flag, default=False), "labels": Entry(_labels, {})},
        ),
        "mqtt": Section(
            known={
                "broker": Entry(_broker_kind, "mosquitto"),
                "listen_addr": Entry(form.listen_address, ("0.0.0.0", 8883)),  # noqa: S104 - devices dial in
                "public_addr": Entry(_public_address(8883)),
                "url": Entry(_broker_url),
                "ca_file": Entry(_path),
                "cert_file": Entry(_path),
                "key_file": Entry(_path),
            }
        ),
    },
)

EXAMPLE = """\
# The Skerry controller. Every key may be left out; what is shown is the
# default, unless it says "example". The keys are Teleport's where Teleport has
# them.

teleport:
  # Where everything is kept: the store, the certificate authorities (sealed),
  # the audit log.
  data_dir: /var/lib/skerry
  # The name of this host's own node, if ssh_service is on. Example; the default
  # is the host name.
  # nodename: harbour
  # Diagnostics over plain HTTP: /healthz, /readyz, and /metrics for Prometheus.
  # Without a host it is 127.0.0.1: whoever reaches it reads how many nodes and
  # sessions there are. Off unless given. Example:
  # diag_addr: "127.0.0.1:3000"
  log:
    severity: INFO  # DEBUG, INFO, WARN, ERROR

auth_service:
  # The cluster's name. It stands in every certificate: choose it once.
  cluster_name: skerry
  # The machine API, for devices that have joined (HTTPS with client
  # certificates).
  listen_addr: "0.0.0.0:3025"
  # The key that seals every other: private keys, recording keys, one-time-code
  # secrets. Where systemd hands the service the credential "master-key"
  # (LoadCredential=), that counts; where not, this file does. Name it here all
  # the same: tctl, run by root, is handed no credential. The default is
  # master.key in data_dir. Example:
  # master_key_file: /etc/skerry/master-key
  # Static join tokens, reusable for ever: for a demonstration. Better:
  # tctl tokens add --type=node
  # tokens: ["node:CHOOSE-32-RANDOM-CHARACTERS"]
  # Sessions are recorded on the device. Where one cannot be (a full disk):
  # strict ends it, best_effort lets it go on and says so in the audit log. off
  # records none.
  record_session: best_effort
  # What people type is recorded too, passwords included. What the screen shows
  # always is.
  record_input: false
  # A node that has heard nothing from here for 10 minutes may not know of a
  # lock put on since. best_effort: the locks that it knows go on to hold, and
  # people may work on it; strict: nobody may, until it hears from here again.
  locking_mode: best_effort
  # How long, and how much, this controller keeps; each may be left out, and
  # without any it keeps all. Age counts from when the last byte of a recording
  # came; where they take more than the size, the oldest go of the node whose
  # take most. The controller sees to it 5 minutes after its start, and hourly.
  # Whatever this says, a recording that has grown is spared for an hour, and
  # one that is still arriving for 7 days. Example:
  # recording_retention: {age: 365d, size: 100GiB}

proxy_service:
  listen_addr: "0.0.0.0:3023"         # the client door: tsh and ssh
  tunnel_listen_addr: "0.0.0.0:3024"  # the tunnel door: devices
  web_listen_addr: "0.0.0.0:3080"     # the web door: browsers, tsh, joins
  # What people and devices dial, where that is not the address they came by.
  # Example:
  # public_addr: skerry.example.com:3080
  # ssh_public_addr: skerry.example.com:3023
  # tunnel_public_addr: skerry.example.com:3024
  # A certificate of your own for the web door. Without one the controller
  # issues its own, and tsh and devices are told its pin (--ca-pin). Example:
  # https_keypairs:
  #   - {key_file: /etc/skerry/web.key, cert_file: /etc/skerry/web.crt}
  # How long open sessions may go on after SIGTERM.
  drain_timeout: 10s
  # Sign-ins, joins and invites that one address may try in a minute.
  requests_per_minute: 60
  # The archives of the agent, skerry-agent-VERSION-linux-ARCH.tar.gz, from
  # which the web door's install.sh installs devices. The package
  # skerry-controller brings them; `make dist` builds them.
  agent_archives: /usr/share/skerry/agent-archives

# An agent for the controller's own host.
ssh_service:
  enabled: false
  labels: {}

# Presence and control of the fleet, over MQTT.
mqtt:
  # mosquitto is run by the controller. external is a broker of your own:
  # `controller configure --broker mosquitto` prints what to tell it. none does
  # without: nodes are then known by their tunnels alone, and locks reach them
  # late.
  broker: mosquitto
  listen_addr: "0.0.0.0:8883"
  # What devices dial, where that is not the host they joined by. Example:
  # public_addr: skerry.example.com:8883
  # With external. Devices take it for the broker by a certificate for
  # mqtt.CLUSTER of the cluster's TLS authority. By ca_file the controller knows
  # it, by cert_file and key_file it knows the controller, where that is another
  # authority.
  # url: mqtts://broker.example.com:8883
"""
