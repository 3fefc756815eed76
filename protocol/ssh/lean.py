"""Import asyncssh without the parts Skerry never uses: less time at start, less memory at rest.

`load_asyncssh` is the first thing a program's entry point does that needs SSH; afterwards ``import
asyncssh`` anywhere gives the very same module. Nothing is replaced inside it, and everything touched here
is put back once the import is over. What is left out, and why that is safe:

* X.509 in SSH: asyncssh takes ``asyncssh.crypto.x509`` as optional and guards each use. OpenSSH
  certificates are another thing and stay.
* SFTP and SCP, 1.3 MiB: here they are programs of the device, behind a channel like any other. asyncssh imports both
  and calls neither unless it is told to serve or to start them.
* bzip2 and LZMA, which `shutil` takes as optional, for archives that nobody unpacks here.
* nettle and liboqs, two optional C libraries that it looks for with `ctypes.util.find_library`, which
  starts ldconfig, gcc and ld as child processes. ML-KEM key exchange does not need them.
* Bytecode: where the environment forbids writing it and the installer wrote none, every start compiles
  tens of thousands of lines anew. During this import Python may keep it where it always does.
* The cyclic collector has nothing to find while modules load; paused, then told to spare what is there.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

_OPTIONAL = ("asyncssh.crypto.x509", "bz2", "lzma")
_UNUSED = ("asyncssh.sftp", "asyncssh.scp")
_OPENSSL = ("ssl", "_ssl", "_hashlib")


def load_asyncssh(*, without_openssl: bool = False) -> None:
    """Import asyncssh, once; nothing happens where it is imported already.

    Args:
        without_openssl: leave Python's own OpenSSL out for the life of the process, some 4 MiB beside
            cryptography's copy. For a process that speaks no TLS; it must come before asyncio and hashlib.
    """
    if "asyncssh" in sys.modules:
        return
    if without_openssl:
        for name in _OPENSSL:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: "not installed", see _absent
    with ExitStack() as stack:
        for surroundings in (_collector_paused(), _bytecode_kept(), _no_libraries()):
            stack.enter_context(surroundings)
        for name in _OPTIONAL:
            stack.enter_context(_absent(name))
        for name in _UNUSED:
            stack.enter_context(_hollow(name))
        importlib.import_module("asyncssh")


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Have ``import name`` fail as for a module that is not installed.

    None in `sys.modules` is the documented way to say so (Python reference, section 5.3.1).
    """
    ours = name not in sys.modules
    if ours:
        sys.modules[name] = None  # type: ignore[assignment]  # see above
    try:
        yield
    finally:
        if ours and sys.modules.get(name, name) is None:
            del sys.modules[name]


class _LeftOutError(Exception):
    """Whatever a module that is left out defines; an exception, as some of it may stand after ``except``."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("protocol.ssh.lean leaves SFTP and SCP out of asyncssh")


class _Hollow(ModuleType):
    """A module that has every public name."""

    def __getattr__(self, name: str) -> type[_LeftOutError]:
        if name.startswith("_"):
            raise AttributeError(name)
        return _LeftOutError


@contextmanager
def _hollow(name: str) -> Iterator[None]:
    """Have ``from name import anything`` succeed without the module. Who asks for it afterwards gets the real one."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = _Hollow(name)
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _no_libraries() -> Iterator[None]:
    """Have `ctypes.util.find_library` find nothing, without looking."""
    import ctypes.util

    find_library = ctypes.util.find_library

    def find_nothing(name: str) -> str | None:  # noqa: ARG001 - the library's own signature
        return None

    ctypes.util.find_library = find_nothing
    try:
        yield
    finally:
        ctypes.util.find_library = find_library


@contextmanager
def _bytecode_kept() -> Iterator[None]:
    """Let the import system write bytecode, whatever the environment says."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@contextmanager
def _collector_paused() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
