"""Answers that more than one page gives."""

from __future__ import annotations

from flask import Response, make_response, render_template, url_for

from controller.web import visit


def see_other(location: str) -> Response:
    """Send the browser on to `location`, a path of ours, with a GET."""
    return Response(status=303, headers={"Location": location})


def page(template: str, status: int = 200, **values: object) -> Response:
    """Return the page that `template` makes of `values`."""
    return make_response(render_template(template, **values), status)


def sign_out(token: str) -> Response:
    """End the session of that token, and lead to the login page."""
    visit.services().accounts.close_session(token, visit.origin())
    response = see_other(url_for("login.show_login", ended="1"))
    visit.drop_session_cookie(response)
    return response
