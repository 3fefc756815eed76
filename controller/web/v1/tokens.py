"""Join tokens, for programs of who administers the cluster."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify

from controller.enrolment.tokens import TokenError, UnknownTokenError
from controller.policy.join import UNLIMITED, JoinToken
from controller.policy.one_liner import install_line
from controller.web import refusal, visit
from controller.web.permissions import rule
from controller.web.v1 import question
from protocol import endpoints, limits
from protocol.instants import format_instant, to_milliseconds
from protocol.join_tokens import JoinTokenEntry, JoinTokenList, MadeJoinToken, NewJoinToken
from protocol.secret import Secret

blueprint = Blueprint("v1_tokens", __name__)


@blueprint.get(endpoints.TOKENS.path)
def tokens() -> Response:
    """List the tokens with which devices can still join, their text hidden."""
    shown = question.page(visit.services().enrolment.tokens.list(), _place, limits.TOKENS_PAGE_MAX)
    return jsonify(JoinTokenList(tuple(map(_entry, shown.items)), shown.next).to_dict())


@blueprint.post(endpoints.TOKEN_ADD.path)
def add() -> Response:
    """Make a token: it is shown whole this once."""
    services, asked = visit.services(), NewJoinToken.from_dict(question.body())
    text, token = services.enrolment.tokens.add(
        ttl=timedelta(seconds=asked.ttl),
        uses=UNLIMITED if asked.uses is None else asked.uses,
        labels=asked.labels,
        claimable=asked.claimable,
        approve=asked.approve,
        ephemeral=None if asked.ephemeral is None else timedelta(seconds=asked.ephemeral),
        origin=visit.origin(),
    )
    address, pins = services.public_address, services.join_pins()
    line = Secret(install_line(text, pins, address, services.web_public_key()))
    made = MadeJoinToken(text, _entry(token), address, pins, line)
    response = jsonify(made.to_dict())
    response.status_code = 201
    return response


@blueprint.delete(rule(endpoints.TOKEN_REMOVE))
def remove(token: str) -> Response:
    """Remove a token, named by its id, whole, or as the listing shows it."""
    visit.services().enrolment.tokens.remove(token, visit.origin())
    return Response(status=204)


@blueprint.errorhandler(TokenError)
def refused(error: TokenError) -> Response:
    """Say why there is no such token, or why it stays."""
    return refusal.answer(404 if isinstance(error, UnknownTokenError) else 409, str(error))


def _place(token: JoinToken) -> str:
    # Those without an end come last: "~" is after every digit.
    return f"{format_instant(token.expires) if token.expires else '~'} {token.token_id}"


def _entry(token: JoinToken) -> JoinTokenEntry:
    return JoinTokenEntry(
        token_id=token.token_id,
        token=token.suffix,
        uses=None if token.uses_left == UNLIMITED else token.uses_left,
        expires=to_milliseconds(token.expires) if token.expires else None,
        labels=token.labels,
        claimable=token.claimable,
        approve=token.approve,
        ephemeral=None if token.ephemeral is None else int(token.ephemeral.total_seconds()),
    )
