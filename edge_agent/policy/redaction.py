"""Taking secrets out of texts that are to be shown to others."""

from __future__ import annotations

import re
from collections.abc import Iterable

REMOVED = "(removed)"
# Shorter texts are no secrets, and would take half of everything with them.
_SECRET_MIN = 8
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# Every one of these takes time in proportion to the text, whatever that is: anybody can have a line logged.
# `--token T`, `token=T`, `token: T`, `"secret": "T"`: whatever stands behind such a name, but for the path of a file.
_NAMED = re.compile(
    r"""(?ix)
    ( (?:join[_-]?)? (?:token|secret|password|passphrase|passwd|api[_-]?key|access[_-]?key) (?![\w-])
      ["']? \s{0,16} [=:\s] \s{0,16} )
    ( "(?:[^"\\\n]|\\.)*"? | '[^'\n]*'? | [^\s"',}]+ )
    """
)
_USERINFO = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,30}://)[^/\s@]+@")
# A header of HTTP's: all that stands in it (RFC 9110 section 11.6.2), and such a token by itself (RFC 6750).
_AUTHORIZATION = re.compile(r"""(?i)\b(authorization["']?[ \t]{0,16}[=:][ \t]{0,16}["']?)[^"'\n]+""")
_BEARER = re.compile(r"(?i)\b(bearer[ \t]{1,16})[a-z0-9._~+/-]{8,}=*")
# `mysql -pSECRET`; but not the number of a port, nor options in a row.
_SHORT_OPTION = re.compile(r"(?<!\S)(-p)(?!\d+(?!\S))\S{4,}")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets`, private keys, and what stands behind names such as ``token``.

    Args:
        text: any text.
        secrets: those that are known. Each line of a longer one is one by itself, as a log may have broken it up.
    """
    for secret in sorted({line.strip() for whole in secrets for line in whole.splitlines()}, key=len, reverse=True):
        if len(secret) >= _SECRET_MIN and not secret.startswith("-----"):
            text = text.replace(secret, REMOVED)
    text = _PRIVATE_KEY.sub(REMOVED, text)
    text = _USERINFO.sub(rf"\1{REMOVED}@", text)
    for shape in (_AUTHORIZATION, _BEARER, _SHORT_OPTION):
        text = shape.sub(rf"\1{REMOVED}", text)
    return _NAMED.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    return f"{found[1]}{REMOVED}" if _may_be_secret(found[1], found[2]) else found[0]


def _may_be_secret(name: str, value: str) -> bool:
    """Tell whether a value is one to hide: behind a mere space, words of prose are not."""
    bare = value.strip("\"'")
    if name.rstrip()[-1] in "=:\"'":
        return bare not in {"", REMOVED}
    return bare.startswith("sk") or len(bare) >= 2 * _SECRET_MIN
