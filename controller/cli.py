"""The controller's command line: start, configure, version; and, hidden, the roles that start runs."""

from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from controller.command_line import describe_missing, describe_misuse, describe_version, version_option
from controller.debugging import debug as debug_group
from controller.log import priority, set_up_log
from controller.operations.commands import backup, doctor, restore

if TYPE_CHECKING:
    from controller.cluster import Cluster
    from controller.config import ControllerConfig

LOG = logging.getLogger("CONTROLLER")
DEFAULT_CONFIG = Path("/etc/skerry/controller.yaml")
_CONFIG = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The controller's configuration.",
)
_FD = click.option("--fd", "fds", type=int, multiple=True, help="A listening socket that was handed on.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@version_option("controller")
def program() -> None:
    """Run a Skerry controller: authority, proxy, web door and machine API."""


@program.command()
@_CONFIG
@click.option("-d", "--debug", is_flag=True, help="Log everything.")
def start(path: Path, *, debug: bool) -> None:
    """Start the controller; SIGTERM or Ctrl-C ends it.

    SIGHUP (systemctl reload) has the log level read again from its configuration.
    """
    config, text = _load(path, with_files=True)
    set_up_log("DEBUG" if debug else config.severity)
    for warning in config.warnings:
        LOG.warning("%s: %s", path, warning)
    from controller.audit import AuditError
    from controller.authority import AuthorityError
    from controller.doors import StartError, bind_doors, require_nobody
    from controller.service import Setting, Supervisor
    from controller.service_manager import ServiceManager
    from controller.store.interface import StoreError
    from controller.tls_files import TlsFileError

    try:
        require_nobody(config.data_dir)  # it has the ports, too
        doors = bind_doors(config)  # first: where a port is taken, nothing is made
        manager = ServiceManager.of(os.environ, os.getpid())
        setting = Setting(path.resolve(), text, manager, severity="DEBUG" if debug else None)
        supervisor = Supervisor(_open(config, path), setting, doors)
        asyncio.run(supervisor.run())
    except OSError as err:
        _give_up(f"{config.data_dir}: {err.strerror or err}", 1)
    except (StartError, StoreError, AuthorityError, AuditError, TlsFileError) as err:
        _give_up(str(err), 1)
    except BaseExceptionGroup as group:
        _give_up(_first_cause(group), 1)


@program.command()
@click.option("--broker", type=click.Choice(["mosquitto"]), help="Print that of an MQTT broker of your own instead.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("/etc/mosquitto/skerry"),
    show_default=True,
    help="With --broker: where that broker is to find what the controller makes for it.",
)
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --broker: the controller's configuration, whose mqtt.url says the port.  "
    f"[default: {DEFAULT_CONFIG}, if it can be read]",
)
@click.option(
    "--test",
    "tested",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Print none, and only say whether FILE is a configuration that a controller could start with.",
)
def configure(broker: str | None, directory: Path, path: Path | None, tested: Path | None) -> None:
    """Print a commented configuration."""
    from controller.broker.settings import external_text
    from controller.config import EXAMPLE

    if tested is not None:
        _load(tested)
        click.echo(f"{tested}: a controller can start with it.")
        return
    if broker is None:
        click.echo(EXAMPLE, nl=False)
        return
    if path is None and os.access(DEFAULT_CONFIG, os.R_OK):
        path = DEFAULT_CONFIG
    config = None if path is None else _load(path)[0]
    port = config.external_broker.address[1] if config and config.external_broker else 8883
    click.echo(external_text(("::", port), f"{directory}/", "/var/lib/mosquitto/"), nl=False)


@program.command()
@_CONFIG
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def status(path: Path, form: str) -> None:
    """Show the cluster, as `tctl status` does."""
    from controller.tctl.cli import run

    sys.exit(run(["-c", str(path), "status", "--format", form]))


@program.command()
@click.argument("file", type=click.Path(path_type=Path))
def master_key(file: Path) -> None:
    """Make a master key for a new cluster.

    Without one, the first start makes master.key in the data directory. A file of root's in another place, which
    systemd hands to the service (LoadCredential=), keeps the key apart from what it seals; the configuration names it
    in auth_service.master_key_file. Keep a copy where no copy of the data directory is.
    """
    from controller.authority import AuthorityError
    from controller.authority.master_key import write_master_key

    try:
        write_master_key(file)
    except AuthorityError as err:
        _give_up(str(err), 1)
    click.echo(f"{file} holds a new master key.")


@program.command()
def version() -> None:
    """Show the version."""
    click.echo(describe_version("controller"))


for _command in (debug_group, backup, restore, doctor):
    program.add_command(_command)


@program.group(hidden=True)
def role() -> None:
    """One process of a controller; `controller start` runs these."""


