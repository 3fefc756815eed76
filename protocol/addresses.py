"""Network addresses as people write them: ``HOST:PORT``, IPv6 in brackets."""

from __future__ import annotations


def split_address(address: str, default_port: int | None = None) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[IPV6]:PORT`` or, with a default, ``HOST`` alone.

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = address.rpartition(":")
    if not colon or (address.endswith("]") and address.startswith("[")):
        host, port = address, "" if default_port is None else str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"should be HOST:PORT with an IPv6 address in brackets, not {address!r}")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"should be HOST:PORT, not {address!r}")
    if not host.isprintable() or any(character.isspace() or character in "/@?#[]" for character in host):
        raise ValueError(f"should be HOST:PORT, not {address!r}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return ``HOST:PORT``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
