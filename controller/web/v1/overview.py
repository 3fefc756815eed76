"""How the fleet is, for programs: what the first page of the dashboard shows."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from controller.web import visit
from protocol import endpoints

blueprint = Blueprint("v1_overview", __name__)


@blueprint.get(endpoints.OVERVIEW.path)
def overview() -> Response:
    """Tell how many nodes there are in each state, what to look at, and what changed in the last day."""
    return jsonify(visit.services().home.of(visit.person()).to_dict())