def _open_role(path: Path, name: str) -> ControllerConfig:
    from controller.role import follow_level, hold_lifeline, kept_settings, raise_file_limit

    config, _ = _load(path, kept_settings())
    set_up_log(config.severity)
    follow_level()
    raise_file_limit()
    hold_lifeline()
    logging.getLogger(name).debug("role %s of cluster %s", name, config.cluster_name)
    return config


@role.command()
@_CONFIG
@_FD
def proxy(path: Path, fds: tuple[int, ...]) -> None:
    """Serve the client door and the tunnel door."""
    config = _open_role(path, "PROXY")
    from protocol.ssh.lean import load_asyncssh

    load_asyncssh()
    from controller.proxy.service import ProxyService, ProxySockets
    from controller.role import beating, say_ready

    client, tunnel = (socket.socket(fileno=fd) for fd in fds)
    cluster = _open(config, path)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await beating(ProxyService(cluster, ProxySockets(client, tunnel)).run(stop, say_ready))

    asyncio.run(serve())


@role.command()
@_CONFIG
@_FD
@click.option("--cert", type=click.Path(path_type=Path), required=True)
@click.option("--key", type=click.Path(path_type=Path), required=True)
def web(path: Path, fds: tuple[int, ...], cert: Path, key: Path) -> None:
    """Serve the web door."""
    config = _open_role(path, "WEB")
    from controller.web.service import serve_web

    serve_web(_open(config, path), fds[0], cert, key)


@role.command()
@_CONFIG
@_FD
@click.option("--cert", type=click.Path(path_type=Path), required=True)
@click.option("--key", type=click.Path(path_type=Path), required=True)
@click.option("--client-ca", type=click.Path(path_type=Path), required=True)
def api(path: Path, fds: tuple[int, ...], cert: Path, key: Path, client_ca: Path) -> None:
    """Serve the machine API."""
    config = _open_role(path, "API")
    from controller.api.service import serve_api

    serve_api(_open(config, path), fds[0], cert, key, client_ca)


@role.command()
@_CONFIG
def presence(path: Path) -> None:
    """Speak MQTT: know which nodes are there, and tell them what holds."""
    config = _open_role(path, "PRESENCE")
    from controller.lookout.service import Lookout
    from controller.role import beating, say_ready

    cluster = _open(config, path)

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await beating(Lookout.of(cluster).run(stop, say_ready))

    asyncio.run(serve())


@role.command()
@_CONFIG
@_FD
def diag(path: Path, fds: tuple[int, ...]) -> None:
    """Serve diagnostics."""
    config = _open_role(path, "DIAG")
    from controller.diagnostics.service import serve_diagnostics

    serve_diagnostics(_open(config, path), socket.socket(fileno=fds[0]))


def _first_cause(err: BaseException) -> str:
    """Return what went wrong first, out of however many groups."""
    while isinstance(err, BaseExceptionGroup):
        err = err.exceptions[0]
    return str(err) or type(err).__name__


def _load(path: Path, text: str | None = None, *, with_files: bool = False) -> tuple[ControllerConfig, str]:
    """Return the settings and their text: `text`, or what stands in the file."""
    from controller.config import ConfigError, parse_config, read_settings

    try:
        text = read_settings(path) if text is None else text
        return parse_config(text, str(path), with_files=with_files), text
    except ConfigError as err:
        _give_up(str(err), 2)


def _open(config: ControllerConfig, path: Path) -> Cluster:
    from controller.audit import AuditError
    from controller.authority import AuthorityError
    from controller.cluster import ClusterError, open_cluster
    from controller.store.interface import StoreError

    try:
        return open_cluster(config)
    except OSError as err:
        where = f"{path}: teleport.data_dir: cannot use {err.filename or config.data_dir}: {err.strerror or err}"
        _give_up(f"{where}: give a directory that this user may make and write", 1)
    except (ClusterError, StoreError, AuthorityError, AuditError) as err:
        _give_up(str(err), 1)


def _give_up(message: str, status: int) -> NoReturn:
    click.echo(f"{priority(logging.ERROR)}ERROR: {message}", err=True)
    sys.exit(status)


def main() -> NoReturn:
    """Run `controller` with this process's arguments."""
    atexit.register(gc.freeze)  # to look for cycles once more takes each process of a controller 0.1 to 0.4 s to end
    try:
        status = program.main(prog_name="controller", standalone_mode=False)
    except click.ClickException as err:
        click.echo(describe_misuse(err), err=True)
        sys.exit(err.exit_code)
    except click.Abort:
        sys.exit(128 + signal.SIGINT)
    except ModuleNotFoundError as err:
        missing = describe_missing("controller", err)
        if missing is None:
            raise
        click.echo(missing, err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
