from __future__ import annotations

import subprocess
import sys

import argon2

from controller.accounts import passwords
from controller.accounts.passwords import hash_password, verify_password
from protocol.secret import Secret

# What one hash takes, KiB (RFC 9106 calls it m).
HASH = 19 * 1024
# In a process of its own: what other tests left free would hide what this takes.
PROGRAM = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from controller.accounts.passwords import hash_password
from protocol.secret import Secret

def resident():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0])

before = resident()
with ThreadPoolExecutor(8) as people:
    list(people.map(lambda number: hash_password(Secret(f"insecure {number}")), range(16)))
    print(resident() - before)
"""


def test_threads_that_hashed_a_password_do_not_keep_the_memory_that_it_took() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < HASH


def test_nobody_s_password_takes_what_a_person_s_takes_and_is_always_wrong() -> None:
    parameters = argon2.extract_parameters(passwords._NOBODY)
    assert parameters == argon2.extract_parameters(hash_password(Secret("insecure password of a person")))
    assert argon2.PasswordHasher().verify(passwords._NOBODY, "insecure password of nobody")
    assert not verify_password(None, Secret("insecure password of nobody"))
