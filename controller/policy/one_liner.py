"""The line that makes a device a node of the cluster, from nothing: what `tctl tokens add` and the dashboard print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from protocol.names import NodeName, TokenText
from protocol.secret import Secret

SCRIPT = "/install.sh"


def script_url(address: str) -> str:
    """Return where the script is, of the controller whose web address is ``HOST:PORT``."""
    return f"https://{address}{SCRIPT}"


def trust_options(public_key: str) -> str:
    """Return by which options curl knows the controller; empty where the system's authorities vouch for it.

    Args:
        public_key: SHA-256 of the web door's public key in base64 (curl(1), ``--pinnedpubkey``), empty for none. With
            it curl checks nothing but that key, so that even the first step is authenticated.
    """
    return f"-k --pinnedpubkey sha256//{public_key}" if public_key else ""


def install_line(
    text: Secret[TokenText], pins: Sequence[str], address: str, public_key: str, name: NodeName | None = None
) -> str:
    """Return the line to paste on the device.

    Args:
        text: the join token.
        pins: what the device must be told to trust the web door by.
        address: the web door's, ``HOST:PORT``.
        public_key: as `trust_options` takes it.
        name: what the device is to be called; None for its host's name.
    """
    fetch = " ".join(filter(None, ("curl -fsSL", trust_options(public_key), script_url(address))))
    options = ["--token", text.reveal()]
    for pin in pins:
        options += ["--ca-pin", pin]
    options += ["--nodename", name] if name else []
    return f"{fetch} | sudo sh -s -- {shlex.join(options)}"


def ansible_line(line: str, name: NodeName | None = None) -> str:
    """Return what runs `line`, which `install_line` made, on a device that Ansible reaches.

    It fails where curl does: of a pipe, `sh` would tell of its end alone.
    """
    as_root = f'bash -o pipefail -c "{line.replace("| sudo sh", "| sh")}"'
    return f"ansible {name or 'HOST'} -b -m shell -a {shlex.quote(as_root)}"
