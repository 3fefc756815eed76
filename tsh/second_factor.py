"""One's own second factors, asked of the web door: authenticator apps, so far."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, quote, unquote, urlsplit

from protocol import limits
from protocol.endpoints import MY_FACTOR_ADD, MY_FACTOR_BEGIN, MY_FACTOR_REMOVE, MY_FACTORS, Endpoint
from protocol.names import BadNameError, FactorName, is_uuid, parse_factor_name
from protocol.people import FactorEntry, FactorList, FactorOffer, NewFactor, OneTimeCode
from protocol.secret import Secret
from protocol.table import escape_text
from tsh.entrance import Entrance
from tsh.error import TshError
from tsh.setting import Settings

_SEE = "`tsh mfa ls` lists them"


class SecondFactors:
    """The second factors of the person who is signed in.

    All methods raise `NotSignedInError`, or `TshError` where the door cannot be reached, refuses or makes no sense.
    """

    def __init__(self, settings: Settings) -> None:
        """Open them for the profile that is meant. Raises `NotSignedInError` where there is none that is valid."""
        self._entrance = Entrance(settings)

    def entries(self) -> Sequence[FactorEntry]:
        """Return them, the oldest first."""
        return self._entrance.ask(MY_FACTORS, FactorList.from_dict, doing="listing your second factors").factors

    def begin(self) -> FactorOffer:
        """Return what a new app is to be given."""
        return self._entrance.ask(MY_FACTOR_BEGIN, FactorOffer.from_dict, doing="adding an app", body={})

    def add(self, offer: FactorOffer, name: FactorName, otp: str, approval: str) -> None:
        """Add the app that was given `offer`; `otp` is a code of its, `approval` one of an app that is there."""
        body = NewFactor(offer.handle, name, Secret(otp), Secret(approval)).to_dict()
        self._entrance.ask(MY_FACTOR_ADD, lambda _: None, doing="adding an app", body=body)

    def remove(self, factor: FactorEntry, otp: str) -> None:
        """Remove one; `otp` is a code of any of them."""
        path = MY_FACTOR_REMOVE.path.format(factor=quote(factor.factor_id, safe=""))
        body = OneTimeCode(Secret(otp)).to_dict()
        endpoint = Endpoint(MY_FACTOR_REMOVE.method, path)
        self._entrance.ask(endpoint, lambda _: None, doing="removing an app", body=body)


def choose_name(text: str, taken: Sequence[FactorEntry]) -> FactorName:
    """Return `text` as the name of another second factor. Raises `TshError`."""
    try:
        name = parse_factor_name(text)
    except BadNameError as err:
        raise TshError(f"{escape_text(text)!r}: {err}") from None
    if any(entry.name.casefold() == name.casefold() for entry in taken):  # as `controller.policy.factors` has it
        raise TshError(f'you have a second factor named "{name}" already; choose another name')
    return name


def choose_factor(entries: Sequence[FactorEntry], text: str) -> FactorEntry:
    """Return the one that `text` names, by name or id, and that may be removed. Raises `TshError`."""
    wanted = text.lower() if is_uuid(text) else text
    found = next((entry for entry in entries if wanted in (entry.name, entry.factor_id)), None)
    if found is None:
        raise TshError(f"you have no second factor named {escape_text(text)!r}; {_SEE}")
    if len(entries) == 1:
        raise TshError(
            f'"{escape_text(found.name)}" is your last second factor, and without one you could not sign in. '
            "Add another one first: tsh mfa add"
        )
    return found


def describe_offer(offer: FactorOffer) -> str:
    """Return what a person types into an authenticator app, or hands to it whole (RFC 6238, otpauth addresses)."""
    uri = offer.uri.reveal()
    parts = urlsplit(uri)
    said = {name: values[0] for name, values in parse_qs(parts.query).items()}
    label = unquote(parts.path).lstrip("/")
    fields = [
        ("Name", label.rpartition(":")[2]),
        ("Issuer", said.get("issuer", label.rpartition(":")[0])),
        ("Algorithm", said.get("algorithm", "SHA1")),
        ("Number of digits", said.get("digits", str(limits.TOTP_DIGITS))),
        ("Period", f"{said.get('period', int(limits.TOTP_PERIOD.total_seconds()))}s"),
        ("Secret", offer.secret.reveal()),
    ]
    lines = [f"{name}: {escape_text(value)}" for name, value in fields]
    return "\n".join(
        [
            "Open your TOTP app and create a new manual entry with these fields:",
            *lines,
            f"or open this address where the app is: {escape_text(uri)}",
        ]
    )
