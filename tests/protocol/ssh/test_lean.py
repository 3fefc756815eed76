"""Importing the SSH library in a fresh process each time: what is left out stays out, the rest is as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import sys, gc, ctypes.util
find = ctypes.util.find_library
sys.dont_write_bytecode = True
from protocol.ssh.lean import load_asyncssh
load_asyncssh({arguments})
import asyncssh
load_asyncssh()
assert sys.modules["asyncssh"] is asyncssh
assert ctypes.util.find_library is find
assert sys.dont_write_bytecode and gc.isenabled()
assert sys.modules.get("asyncssh.crypto.x509", 1) is not None, "a stand-in was left behind"
{check}
key = asyncssh.generate_private_key("ssh-ed25519")
assert key.convert_to_public().verify(b"data", key.sign(b"data", b"ssh-ed25519"))
"""


def run(check: str, arguments: str = "") -> None:
    script = CHECK.format(check=check, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_x509_is_left_out_and_everything_is_put_back() -> None:
    run("assert 'cryptography.x509' not in sys.modules")


def test_transfers_of_files_are_left_out_until_somebody_asks_for_them() -> None:
    run(
        """
assert not {'asyncssh.sftp', 'asyncssh.scp', 'argparse'} & set(sys.modules)
try: asyncssh.SFTPClient(None)
except NotImplementedError: pass
else: raise AssertionError
import asyncssh.sftp, bz2, lzma
assert issubclass(asyncssh.sftp.SFTPError, Exception) and asyncssh.sftp.MIN_SFTP_VERSION == 3
"""
    )


def test_pythons_own_openssl_is_left_out_where_that_is_asked() -> None:
    run("assert sys.modules['ssl'] is None", "without_openssl=True")


def test_what_was_imported_before_is_left_alone() -> None:
    script = "import asyncssh as a, sys; from protocol.ssh.lean import load_asyncssh as l; l(); import asyncssh as b"
    script += "; sys.exit(a is not b)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_a_collector_that_was_off_stays_off() -> None:
    script = "import gc; gc.disable(); from protocol.ssh.lean import load_asyncssh as l; l(); assert not gc.isenabled()"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["ssl", "hashlib"])
def test_a_lean_process_can_still_hash(name: str) -> None:
    check = "import hashlib; assert hashlib.sha256(b'').hexdigest().startswith('e3b0')"
    run(check, "without_openssl=True" if name == "ssl" else "")


def test_a_module_that_somebody_put_there_is_kept() -> None:
    script = "import sys, types; name = 'asyncssh.crypto.x509'; mine = sys.modules[name] = types.ModuleType(name)"
    script += "; from protocol.ssh.lean import load_asyncssh as l; l(); sys.exit(sys.modules[name] is not mine)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
