from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Certify = Callable[..., Path]


def ssh_keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, timeout=60, capture_output=True)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "authority"
    ssh_keygen("-t", "ed25519", "-N", "", "-C", "", "-f", path)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    ssh_keygen("-t", "ed25519", "-N", "", "-C", "", "-f", path)
    return path


@pytest.fixture
def certify(tmp_path: Path, key: Path) -> Certify:
    """Return a function that has OpenSSH certify the key, and returns the certificate's path."""
    made: list[Path] = []

    def run(signer: Path, *options: str) -> Path:
        folder = tmp_path / f"certificate-{len(made)}"
        folder.mkdir()
        (folder / "key.pub").write_text(key.with_suffix(".pub").read_text())
        ssh_keygen("-s", signer, "-I", "alice", *options, folder / "key.pub")
        made.append(folder / "key-cert.pub")
        return made[-1]

    return run
