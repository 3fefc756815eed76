"""`controller backup`, `controller restore` and `controller doctor`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

_CONFIG = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/skerry/controller.yaml"),
    show_default=True,
    metavar="FILE",
    help="The controller's configuration.",
)
_PASSPHRASE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the passphrase from its first line. Else SKERRY_BACKUP_PASSPHRASE holds it, or it is asked for.",
)
_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.command()
@_FILE
@_CONFIG
@click.option("--with-recordings", is_flag=True, help="Put the recordings of sessions in it too.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option("--verify", "is_check", is_flag=True, help="Make none: read all of FILE, and say whether it is whole.")
@_PASSPHRASE
def backup(
    file: Path, path: Path, *, with_recordings: bool, force: bool, is_check: bool, passphrase_file: Path | None
) -> None:
    """Make an encrypted copy of this controller in FILE.

    It holds all that is needed to go on elsewhere. The controller may run meanwhile. As root, or as the user that runs
    it. Who has FILE and the passphrase has the cluster: keep them in different places.
    """
    from controller.operations.passphrase import ask_passphrase
    from protocol.instants import show_instant
    from protocol.sizes import format_size

    with _explained(file):
        if is_check:
            from controller.operations.backup import verify

            with _progress("Reading") as advance:
                manifest, count = verify(file, ask_passphrase(passphrase_file, is_new=False), advance)
            click.echo(
                f"{file} is whole: cluster {manifest.cluster}, "
                f"as it was at {show_instant(manifest.made, seconds=True)}, {count} files, "
                f"{'with' if manifest.recordings else 'without'} recordings."
            )
            return
        from controller.config import parse_config, read_settings
        from controller.operations.backup import Source, back_up
        from controller.tctl.host import actor

        text = read_settings(path)
        source = Source(parse_config(text, str(path)), text, path, actor())
        passphrase = ask_passphrase(passphrase_file, is_new=True)
        with _progress("Writing") as advance:
            made = back_up(source, file, passphrase, with_recordings=with_recordings, force=force, advance=advance)
        click.echo(
            f"{file}: cluster {source.config.cluster_name}, as it was at {show_instant(made.made, seconds=True)}: "
            f"{made.files} files, {format_size(made.size)}. `controller backup --verify {file}` reads it back."
        )
        for remark in made.remarks:
            click.echo(f"WARNING: {remark}.", err=True)


@click.command()
@_FILE
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Where the data are to be.  [default: as the configuration says]",
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/skerry/controller.yaml"),
    show_default=True,
    metavar="FILE",
    help="This host's configuration; where there is none, it is made from the backup.",
)
@click.option("--take-config", is_flag=True, help="Take the backup's; this host's is moved aside.")
@click.option("--put-files", is_flag=True, help="Put TLS files wherever the backup's settings say.")
@click.option("--force", is_flag=True, help="Move aside what is in the data directory.")
@_PASSPHRASE
def restore(  # noqa: PLR0913 - the options of a command
    file: Path,
    data_dir: Path | None,
    config: Path,
    *,
    take_config: bool,
    put_files: bool,
    force: bool,
    passphrase_file: Path | None,
) -> None:
    """Make a controller of the backup in FILE again.

    Its data go into an empty directory. No controller may run there. All of FILE is read and proven first; where it is
    not whole, nothing is changed.
    """
    from controller.operations.passphrase import ask_passphrase
    from controller.operations.restore import Order, restore
    from controller.tctl.host import actor
    from protocol.instants import show_instant

    with _explained(file):
        passphrase = ask_passphrase(passphrase_file, is_new=False)
        with _progress("Restoring") as advance:
            order = Order(data_dir, config, force, actor(), takes_config=take_config, puts_files=put_files)
            done = restore(file, passphrase, order, advance)
        made = show_instant(done.manifest.made, seconds=True)
        click.echo(f"{done.data_dir} is the cluster {done.manifest.cluster} as it was at {made}.")
        click.echo(f"The master key is {done.key}, the configuration {config}.")
        if done.aside is not None:
            click.echo(f"What was there before is in {done.aside}.")
        for remark in done.remarks:
            click.echo(f"WARNING: {remark}.", err=True)


@click.command()
@_CONFIG
@click.option("-f", "--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def doctor(path: Path, form: str) -> None:
    """See whether the controller and its host are well.

    Each finding that is not comes with what to do.

    As root, or as the user that runs it. It runs or not: nothing is changed. Ends with 1 where something fails; with 0
    where all is well, or there are warnings alone.
    """
    from controller.log import set_up_log
    from controller.operations.doctor import examine
    from controller.policy.checkup import exit_status, summarise
    from protocol.console import terminal_width
    from protocol.table import escape_text, render_table

    set_up_log("ERROR")
    findings = list(examine(path))
    if form == "json":
        click.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
        sys.exit(exit_status(findings))
    rows = [[finding.check, finding.state, finding.found] for finding in findings]
    click.echo(render_table(["Check", "State", "Found"], rows, terminal_width()))
    mends = [finding for finding in findings if finding.mend]
    if mends:
        click.echo("\nWhat to do:")
    for finding in mends:
        click.echo(escape_text(f"  {finding.check}: {finding.mend}"))
    click.echo(f"\n{summarise(findings)}")
    sys.exit(exit_status(findings))


@contextmanager
def _progress(verb: str) -> Iterator[Callable[[int, int], object]]:
    """Yield what shows how far it has come, at a terminal."""
    from controller.tctl.progress import Progress

    shown: list[Progress] = []
    before = 0

    def advance(done: int, total: int) -> None:
        nonlocal before
        if not shown:
            shown.append(Progress(verb, total))
        shown[0].advance(done - before)
        before = done

    try:
        yield advance
    finally:
        for each in shown:
            each.end()


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """End with one line where something cannot be done."""
    from controller.audit import AuditError
    from controller.authority import AuthorityError
    from controller.config import ConfigError
    from controller.operations.error import OperationError
    from controller.policy.backup import BackupFormatError
    from controller.store.interface import StoreError
    from controller.tctl.error import TctlError

    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup(1)
            signal.signal(number, _end)
    try:
        yield
    except BackupFormatError as err:
        _give_up(f"{file}: {err}; nothing was changed", 1)
    except ConfigError as err:
        _give_up(str(err), 2)
    except (OperationError, TctlError, StoreError, AuthorityError, AuditError) as err:
        _give_up(str(err), 1)
    except OSError as err:
        _give_up(f"{err.filename or file}: {err.strerror or err}; nothing was changed", 1)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """End as at Ctrl-C: what was begun is taken away again."""
    sys.exit(128 + number)


def _give_up(message: str, status: int) -> NoReturn:
    click.echo(f"ERROR: {message}", err=True)
    sys.exit(status)
