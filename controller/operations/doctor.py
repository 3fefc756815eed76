"""`controller doctor`: looks at a controller and its host, whether it runs or not, and changes nothing."""

from __future__ import annotations

import fcntl
import os
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from controller.addresses import BoundAddresses, answers, near
from controller.audit import AuditError
from controller.authority import ROTATABLE_KINDS, AuthorityError
from controller.authority.master_key import KeyPlace
from controller.authority.x509 import certificate_names, expiry
from controller.broker.error import BrokerError
from controller.broker.mosquitto import find_mosquitto
from controller.cluster import Cluster, ClusterError, open_cluster, utc_now
from controller.config import Address, ConfigError, ControllerConfig, parse_config, read_settings
from controller.debug_door import DebugError, give_order
from controller.diagnostics.readiness import Readiness
from controller.doors import StartError, bind_doors
from controller.operations.backup import last_backup
from controller.operations.error import OperationError
from controller.operations.host import (
    file_limit,
    is_synchronised,
    look_at_directory,
    look_at_disk,
    look_at_unit,
    low_ports,
    resolve,
)
from controller.operations.snapshot import open_plain
from controller.overview import overlook
from controller.policy import chain
from controller.policy.chain import Broken
from controller.policy.checkup import (
    RUNBOOK,
    SERVICE,
    Certificate,
    Clock,
    Door,
    Finding,
    Fleet,
    judge_audit,
    judge_backup,
    judge_broker,
    judge_certificate,
    judge_clock,
    judge_directory,
    judge_disk,
    judge_doors,
    judge_files,
    judge_fleet,
    judge_key,
    judge_names,
    judge_rotation,
    judge_running,
    judge_units,
)
from controller.policy.debug_order import Describe
from controller.store.interface import StoreError
from controller.tctl.error import TctlError
from controller.tctl.host import as_owner, key_of_root
from controller.tls_files import TlsFileError, prepare_probe
from protocol import events, limits
from protocol.addresses import join_address
from protocol.instants import parse_instant
from protocol.secret import Secret

_PATIENCE = timedelta(seconds=5)
_TAIL = 2 * limits.AUDIT_LINE_MAX
_WRONG = (ClusterError, StoreError, AuthorityError, AuditError, TlsFileError, OSError)


@dataclass(frozen=True, slots=True)
class _Run:
    """A controller that runs: its pid, and each process with whether it serves. A pid of None: it gives no answer.

    Attributes:
        hung: how often which process was ended because it did not answer.
    """

    pid: int | None
    processes: tuple[tuple[str, bool], ...]
    hung: Mapping[str, int] = field(default_factory=dict)


def examine(path: Path) -> Iterator[Finding]:
    """Yield what is found, one after the other as it is looked at. Raises nothing that a host can be in the way of."""
    try:
        text = read_settings(path)
        config = parse_config(text, str(path))
        key = _key_of_root(config)
        with _as_owner(config):
            config = parse_config(text, str(path), with_files=True)
    except ConfigError as err:
        yield Finding("configuration", "fail", str(err), "mend it: `controller configure` prints one with every key")
        return
    if config.warnings:
        yield Finding("configuration", "warn", f"{path}: {'; '.join(config.warnings)}", "take it out")
    else:
        yield Finding("configuration", "ok", str(path))
    with _as_owner(config):
        run = _find_run(config.data_dir)
    # Asked as whoever we are: a service that is no root may have been granted a low port.
    ports = "" if run else _ports_problem(config)
    with _as_owner(config):
        yield from _examine_host(config)
        yield from _examine_run(config, run, ports)
        yield from _examine_cluster(config, run, key)
        yield judge_backup(last_backup(config.data_dir), utc_now())


@contextmanager
def _as_owner(config: ControllerConfig) -> Iterator[None]:
    """Let root be the owner of the data directory: no link that lies there leads us further than its owner may go."""
    if os.geteuid() != 0 or not config.data_dir.exists():
        yield
        return
    with as_owner(config.data_dir, returning=True):
        yield


def _key_of_root(config: ControllerConfig) -> Secret[bytes] | None:
    """Return the master key where root alone can read it; None where its owner is to find it, or it is lost."""
    try:
        return key_of_root(config)
    except TctlError:
        return None  # whoever looks for it next says why


