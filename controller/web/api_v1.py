"""The JSON API under /v1, for tsh and for devices that join. Bodies are those of `protocol.messages`."""

from __future__ import annotations

import json
from datetime import timedelta

from flask import Blueprint, Response, jsonify, request

from controller.accounts import SignedIn
from controller.web import refusal, visit
from protocol import endpoints, limits, messages
from protocol.decision import Granted
from protocol.messages import MessageError

blueprint = Blueprint("api_v1", __name__)

SIGN_IN_REFUSED = "invalid username, password or second factor"
JOIN_REFUSED = "the controller did not accept this token"
KEY_REFUSED = "the controller did not certify this public key"


def _body() -> object:
    """Return the JSON value of the request. Raises `MessageError`, also for text that is not Unicode."""
    value = messages.decode(request.get_data(cache=False))
    try:
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair would fail later, and further in
    except UnicodeEncodeError:
        raise MessageError("the body holds text that is not Unicode") from None
    return value


@blueprint.get(endpoints.PING.path)
def ping() -> Response:
    """Say what anyone may know."""
    return jsonify(visit.services().ping().to_dict())


@blueprint.get(endpoints.AUTHORITIES.path)
def authorities() -> Response:
    """Hand out the trust anchors: public, and worth nothing without the pin that they are held against."""
    return jsonify({"anchors": visit.services().anchors()})


@blueprint.post(endpoints.SIGN_IN.path)
def sign_in() -> Response:
    """Check password and code, certify the key, open a session. Whatever is wrong is told in one sentence."""
    asked = messages.SignInRequest.from_dict(_body())
    origin = visit.origin(asked.client)
    accounts = visit.services().accounts
    answer = accounts.sign_in(asked.user, asked.password, asked.otp, origin)
    if not isinstance(answer, Granted):
        return refusal.answer(401, SIGN_IN_REFUSED)
    return _certify(answer.value, asked)


def _certify(signed_in: SignedIn, asked: messages.SignInRequest) -> Response:
    services, origin = visit.services(), visit.origin(asked.client)
    ttl = timedelta(seconds=min(asked.ttl_seconds, int(limits.USER_CERTIFICATE_MAX.total_seconds())))
    order = services.accounts.issue_certificate(signed_in, asked.public_key, ttl, origin)
    if not isinstance(order, Granted):
        return refusal.answer(401, SIGN_IN_REFUSED) if order.check == "C1" else refusal.answer(400, KEY_REFUSED)
    issued = order.value
    session = services.accounts.open_session(signed_in, "tsh", issued.valid_until, origin)
    if not isinstance(session, Granted):
        return refusal.answer(401, SIGN_IN_REFUSED)
    reply = messages.SignInReply(
        user=signed_in.user,
        cluster_name=services.cluster_name,
        roles=issued.roles,
        logins=issued.logins,
        certificate=issued.certificate,
        host_authorities=services.host_authorities(),
        session_token=session.value,
        valid_until=int(issued.valid_until.timestamp()),
        ssh_address=services.ping().ssh_address,
    )
    return jsonify(reply.to_dict())


@blueprint.post(endpoints.SIGN_OUT.path)
def sign_out() -> Response:
    """End the session of the bearer token."""
    visit.services().accounts.close_session(visit.session_token().reveal(), visit.origin())
    return jsonify({})


@blueprint.get(endpoints.NODES.path)
def nodes() -> Response:
    """List the nodes this person may see."""
    found = visit.services().fleet.nodes_for(visit.person())
    return jsonify(messages.NodeList(tuple(node.entry() for node in found)).to_dict())


@blueprint.post(endpoints.JOIN.path)
def join() -> Response:
    """Enrol a device. Why a token is not accepted stands in the audit log alone."""
    services, asked = visit.services(), messages.JoinRequest.from_dict(_body())
    answer = services.enrolment.join(asked, services.ping(), visit.origin(f"edge-agent {asked.version}"))
    if not isinstance(answer, Granted):
        return refusal.answer(403, JOIN_REFUSED)
    return jsonify(answer.value.to_dict())
