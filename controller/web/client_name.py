"""What a browser's User-Agent says, in a few words: ``Firefox on Linux``. Whatever is not known is shown as it is."""

from __future__ import annotations

# The first that is found counts: most browsers say that they are others too.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("Chrom", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def describe_client(said: str) -> str:
    """Return what `said`, a User-Agent or a program's own word, means to a person; it may be anything."""
    if not said.startswith("Mozilla/"):
        return said or "not known"
    browser = next((name for mark, name in _BROWSERS if mark in said), None)
    system = next((name for mark, name in _SYSTEMS if mark in said), None)
    if browser is None or system is None:
        return said
    return f"{browser} on {system}"
