"""The agent's settings: from edge_agent.yaml, overridden by the command line."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_agent.policy.presence import parse_interval
from edge_agent.policy.upload import (
    RecordingSettings,
    parse_min_free,
    parse_order,
    parse_rate,
    parse_spool_max,
    parse_window,
)
from protocol import limits, names
from protocol.addresses import join_address, split_address
from protocol.names import Labels, NodeName
from protocol.pins import parse_pin

if TYPE_CHECKING:
    from protocol.form import Section

S = TypeVar("S")
T = TypeVar("T")

Address = tuple[str, int]
WEB_PORT = 3080
NODE_PORT = 3022
_CONFIG_MAX = 256 * 1024
_HEARTBEAT = int(limits.HEARTBEAT_INTERVAL.total_seconds())
SEVERITIES = ("DEBUG", "INFO", "WARN", "ERROR")

TEMPLATE = """\
# edge_agent.yaml: settings of the Skerry agent. Command-line options win over this file.

# The controller's web address. The agent only ever dials out.
controller: {controller}

# The join token, in a file of its own. Needed once: the agent's identity lives in data_dir afterwards.
#token_file: /etc/skerry/join-token

# The controller's CA pin, as `tctl tokens add` prints it. Without it the system's authorities are trusted.
#ca_pin: sha256:0000000000000000000000000000000000000000000000000000000000000000

# The name to ask for. The host's own name unless said otherwise.
#nodename: kiosk-17

# Labels to claim; the token says which of them count.
#labels: {env: staging}

# Identity and what is yet to be sent.
#data_dir: /var/lib/skerry-agent

# The node door: where people on this device's own network reach it directly, with `tsh ssh --direct HOST`. Off unless
# an address is named here; ":3022" is every address of the device.
#listen_addr: "0.0.0.0:3022"

# Seconds between two heartbeats, from 5 to 3600. The rarer, the less is sent, and the later a dead link is noticed.
#heartbeat_interval: 30

# What is recorded of sessions waits in data_dir until the controller has it.
#recording:
  # How much of the disk it may take, 8MiB or more, and how much of the disk stays free whatever happens.
  #spool_max: 512MiB
  #min_free: 64MiB
  # How fast it is sent at most, all told: 32kbit/s, 1Mbit/s, 200KB/s. As fast as the link is unless said otherwise.
  #upload_rate: 1Mbit/s
  # When it is sent, by the device's own clock. At any time unless said otherwise.
  #upload_window: "22:00-06:00"
  # What is sent first of what has ended: newest or oldest. A session that is going on comes before both.
  #upload_order: newest

log:
  # DEBUG, INFO, WARN or ERROR
  severity: INFO
"""


class ConfigError(Exception):
    """The settings cannot be used. The message is one line that names file, line and key, or the option."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent runs by.

    Attributes:
        controller: the controller's web address, host and port.
        ca_pins: pins of the controller's CA; empty for the system's authorities.
        insecure: whether the controller's certificate goes unchecked.
        token_file: where the join token is; None where it comes another way.
        recording: what becomes of recordings on this device.
        listen: where the node's own door is, host and port; None for nowhere.
        heartbeat: seconds between two heartbeats.
        severity: what is logged.
        severity_file: the settings that may say otherwise later; None where the command line said it.
    """

    controller: Address
    nodename: NodeName
    data_dir: Path
    labels: Labels = field(default_factory=dict)
    ca_pins: tuple[str, ...] = ()
    token_file: Path | None = None
    insecure: bool = False
    severity: str = "INFO"
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    listen: Address | None = None
    heartbeat: int = _HEARTBEAT
    severity_file: Path | None = None

    @property
    def web_address(self) -> str:
        """The controller's web address as people write it."""
        return join_address(*self.controller)


@dataclass(frozen=True, slots=True)
class Options:
    """What was said on the command line; None for what was not."""

    controller: str | None = None
    nodename: str | None = None
    data_dir: str | None = None
    labels: str | None = None
    ca_pins: tuple[str, ...] = ()
    insecure: bool = False
    debug: bool = False
    config: str | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """What a device that has joined knows of itself.

    Attributes:
        controller: where the controller is; None where an older agent joined, which did not keep it.
        nodename: the name it has.
    """

    controller: Address | None
    nodename: NodeName


def _not_joined(_: Path) -> Joined | None:
    return None


def load_settings(
    options: Options, *, euid: int, find_joined: Callable[[Path], Joined | None] = _not_joined
) -> Settings:
    """Return the settings in the options and in the file they name, or in the default file where that exists.

    Args:
        options: what was said on the command line.
        euid: the user the agent runs as.
        find_joined: looks into the data directory; what was settled when the device joined need not be said again.

    Raises:
        ConfigError: a value is missing or wrong.
    """
    written, path = _settings_file(options.config, euid)
    data_dir = _data_dir(options, written, euid)
    joined = find_joined(data_dir)
    controller = _given(options.controller, "--controller", parse_controller) or written.get("controller")
    controller = controller or (joined.controller if joined else None)
    if controller is None:
        raise ConfigError(
            f"no controller: say --controller HOST:3080, or controller: in {path} "
            f"(a device that has joined needs neither, but {data_dir} is not of one)"
        )
    nodename = _given(options.nodename, "--nodename", names.parse_node_name) or written.get("nodename")
    labels = _given(options.labels, "--labels", names.parse_labels_text)
    return Settings(
        controller=controller,
        nodename=nodename or (joined.nodename if joined else _host()),
        data_dir=data_dir,
        labels=labels if labels is not None else written.get("labels") or {},
        ca_pins=_given(options.ca_pins or None, "--ca-pin", _pins) or written.get("ca_pin") or (),
        token_file=written.get("token_file"),
        insecure=options.insecure,
        severity="DEBUG" if options.debug else written.get("severity", "INFO"),
        recording=written.get("recording") or RecordingSettings(),
        listen=written.get("listen_addr"),
        heartbeat=written.get("heartbeat_interval") or _HEARTBEAT,
        severity_file=None if options.debug else Path(path).absolute(),
    )