def _examine_host(config: ControllerConfig) -> Iterator[Finding]:
    data_dir = config.data_dir
    try:
        yield judge_directory(look_at_directory(data_dir))
        yield judge_disk(look_at_disk(data_dir))
    except OSError as err:
        mend = "run this as root, or as the user that runs the controller"
        yield Finding("data directory", "fail", f"{err.filename}: {err.strerror}", mend)
    yield judge_clock(Clock(utc_now(), _newest_line(data_dir / "log"), is_synchronised()))
    yield from judge_names([resolve(name, key) for name, key in _public_names(config).items()])


def _public_names(config: ControllerConfig) -> Mapping[str, str]:
    """Return the names that others dial, and which setting each is from."""
    public = config.public
    named = [
        (public.web, "proxy_service.public_addr"),
        (public.ssh, "proxy_service.ssh_public_addr"),
        (public.tunnel, "proxy_service.tunnel_public_addr"),
        (public.mqtt, "mqtt.public_addr"),
        (config.external_broker.address if config.external_broker else None, "mqtt.url"),
    ]
    return {address[0]: key for address, key in reversed(named) if address is not None}


def _newest_line(directory: Path) -> datetime | None:
    """Return the time of the audit log's newest line; None where there is none that can be read."""
    try:
        paths = sorted(directory.glob("audit-*.log"), reverse=True)
    except OSError:
        return None
    for path in paths:
        with suppress(OSError, ValueError, OperationError), open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            tail = os.pread(file.fileno(), _TAIL, max(0, size - _TAIL))
            for line in reversed(tail.split(b"\n")[:-1]):
                event = chain.parse_line(line)
                if event is not None:
                    return parse_instant(event.get("time"))
    return None


# --- the controller, if it runs ---------------------------------------------------------------------------------------


