"""Signing in: find the web door, decide what to trust, make a key, have it certified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from protocol import names, pins
from protocol.addresses import split_address
from protocol.endpoints import AUTHORITIES, PING, SIGN_IN
from protocol.messages import MessageError, Ping, SignInReply, SignInRequest
from protocol.names import UserName
from protocol.secret import Secret
from protocol.version import __version__
from tsh.error import TshError
from tsh.profile import Profile, ProfileFolder, parse_host
from tsh.setting import WEB_PORT
from tsh.web_door import NobodyListensError, Trust, WebDoor

_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Door:
    """A web door that answered and is trusted as the person wished."""

    web: WebDoor
    trust: Trust
    ping: Ping


def find_door(host: str, port: int | None, trust: Trust, ca_pins: tuple[str, ...], user: UserName) -> Door:
    """Return the web door of `host`; without a port, 3080 and then 443 are tried.

    Raises:
        TshError: there is none, or it is not to be trusted.
    """
    if port is not None:
        return _open_door(host, port, trust, ca_pins, user)
    try:
        return _open_door(host, WEB_PORT, trust, ca_pins, user)
    except NobodyListensError:
        return _open_door(host, _HTTPS_PORT, trust, ca_pins, user)


def _open_door(host: str, port: int, trust: Trust, ca_pins: tuple[str, ...], user: UserName) -> Door:
    if ca_pins:
        trust = Trust(anchors=_pinned_anchors(host, port, ca_pins))
    web = WebDoor(host, port, trust, user=user)
    try:
        return Door(web, trust, Ping.from_dict(web.ask(PING)))
    except MessageError as err:
        raise TshError(f"{web.url} does not answer as a Skerry controller does ({err})") from None


def _pinned_anchors(host: str, port: int, ca_pins: tuple[str, ...]) -> tuple[str, ...]:
    """Fetch the controller's authorities over an unchecked connection and keep those the pins name.

    Nothing secret is sent on it; whoever answers can at most hand out certificates that match a pin.
    """
    web = WebDoor(host, port, Trust(insecure=True), quiet=True)
    answer = web.ask(AUTHORITIES)
    bundle = answer.get("anchors") if isinstance(answer, dict) else None
    if not isinstance(bundle, str):
        raise TshError(f"{web.url} does not answer as a Skerry controller does (no authorities)")
    try:
        return pins.choose_anchors(bundle, ca_pins)
    except ValueError as err:
        raise TshError(
            f"the authority of {web.url} is not the one that --ca-pin names ({err}). Nothing was sent to it; "
            "ask the cluster's administrator for the pin"
        ) from None


def sign_in(
    door: Door, user: UserName, ttl: timedelta, folder: ProfileFolder, ask: tuple[Callable[[], str], Callable[[], str]]
) -> Profile:
    """Sign `user` in, write the profile and return it.

    Args:
        door: where.
        user: who.
        ttl: how long the certificate should live.
        folder: where the profile is kept.
        ask: gets the password, and the one-time code.

    Raises:
        TshError: the cluster refused, in its own uniform words.
    """
    password, otp = Secret(ask[0]()), Secret(ask[1]().replace(" ", ""))
    private_key, public_key = _make_key(user)
    request = SignInRequest(
        user=user,
        password=password,
        otp=otp,
        public_key=public_key,
        ttl_seconds=int(ttl.total_seconds()),
        client=f"tsh/{__version__}",
    )
    try:
        reply = SignInReply.from_dict(door.web.ask(SIGN_IN, request.to_dict()))
        profile = _profile_from(door, reply)
    except (MessageError, ValueError) as err:
        raise TshError(f"{door.web.url} answered the sign-in with something else ({err})") from None
    folder.save(profile, private_key=private_key, public_key=public_key, certificate=reply.certificate)
    return profile


def _profile_from(door: Door, reply: SignInReply) -> Profile:
    ssh_host, ssh_port = split_address(reply.ssh_address)
    return Profile(
        host=door.web.host,
        port=door.web.port,
        user=reply.user,
        cluster=reply.cluster_name,
        ssh_host=parse_host(ssh_host) if ssh_host else door.web.host,
        ssh_port=ssh_port,
        host_authorities=reply.host_authorities,
        anchors=_present_anchors(door),
        insecure=door.trust.insecure,
        session_token=reply.session_token.reveal(),
    )


def _present_anchors(door: Door) -> tuple[str, ...]:
    """Return the authorities to trust from now on: where some are pinned, those that the door has today.

    It proved to be who it is by those that were pinned. While an authority is rotated, there are two: who knew the old
    one alone would be left outside when it is over.
    """
    if not door.trust.anchors:
        return ()
    try:
        answer = door.web.ask(AUTHORITIES)
        bundle = answer.get("anchors") if isinstance(answer, dict) else None
        return pins.read_bundle(bundle if isinstance(bundle, str) else "")
    except (TshError, pins.PinError):
        return door.trust.anchors  # they have just been good enough


def _make_key(user: UserName) -> tuple[bytes, str]:
    """Return a new Ed25519 key in OpenSSH's format, and its public half as one line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, f"{public} {user}"


def parse_user(text: str | None, local: str) -> UserName:
    """Return the Skerry user to sign in as: the one named, or this account's name. Raises `TshError`."""
    try:
        return names.parse_user_name(text or local)
    except names.BadNameError as err:
        raise TshError(f"--user: {err}") from None
