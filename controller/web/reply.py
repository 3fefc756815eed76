"""Answers that more than one page gives."""

from __future__ import annotations

from flask import Response, make_response, render_template


def see_other(location: str) -> Response:
    """Send the browser on to `location`, a path of ours, with a GET."""
    return Response(status=303, headers={"Location": location})


def page(template: str, status: int = 200, **values: object) -> Response:
    """Return the page that `template` makes of `values`."""
    return make_response(render_template(template, **values), status)