def _find_run(data_dir: Path) -> _Run | None:
    """Return the controller that runs on the data directory; None for none."""
    try:
        with open_plain(data_dir / "controller.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except (OSError, OperationError):
        return None
    else:
        return None
    try:
        told: Mapping[str, Any] = give_order(data_dir, Describe())
        processes = tuple((str(each["name"]), bool(each["pid"])) for each in told["processes"])
        hung = {str(each["name"]): int(each["hung"]) for each in told["processes"] if each.get("hung")}
        return _Run(int(told["pid"]), processes, hung)
    except (DebugError, KeyError, TypeError, ValueError):
        return _Run(None, (("its supervisor, which gives no answer", False),))


def _examine_run(config: ControllerConfig, run: _Run | None, ports: str) -> Iterator[Finding]:
    low = () if run else low_ports(config)
    processes = run.processes if run else ()
    service, broker = look_at_unit("skerry-controller"), look_at_unit("mosquitto")
    is_told = service is not None and service.is_known and not service.is_active
    hung = run.hung if run else {}
    yield from judge_running(
        runs=run is not None, ports=ports, low=low, processes=processes, hung=hung, is_told=is_told
    )
    has_own = config.broker == "mosquitto"
    yield from judge_units(service, broker, runs=run is not None, has_own_broker=has_own)


def _ports_problem(config: ControllerConfig) -> str:
    try:
        doors = bind_doors(config, is_listening=False)
    except StartError as err:
        return str(err)
    for door in (doors.web, doors.ssh, doors.tunnel, doors.api, doors.mqtt, doors.diag):
        if door is not None:
            door.close()
    return ""


# --- the cluster ------------------------------------------------------------------------------------------------------


def _examine_cluster(config: ControllerConfig, run: _Run | None, key: Secret[bytes] | None) -> Iterator[Finding]:
    try:
        is_founded = (config.data_dir / "store" / "cluster.json").exists()
    except OSError:
        return  # what the data directory is like was said
    if not is_founded:
        yield Finding("cluster", "warn", f"there is none in {config.data_dir} yet", "`controller start` makes it")
        yield _program_of_broker(config)
        return
    place = KeyPlace.of(config.master_key_file, os.environ)
    try:
        cluster = open_cluster(config, master_key=key)
    except AuthorityError as err:
        yield judge_key(str(place.file), str(err))
        return
    except _WRONG as err:
        mend = f"{RUNBOOK}, “An upgrade of the controller failed”: or restore a backup"
        yield Finding("store", "fail", str(err), mend)
        return
    yield judge_key(str(place.file), "")
    if run is None:
        yield _program_of_broker(config)
    else:
        yield from _examine_doors(cluster)
    yield from _examine_certificates(cluster, runs=run is not None)
    yield from _examine_books(cluster, run)


def _program_of_broker(config: ControllerConfig) -> Finding:
    try:
        if config.broker == "mosquitto":
            find_mosquitto()
    except BrokerError as err:
        return judge_broker(config.broker, str(err), runs=False)
    return judge_broker(config.broker, "", runs=False)


def _examine_doors(cluster: Cluster) -> Iterator[Finding]:
    bound, seen = BoundAddresses.load(cluster.config), Readiness(cluster).look()
    doors = [
        Door("web", join_address(*bound.web), seen.get("web", "")),
        Door("machine API", join_address(*bound.api), seen.get("api", "")),
        Door("client", join_address(*bound.ssh), seen.get("ssh", "")),
        Door("tunnel", join_address(*bound.tunnel), seen.get("tunnel", "")),
    ]
    if bound.mqtt is not None:
        doors.append(Door("MQTT", join_address(*bound.mqtt), _mqtt_problem(cluster, bound.mqtt)))
    if bound.diag is not None:
        doors.append(Door("diagnostics", join_address(*bound.diag), _diag_problem(bound.diag)))
    yield from judge_doors(doors)
    yield judge_broker(cluster.config.broker, seen.get("broker", ""), runs=True)


def _mqtt_problem(cluster: Cluster, address: Address) -> str:
    try:
        probe = prepare_probe(cluster)
    except (AuthorityError, StoreError, OSError) as err:
        return f"it cannot be asked: {err}"
    return "" if answers(address, _PATIENCE, probe) else "nothing answers"


def _diag_problem(address: Address) -> str:
    try:
        with urllib.request.urlopen(  # a door of ours
            f"http://{join_address(*near(address))}/healthz", timeout=_PATIENCE.total_seconds()
        ) as answer:
            answer.read(1)
    except (OSError, ValueError) as err:
        return f"nothing answers ({err})"
    return ""


def _examine_certificates(cluster: Cluster, *, runs: bool) -> Iterator[Finding]:
    config, now = cluster.config, cluster.clock()
    own = config.https_keypair
    shown = own.cert_file if own else config.data_dir / "tls" / "web.crt"
    wanted = [config.public.web[0]] if config.public.web else []
    if own or runs or os.path.lexists(shown):  # what is ours is made at each start
        yield _certificate("the web door", shown, wanted, is_own=own is None, now=now)
    api = config.data_dir / "tls" / "api.crt"
    if runs or os.path.lexists(api):
        yield _certificate("the machine API", api, [], is_own=True, now=now)
    for kind in ROTATABLE_KINDS:
        rotation = cluster.authority.rotation(kind)
        yield judge_rotation(kind, rotation.phase, rotation.changed, now)
    for pem in cluster.authority.tls_authorities()[:1]:
        yield judge_certificate(Certificate("the TLS authority", expiry(pem), is_authority=True), now)


def _certificate(of: str, path: Path, wanted: list[str], *, is_own: bool, now: datetime) -> Finding:
    check, mend = f"certificate of {of}", "put it there, in PEM"
    if is_own:
        mend = f"the controller makes it anew: systemctl restart {SERVICE}"
    try:
        pem = path.read_text(encoding="ascii", errors="replace")  # beside the certificates anything may stand
        names = certificate_names(pem)
        lacking = [name for name in wanted if not _covers(names, name)]
        return judge_certificate(Certificate(of, expiry(pem), lacking, is_own=is_own), now)
    except OSError as err:
        return Finding(check, "fail", f"{path} cannot be read: {err.strerror or err}", mend)
    except ValueError:
        return Finding(check, "fail", f"{path} holds no certificate", mend)


def _covers(names: tuple[str, ...], name: str) -> bool:
    """Tell whether one of a certificate's names is good for `name` (RFC 9525, section 6.3)."""
    return name in names or f"*.{name.partition('.')[2]}" in names


def _examine_books(cluster: Cluster, run: _Run | None) -> Iterator[Finding]:
    try:
        result = cluster.audit.verify(opening=events.CLUSTER_CREATE)
        problem = f"{result.file}, line {result.line}: {result.problem}" if isinstance(result, Broken) else ""
        yield judge_audit(0 if isinstance(result, Broken) else result.count, problem)
        nodes = cluster.fleet.all()
        if run is not None:
            seen, counted = overlook(cluster), Counter(node.status for node in nodes)
            offline = [node.name for node in nodes if node.status == "offline"]
            waiting, backlog = counted["pending"], seen.backlog
            yield from judge_fleet(Fleet(len(nodes), offline, counted["stale"], waiting, backlog.files, backlog.bytes))
        yield judge_files(file_limit(run.pid if run else None), len(nodes))
    except _WRONG as err:
        yield Finding("store", "fail", str(err), "see the log; restore a backup where it is damaged")
