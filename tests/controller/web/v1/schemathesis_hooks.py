"""What schemathesis must not do while it asks, see test_conformance.py: end the sign-in that it asks with.

It follows what the API lists, so it comes upon the person it asks as, and gives them fewer rights or a lock: their
sign-in is void then, as it has to be, and all that follows is answered with 401. Somebody else's name, or another
sign-in, takes the place of theirs; the operation is asked all the same.
"""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase

SPARED = json.loads(os.environ["SKERRY_SPARED"])


class Spare(AuthBase):
    """Ask with another sign-in where this run's own would have been asked with, and in no other case."""

    _tokens = itertools.cycle(SPARED["tokens"])

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the other token in place."""
        if r.headers.get("Authorization") == f"Bearer {SPARED['token']}":
            r.headers["Authorization"] = f"Bearer {next(self._tokens)}"
        return r


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Have somebody else's rights changed, somebody else locked, and another sign-in ended."""
    del context
    names = case.path_parameters
    if case.method == "PATCH" and names.get("user") == SPARED["user"]:
        names["user"] = SPARED["other"]
    if names.get("sign_in") == SPARED["sign_in"]:
        names["sign_in"] = SPARED["sign_ins"][0]
    if case.path == "/v1/locks" and isinstance(case.body, dict) and case.body.get("value") == SPARED["user"]:
        case.body["value"] = SPARED["other"]
    if case.path == "/v1/sign-out":
        kwargs["auth"] = Spare()
