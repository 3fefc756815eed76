"""The join tokens, for who administers the cluster: which are good for a join, and taking one back."""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for

from controller.enrolment.tokens import TokenError
from controller.policy.join import UNLIMITED
from controller.web import visit
from controller.web.reply import page, see_other

blueprint = Blueprint("tokens", __name__)


@blueprint.get("/web/tokens")
def show_tokens() -> Response:
    """List the tokens that are good for a join, as `tctl tokens ls` does."""
    return _page()


@blueprint.post("/web/tokens/remove")
def remove() -> Response:
    """Take a token back; one that is gone already, spent or expired, stays so."""
    token_id = request.form.get("token", "")[:64]
    tokens = visit.services().enrolment.tokens
    if any(token.token_id == token_id for token in tokens.list()):
        try:
            tokens.remove(token_id, visit.origin())
        except TokenError as err:
            return _page(str(err).replace("`", ""), 409)
    return see_other(url_for("tokens.show_tokens", done="removed"))


def _page(problem: str | None = None, status: int = 200) -> Response:
    services = visit.services()
    return page(
        "tokens.html",
        status,
        tokens=services.enrolment.tokens.list(),
        unlimited=UNLIMITED,
        problem=problem,
        done="The token is good for no join any more." if request.args.get("done") == "removed" else None,
    )
