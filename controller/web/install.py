"""What a device is installed from: a script of ours, and the agent's archives."""

from __future__ import annotations

import shlex
from datetime import timedelta

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from controller.policy.archives import MACHINES
from controller.policy.one_liner import trust_options
from controller.web import refusal, visit
from controller.web.depot import Archive
from controller.web.downloads import Download

blueprint = Blueprint("install", __name__)

_TOO_MANY = "Too many are downloading at the moment. Try again shortly."
_RETRY = timedelta(seconds=10)
_NONE_THERE = (
    "This controller has no archives of the agent to hand out. Its admin puts what `make dist` builds into the "
    "directory that proxy_service.agent_archives names; the package skerry-controller brings them along."
)


@blueprint.get("/install.sh")
def script() -> Response:
    """Hand out the script that installs the agent, with the hashes of what it will fetch."""
    archives = _newest()
    if not archives:
        # With a status of its own `curl -f` would say the number and keep the line from who needs it.
        return _plainly(f"echo {shlex.quote(f'ERROR: {_NONE_THERE}')} >&2\nexit 1\n")
    services = visit.services()
    text = render_template(
        "install_begin.sh",
        address=services.public_address,
        cluster=services.cluster_name,
        trust=trust_options(services.web_public_key()),
        archives=[(MACHINES[architecture], archive) for architecture, archive in sorted(archives.items())],
        version=services.depot.version(),
    )
    return _plainly(text)


@blueprint.get("/install/<archive>")
def archive(archive: str) -> Response:
    """Hand out an archive, or the rest of it (RFC 9110 section 14): links break."""
    try:
        found = visit.services().depot.find(archive)
        return refusal.answer(404) if found is None else _hand_out(found)
    except OSError:
        return refusal.answer(404)


def _newest() -> dict[str, Archive]:
    try:
        return visit.services().depot.newest()
    except OSError:
        return {}


def _hand_out(archive: Archive) -> Response:
    file = archive.path.open("rb")
    over = visit.services().depot.downloads.begin(visit.address())
    if over is None:
        file.close()
        return refusal.answer(503, _TOO_MANY, retry_after=_RETRY)
    response = Response(Download(file, over), content_type="application/gzip", direct_passthrough=True)
    response.content_length = archive.size
    response.set_etag(archive.sha256)
    try:
        response.make_conditional(request, accept_ranges=True, complete_length=archive.size)
    except RequestedRangeNotSatisfiable:
        response.close()
        return refusal.answer(416)
    return response


def _plainly(text: str) -> Response:
    return Response(text, content_type="text/x-shellscript; charset=utf-8")
