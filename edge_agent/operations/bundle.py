"""The archive for whoever is to help: what is in it is chosen file by file, and every text loses its secrets first."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import platform
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.clock import FILE as CLOCK
from edge_agent.config import ConfigError, Options, configured_data_dir, default_config
from edge_agent.control import NODE_FILE, POLICY_FILE
from edge_agent.identity import HOST_KEY, IDENTITY, TLS_CERTIFICATE, TLS_KEY
from edge_agent.operations.device import SPOOL
from edge_agent.policy.checkup import Finding
from edge_agent.policy.layout import UNIT, UPGRADE_UNIT, Layout
from edge_agent.policy.redaction import redact
from edge_agent.status import FILE as STATUS
from protocol.sizes import format_size
from protocol.version import __version__

# What is packed, in all and of one file, before it is compressed.
BUNDLE_MAX = 20 * 10**6
FILE_MAX = 4 * 10**6
JOURNAL_LINES = 2000
_ASK = 20.0
_SPOOL_MAX = 5000
_PART = ".part"
# The name that systemd gives to the lines of the unit's program (SyslogIdentifier=, systemd.exec(5)).
_NAME = "edge-agent"
# Of the units; `systemctl status` would list what people run in their sessions, with its arguments.
_SHOWN = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,MainPID,ExecMainStartTimestamp,ExecMainStatus,"
    "StatusText,WatchdogUSec,MemoryCurrent,TasksCurrent,CPUUsageNSec,FragmentPath,DropInPaths,NeedDaemonReload"
)


class BundleError(Exception):
    """There is no bundle. The message is for the person."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was made: where, and what is in it with its size."""

    path: Path
    members: tuple[tuple[str, int], ...]

    def describe(self) -> str:
        """Return what the person reads before sending it."""
        lines = [f"{self.path} holds:"]
        lines += [f"  {format_size(size):>8}  {name}" for name, size in self.members]
        lines += [
            "",
            f"It is {format_size(self.path.stat().st_size)}. Private keys, tokens and recordings are not in it; names,",
            f"addresses and log lines are. Look at it before you send it: tar -xzf {self.path.name}",
        ]
        return "\n".join(lines)


def make_bundle(options: Options, findings: Sequence[Finding], report: str, output: str | None) -> Bundle:
    """Gather everything, and write it to `output`, for its owner alone.

    Raises:
        BundleError: it cannot be written, or something is there already.
    """
    data = _data_directory(options)
    members = list(bounded(_gather(options, data, findings, report), _secrets_of(data)))
    path = Path(output or _default_name())
    packed = _pack(members)
    if len(packed) > BUNDLE_MAX:
        raise BundleError(f"it would take {format_size(len(packed))}, and {format_size(BUNDLE_MAX)} is the most")
    _write(path, packed)
    return Bundle(path, tuple((name, len(content)) for name, content in members))


def _data_directory(options: Options) -> Path:
    with suppress(ConfigError):
        return configured_data_dir(options, os.geteuid())
    return Path(options.data_dir or Layout().data)


def _default_name() -> str:
    name = "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in platform.node()) or "device"
    return f"skerry-support-{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"


# --- what is in it ----------------------------------------------------------------------------------------------------


Member = tuple[str, Callable[[], str]]


def _gather(options: Options, data: Path, findings: Sequence[Finding], report: str) -> Iterator[Member]:
    layout = Layout()
    yield "doctor.txt", lambda: f"{report}\n"
    yield "doctor.json", lambda: json.dumps([finding.to_dict() for finding in findings], indent=2) + "\n"
    yield "versions.txt", _versions
    settings = Path(options.config or default_config(os.geteuid()))
    yield "edge_agent.yaml", lambda: _read(settings)
    runtime = Path(layout.runtime)
    yield "status.json", lambda: _read(runtime / STATUS if (runtime / STATUS).exists() else data / STATUS)
    for name in (IDENTITY, TLS_CERTIFICATE, POLICY_FILE, NODE_FILE, CLOCK):
        yield name, lambda name=name: _read(data / name)  # type: ignore[misc]  # a default that holds the loop's name
    yield "upgrade.json", lambda: _read(Path(layout.result))
    yield "install.log", lambda: _read(Path(layout.log))
    yield "disk.txt", lambda: _disk(data)
    yield "spool.txt", lambda: _listing(data)
    yield (
        "unit.txt",
        lambda: (
            _say("systemctl", "show", "--no-pager", f"--property={_SHOWN}", UNIT, UPGRADE_UNIT)
            + _say("systemctl", "cat", "--no-pager", UNIT)
        ),
    )
    yield "journal.txt", lambda: _say(
        "journalctl", "--no-pager", "--output=short-iso", f"--lines={JOURNAL_LINES}", *_own_lines()
    )  # fmt: skip


