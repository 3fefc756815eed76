"""What every command may be told: the cluster, the person, how far to trust. Flags, or the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from protocol.addresses import split_address
from tsh.error import NotSignedInError, TshError, not_signed_in
from tsh.profile import Profile, ProfileFolder, parse_host

F = TypeVar("F", bound=Callable[..., Any])
WEB_PORT = 3080


@dataclass(slots=True)
class Settings:
    """The flags that every command shares, as the person gave them. Filled while the command line is read.

    Attributes:
        proxy: the controller's web address, ``HOST`` or ``HOST:PORT``.
        user: the Skerry user.
        login: the account on nodes.
        ttl: how long the certificate should live.
        insecure: do not check the web door.
        debug: show tracebacks and the SSH library's log.
    """

    proxy: str | None = None
    user: str | None = None
    login: str | None = None
    ttl: str | None = None
    insecure: bool = False
    debug: bool = False

    def proxy_address(self) -> tuple[str, int | None] | None:
        """Return the named proxy's host and port, the port None where none was named. Raises `TshError`."""
        if self.proxy is None:
            return None
        text = self.proxy.removeprefix("https://").removesuffix("/")
        try:
            host, port = split_address(text, 0)
            return parse_host(host), port or None
        except ValueError:
            raise TshError(f"not an address: {self.proxy!r} (write HOST or HOST:PORT)") from None

    def folder(self) -> ProfileFolder:
        """Return where profiles lie: $SKERRY_HOME, or ~/.tsh."""
        named = os.environ.get("SKERRY_HOME")
        return ProfileFolder(Path(named) if named else Path.home() / ".tsh")

    def profile(self) -> Profile:
        """Return the profile that is meant. Raises `NotSignedInError` or `TshError`."""
        address = self.proxy_address()
        try:
            profile = self.folder().load(address[0] if address else None)
        except NotSignedInError:
            raise not_signed_in(self.proxy, self.user) from None
        if address and address[1] not in (None, profile.port):
            raise not_signed_in(self.proxy, self.user)
        if self.user and self.user != profile.user:
            raise NotSignedInError(
                f"logged in at {profile.host} as {profile.user}, not as {self.user}; "
                f"log in with: tsh login --proxy={profile.host}:{profile.port} --user={self.user}"
            )
        return replace(profile, insecure=True) if self.insecure else profile


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:  # noqa: ANN401 - click's
        settings = settings_of(ctx)
        named = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if value and (named or not getattr(settings, name)):  # a flag before the command goes before the environment
            setattr(settings, name, value)

    return keep


def _option(name: str, *flags: str, **attributes: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's
    return click.option(*flags, callback=_remember(name), expose_value=False, **attributes)


# Flags that mean something to one command alone; they may stand before its name as well.
ttl_option = _option("ttl", "--ttl", metavar="TIME", help="Life of the certificate: 8h, 30m, or minutes.")
login_option = _option("login", "-l", "--login", metavar="LOGIN", help="Account on the node. [env: SKERRY_LOGIN]")


def connection_options(function: F) -> F:
    """Give a command the shared flags; before or after the command's name, the later one counts."""
    for decorate in (
        _option("debug", "-d", "--debug", is_flag=True, help="Show details of failures."),
        _option("insecure", "--insecure", is_flag=True, help="Do not check the proxy's HTTPS certificate."),
        _option("user", "--user", metavar="USER", envvar="SKERRY_USER", help="Skerry user."),
        _option("proxy", "--proxy", metavar="HOST[:PORT]", envvar="SKERRY_PROXY", help="The cluster's web address."),
    ):
        function = decorate(function)
    return function


def settings_of(ctx: click.Context) -> Settings:
    """Return what the person said."""
    return ctx.ensure_object(Settings)
