"""controller.yaml: Teleport's keys, where the thing behind them exists here, and our own section ``mqtt``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from controller.policy.retention import Retention
from protocol import durations, form, names, sizes
from protocol.addresses import split_address
from protocol.form import Entry, FormError, Section
from protocol.names import ClusterName, Labels, NodeName, TokenText
from protocol.recordings import Mode
from protocol.secret import Secret

Address = tuple[str, int]

APP_SERVICE_WARNING = "app_service: application access does not exist yet; the section is accepted and does nothing"
SEVERITIES = ("DEBUG", "INFO", "WARN", "ERROR")


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


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """The settings of a controller. An address of port 0 lets the system choose a port."""

    cluster_name: ClusterName
    data_dir: Path
    nodename: NodeName | None
    severity: str
    api_listen: Address
    ssh_listen: Address
    tunnel_listen: Address
    web_listen: Address
    mqtt_listen: Address
    public: PublicAddresses
    https_keypair: KeyPair | None
    static_tokens: tuple[Secret[TokenText], ...]
    record_session: Mode
    record_input: bool
    recording_retention: Retention
    drain_timeout: timedelta
    requests_per_minute: int
    ssh_service: bool
    ssh_labels: Labels
    warnings: tuple[str, ...]


def load_config(path: Path) -> ControllerConfig:
    """Read controller.yaml. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}{_hint(err)}") from None
    return parse_config(text, str(path))


def _hint(err: Exception) -> str:
    """Return what to do about a file that cannot be read."""
    if isinstance(err, FileNotFoundError):
        return "; name the controller's configuration with -c FILE (`controller configure` prints one to begin with)"
    if isinstance(err, PermissionError):
        return "; run this as root, or as the user that runs the controller"
    return "; name the controller's configuration with -c FILE" if isinstance(err, OSError) else ""


def parse_config(text: str, source: str) -> ControllerConfig:
    """Read the text of a controller.yaml; `source` is its name, for messages. Raises `ConfigError`."""
    try:
        found = form.read_form(text, source, _FORM)
    except FormError as err:
        raise ConfigError(str(err)) from None
    auth, proxy, node, teleport = (found[key] for key in ("auth_service", "proxy_service", "ssh_service", "teleport"))
    keypairs = proxy["https_keypairs"]
    return ControllerConfig(
        cluster_name=auth["cluster_name"],
        data_dir=teleport["data_dir"],
        nodename=teleport["nodename"],
        severity=teleport["log"]["severity"],
        api_listen=auth["listen_addr"],
        ssh_listen=proxy["listen_addr"],
        tunnel_listen=proxy["tunnel_listen_addr"],
        web_listen=proxy["web_listen_addr"],
        mqtt_listen=found["mqtt"]["listen_addr"],
        public=PublicAddresses(proxy["public_addr"], proxy["ssh_public_addr"], proxy["tunnel_public_addr"]),
        https_keypair=keypairs[0] if keypairs else None,
        static_tokens=auth["tokens"],
        record_session=auth["record_session"],
        record_input=auth["record_input"],
        recording_retention=Retention(**auth["recording_retention"]),
        drain_timeout=proxy["drain_timeout"],
        requests_per_minute=proxy["requests_per_minute"],
        ssh_service=node["enabled"],
        ssh_labels=node["labels"],
        warnings=(APP_SERVICE_WARNING,) if found["app_service"] is not None else (),
    )


def _path(value: object) -> Path:
    path = form.text(value)
    if "\0" in path:
        raise ValueError("should be a path, which holds no NUL character")
    return Path(path)


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
    severity = form.text(value).upper().replace("WARNING", "WARN")
    if severity not in SEVERITIES:
        raise ValueError(f"should be one of {', '.join(SEVERITIES)}")
    return severity


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
            },
            sections={"log": Section(known={"severity": Entry(_severity, "INFO")})},
        ),
        "auth_service": Section(
            known={
                "enabled": Entry(_always_on, default=True),
                "cluster_name": Entry(names.parse_cluster_name, "skerry"),
                "listen_addr": Entry(form.listen_address, ("0.0.0.0", 3025)),  # noqa: S104 - devices dial in
                "tokens": Entry(_static_tokens, ()),
                "record_session": Entry(_recording_mode, "best_effort"),
                "record_input": Entry(form.flag, default=False),
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
            }
        ),
        "ssh_service": Section(
            known={"enabled": Entry(form.flag, default=False), "labels": Entry(_labels, {})},
        ),
        "mqtt": Section(known={"listen_addr": Entry(form.listen_address, ("0.0.0.0", 8883))}),  # noqa: S104
    },
)

EXAMPLE = """\
# The Skerry controller. Every key may be left out; what is shown is the default, unless it says "example".
# The keys are Teleport's where Teleport has them.

teleport:
  # Where everything is kept: the store, the certificate authorities (sealed), the audit log.
  data_dir: /var/lib/skerry
  # The name of this host's own node, if ssh_service is on. Example; the default is the host name.
  # nodename: harbour
  log:
    severity: INFO  # DEBUG, INFO, WARN, ERROR

auth_service:
  # The cluster's name. It stands in every certificate: choose it once.
  cluster_name: skerry
  # The machine API, for devices that have joined (HTTPS with client certificates).
  listen_addr: "0.0.0.0:3025"
  # Static join tokens, reusable for ever: for a demonstration. Better: tctl tokens add --type=node
  # tokens: ["node:CHOOSE-32-RANDOM-CHARACTERS"]
  # Sessions are recorded on the device. Where one cannot be (a full disk): strict ends it, best_effort lets it go on
  # and says so in the audit log. off records none.
  record_session: best_effort
  # What people type is recorded too, passwords included. What the screen shows always is.
  record_input: false
  # How long, and how much, this controller keeps; each may be left out, and without any it keeps all. Age counts from
  # when the last byte of a recording came; where they take more than the size, the oldest go of the node whose take
  # most. The controller sees to it 5 minutes after its start, and hourly. Whatever this says, a recording that has
  # grown is spared for an hour, and one that is still arriving for 7 days. Example:
  # recording_retention: {age: 365d, size: 100GiB}

proxy_service:
  listen_addr: "0.0.0.0:3023"         # the client door: tsh and ssh
  tunnel_listen_addr: "0.0.0.0:3024"  # the tunnel door: devices
  web_listen_addr: "0.0.0.0:3080"     # the web door: browsers, tsh, joining devices
  # What people and devices dial, where that is not the address they came by. Example:
  # public_addr: skerry.example.com:3080
  # ssh_public_addr: skerry.example.com:3023
  # tunnel_public_addr: skerry.example.com:3024
  # A certificate of your own for the web door. Without one the controller issues its own, and
  # tsh and devices are told its pin (--ca-pin). Example:
  # https_keypairs: [{key_file: /etc/skerry/web.key, cert_file: /etc/skerry/web.crt}]
  # How long open sessions may go on after SIGTERM.
  drain_timeout: 10s
  # Sign-ins, joins and invites that one address may try in a minute.
  requests_per_minute: 60

# An agent for the controller's own host.
ssh_service:
  enabled: false
  labels: {}

# Reserved: nothing listens here until presence and control of the fleet arrive over MQTT.
mqtt:
  listen_addr: "0.0.0.0:8883"
"""