def _own_lines() -> Iterator[str]:
    """Return what finds the lines of the agent's own, and systemd's on it: systemd.journal-fields(7).

    By the unit alone, those of sudo, su and logger in people's sessions would be with them. What the agent writes comes
    by its standard error, and is named after the program of the unit.
    """
    for unit in (UNIT, UPGRADE_UNIT):
        yield from (f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout", f"SYSLOG_IDENTIFIER={_NAME}", "+")
        yield from ("_UID=0", f"UNIT={unit}", "+")  # systemd, and its children until they are the program
    yield from ("_UID=0", f"OBJECT_SYSTEMD_UNIT={UNIT}")


def bounded(members: Iterator[Member], known: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Return each file's content: without secrets, its end alone where it is too large, or why there is none."""
    room = BUNDLE_MAX
    for name, make in members:
        try:
            text = make()
        except OSError as err:
            text = f"(not there: {err.strerror})\n"
        content = redact(text, known).encode()
        content = content[max(0, len(content) - min(FILE_MAX, room)) :]
        room -= len(content)
        yield name, content


def _secrets_of(data: Path) -> list[str]:
    """Return what of this device nobody else may know, in the forms in which it could stand in a text."""
    found = []
    for path in (data / HOST_KEY, data / TLS_KEY, Path(Layout().token)):
        with suppress(OSError, UnicodeDecodeError):
            raw = path.read_bytes()
            found += [raw.decode(), base64.b64encode(raw).decode()]
    return found


def _read(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - FILE_MAX))
        return file.read(FILE_MAX).decode("utf-8", "replace")


def _versions() -> str:
    release = ""
    with suppress(OSError):
        release = _read(Path("/etc/os-release"))
    libc = " ".join(platform.libc_ver())
    lines = [
        f"agent   {__version__}",
        f"python  {platform.python_version()}",
        f"kernel  {' '.join(platform.uname())}",
        f"libc    {libc}",
    ]
    return "\n".join([*lines, "", release])


def _disk(data: Path) -> str:
    return _say("df", "-h", "--", *_places(data)) + _say("df", "-i", "--", *_places(data))


def _places(data: Path) -> list[str]:
    return [str(path) for path in (Path("/"), data, Path("/opt"), Path("/run"), Path("/var/log")) if path.exists()]


def _listing(data: Path) -> str:
    """Return what lies in the data directory: mode, owner, size, time and name, and of nothing the content."""
    lines = []
    for directory in (data, data / SPOOL):
        with suppress(FileNotFoundError), os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
            lines.append(f"{directory}: {len(found)} entries")
            for entry in found[:_SPOOL_MAX]:
                facts = entry.stat(follow_symlinks=False)
                when = datetime.fromtimestamp(facts.st_mtime, UTC)
                lines.append(
                    f"{facts.st_mode & 0o7777:04o} {facts.st_uid:>6} {facts.st_size:>12} {when:%Y-%m-%dT%H:%M:%SZ} "
                    f"{entry.name}"
                )
    return "\n".join([*lines, ""])


def _say(*command: str) -> str:
    """Return what a program of the system says; where it is not there or hangs, that."""
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_ASK, check=False, stdin=subprocess.DEVNULL,
            env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as err:
        return f"({command[0]}: {getattr(err, 'strerror', None) or 'no answer in time'})\n"
    return (done.stdout + done.stderr).decode("utf-8", "replace")


# --- the archive ------------------------------------------------------------------------------------------------------


def _pack(members: Sequence[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    now = int(datetime.now(UTC).timestamp())
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(f"skerry-support/{name}")
            member.size, member.mode, member.mtime = len(content), 0o600, max(now, 0)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Put the archive where it is wanted, whole or not at all; nothing that is there is replaced."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
    is_ours = False
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # the name is taken, or somebody else's
        is_ours = True
        part.rename(path)
    except FileExistsError:
        raise BundleError(f"{path} is there already: name another file with -o") from None
    except OSError as err:
        if is_ours:
            path.unlink(missing_ok=True)
        raise BundleError(f"cannot write {path}: {err.strerror}; name another place with -o") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
