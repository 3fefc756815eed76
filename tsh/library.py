"""The SSH library, loaded when a connection is really wanted: it is most of what `tsh ssh` waits for."""

from __future__ import annotations

import logging

from protocol.ssh.lean import load_asyncssh


def load_ssh_library(*, debug: bool = False) -> None:
    """Import asyncssh. To be called before any module that imports it; `debug` lets it log.

    Where the web door was asked before, TLS is loaded and stays; otherwise it is left out.
    """
    logging.getLogger("asyncssh").setLevel(logging.DEBUG if debug else logging.CRITICAL + 1)
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    load_asyncssh(without_openssl=True)
