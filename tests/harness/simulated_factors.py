"""A web door's end of `tsh mfa`: the second factors of one person, with codes that a test knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from protocol.endpoints import MY_FACTOR_BEGIN
from protocol.messages import ErrorReply
from protocol.people import FactorEntry, FactorList, FactorOffer, NewFactor, OneTimeCode
from protocol.secret import Secret

FIRST = FactorEntry("7a0c1c0e-0000-4000-8000-000000000001", "authenticator", 1795341600000)
SECRET = "JBSWY3DPEHPK3PXP"
URI = f"otpauth://totp/Skerry:alice%40harbour?secret={SECRET}&issuer=Skerry%20harbour"
FACTORS = "/v1/me/factor"  # begins all the paths
OLD_CODE, NEW_CODE = "111111", "222222"
Reply = tuple[int, Mapping[str, str], bytes]


@dataclass
class SimulatedFactors:
    """What there is, and what is refused in place of an answer."""

    entries: list[FactorEntry] = field(default_factory=lambda: [FIRST])
    refusal: tuple[int, str] | None = None

    def forget(self) -> None:
        self.entries[:] = [FIRST]
        self.refusal = None

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """Answer one request."""
        if self.refusal and method != "GET":
            status, text = self.refusal
            return _reply(status, ErrorReply(text).to_dict())
        if method == "GET":
            return _reply(200, FactorList(tuple(self.entries)).to_dict())
        if method == "DELETE":
            return self._remove(unquote(path.rpartition("/")[2]), OneTimeCode.from_dict(json.loads(body)))
        if path == MY_FACTOR_BEGIN.path:
            return _reply(200, FactorOffer(Secret("handle"), Secret(SECRET), Secret(URI)).to_dict())
        return self._add(NewFactor.from_dict(json.loads(body)))

    def _add(self, new: NewFactor) -> Reply:
        if (new.handle.reveal(), new.otp.reveal(), new.approval.reveal()) != ("handle", NEW_CODE, OLD_CODE):
            return _reply(409, ErrorReply("that code is not right", "otp").to_dict())
        factor_id = f"7a0c1c0e-0000-4000-8000-{len(self.entries) + 1:012}"
        self.entries.append(FactorEntry(factor_id, new.name, FIRST.added + 60_000))
        return _reply(201, self.entries[-1].to_dict())

    def _remove(self, factor_id: str, code: OneTimeCode) -> Reply:
        if code.otp.reveal() != OLD_CODE:
            return _reply(409, ErrorReply("that code is not right").to_dict())
        self.entries[:] = [entry for entry in self.entries if entry.factor_id != factor_id]
        return 204, {}, b""


def _reply(status: int, value: object) -> Reply:
    return status, {}, json.dumps(value).encode()
