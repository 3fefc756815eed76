"""A person's own ssh-agent, OpenSSH's, with one key in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMENT = "a key of a test"


@contextmanager
def ssh_agent(directory: Path) -> Iterator[str]:
    """Run it; yield where it listens."""
    path, key = directory / "agent", directory / "key"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout
        assert str(path) in agent.stdout.readline()  # it listens
        try:
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", str(key)]
            subprocess.run(make, check=True)
            subprocess.run(["ssh-add", "-q", str(key)], check=True, env={**os.environ, "SSH_AUTH_SOCK": str(path)})
            yield str(path)
        finally:
            agent.terminate()
