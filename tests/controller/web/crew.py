"""People of each kind, signed in without a form: their browsers without a screen."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask

from controller.accounts import Origin
from protocol import access, limits
from protocol.names import parse_login, parse_user_name
from tests.controller.web.lab import Lab
from tests.controller.web.page_client import Browser

# What somebody's name says of their roles.
ROLES = {
    "ada": (access.ACCESS, access.ADMIN),
    "olga": (access.ADMIN,),
    "paul": (access.ACCESS,),
    "rita": (access.AUDITOR,),
}


def token_of(lab: Lab, name: str, *logins: str) -> str:
    """Make somebody a user, and return the token of a sign-in of theirs."""
    if lab.accounts.users.get(name) is None:
        wanted = tuple(parse_login(login) for login in logins or ("pi",))
        user = parse_user_name(name)
        lab.accounts.users.add(user, wanted, limits.INVITE_TTL, Origin(via="tctl"), ROLES[name])
    return lab.session(name, "web", lab.clock() + timedelta(hours=8))


def enter(lab: Lab, app: Flask, name: str, *logins: str) -> Browser:
    """Return somebody's browser."""
    browser = Browser(app)
    browser.client.set_cookie("__Host-skerry", token_of(lab, name, *logins), domain="skerry.example", secure=True)
    return browser
