"""Pages of docs/, as a package brings them: with no link that leads nowhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection

_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|#")


def settle_links(text: str, page: str, brought: Collection[str]) -> str:
    """Return a page's text, where each link to what its package does not bring has become words that say where it is.

    Args:
        text: the page, in Markdown.
        page: where it lies below docs/.
        brought: the pages that the package brings, below docs/.
    """

    def settle(link: re.Match[str]) -> str:
        label, target = link.groups()
        if _ADDRESS.match(target):
            return link[0]
        place = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target.partition("#")[0]))
        if place.removeprefix("docs/") in brought:
            return link[0]
        return f"{label} ({place} in the project's source)"

    return _LINK.sub(settle, text)