def configured_data_dir(options: Options, euid: int) -> Path:
    """Return where the agent that is started with `options` has its data. Raises `ConfigError`."""
    return _data_dir(options, _settings_file(options.config, euid)[0], euid)


def _data_dir(options: Options, written: Mapping[str, Any], euid: int) -> Path:
    return Path(options.data_dir or written.get("data_dir") or default_data_dir(euid)).absolute()


def read_severity(path: Path) -> str:
    """Return what the settings say is to be logged; what goes without saying where there are none at `path`.

    Raises:
        ConfigError: they are there and cannot be used.
    """
    return str(_read_file(str(path)).get("severity", "INFO")) if path.exists() else "INFO"


def default_data_dir(euid: int) -> str:
    """Return where the agent of user `euid` keeps its data."""
    return "/var/lib/skerry-agent" if euid == 0 else f"{_home()}/.local/share/skerry-agent"


def default_config(euid: int) -> str:
    """Return where the agent of user `euid` looks for its settings, unless it is told where."""
    return "/etc/skerry/edge_agent.yaml" if euid == 0 else f"{_home()}/.config/skerry/edge_agent.yaml"


def template(controller: str = "controller.example.com:3080") -> str:
    """Return a commented edge_agent.yaml."""
    return TEMPLATE.replace("{controller}", controller)


def _home() -> str:
    return os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none


def _given(text: S | None, option: str, parse: Callable[[S], T]) -> T | None:
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as err:
        raise ConfigError(f"{option}: {err}") from None


def parse_controller(value: object) -> Address:
    """Return the controller's web address that a text names. Raises `ValueError`."""
    host, port = split_address(_text(value).removeprefix("https://").rstrip("/"), WEB_PORT)
    if not host or not port:
        raise ValueError("should be HOST:PORT, the controller's web address")
    return host, port


def parse_listen(value: object) -> Address:
    """Return where to listen that a text names; an empty host is every address. Raises `ValueError`."""
    return split_address(_text(value), NODE_PORT)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("should be a text")
    return value


def _host() -> NodeName:
    try:
        return names.parse_node_name(platform.node())
    except names.BadNameError:
        raise ConfigError(f"the host's name {platform.node()!r} is no node name: say --nodename NAME") from None


def _severity(value: object) -> str:
    text = _text(value).upper().replace("WARNING", "WARN")
    if text not in SEVERITIES:
        raise ValueError(f"should be one of {', '.join(SEVERITIES)}")
    return text


def _pins(pins: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(parse_pin(pin) for pin in pins)


def _labels(value: object) -> Labels:
    pairs = value if isinstance(value, dict) else {}
    if pairs is not value:
        raise ValueError("should be a mapping of names to values")
    return names.parse_labels({str(key): str(text) for key, text in pairs.items()})


def _settings_file(named: str | None, euid: int) -> tuple[Mapping[str, Any], str]:
    """Return the settings that are written, and the path where they are, or would be."""
    path = named or default_config(euid)
    return (_read_file(path) if named or os.access(path, os.F_OK) else {}), path


def _read_file(path: str) -> Mapping[str, Any]:
    from protocol.form import Entry, FormError, Section, read_form, texts

    form = Section(
        known={
            "controller": Entry(parse_controller),
            "nodename": Entry(names.parse_node_name),
            "labels": Entry(_labels),
            "data_dir": Entry(_text),
            "ca_pin": Entry(lambda value: _pins(texts(value))),
            "token_file": Entry(lambda value: Path(_text(value))),
            "listen_addr": Entry(parse_listen),
            "heartbeat_interval": Entry(parse_interval),
        },
        sections={"log": Section(known={"severity": Entry(_severity, "INFO")}), "recording": _recording_form()},
    )
    try:
        settings = read_form(_read_text(Path(path)), path, form)
    except FormError as err:
        raise ConfigError(str(err)) from None
    found: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    log: dict[str, Any] = settings["log"]
    return found | log | {"recording": RecordingSettings(**settings["recording"])}


def _recording_form() -> Section:
    from protocol.form import Entry, Section  # late: it brings in the YAML library

    usual = RecordingSettings()
    return Section(
        known={
            "spool_max": Entry(parse_spool_max, usual.spool_max),
            "min_free": Entry(parse_min_free, usual.min_free),
            "upload_rate": Entry(parse_rate),
            "upload_window": Entry(parse_window),
            "upload_order": Entry(parse_order, usual.upload_order),
        }
    )


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_CONFIG_MAX + 1)
        if len(data) > _CONFIG_MAX:
            raise ConfigError(f"{path}: larger than {_CONFIG_MAX} bytes, which is no edge_agent.yaml")
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text in UTF-8") from None
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read: {err.strerror}") from None
