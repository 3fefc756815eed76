"""The JSON API under /v1, for tsh and for devices that join. Bodies are those of `protocol.messages`."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify

from controller.accounts import SignedIn, what_to_say
from controller.web import refusal, visit
from controller.web.v1.question import body
from protocol import endpoints, limits, messages
from protocol.decision import Granted
from protocol.renewals import ChallengeRequest, RenewRequest

blueprint = Blueprint("api_v1", __name__)

SIGN_IN_REFUSED = "invalid username, password or second factor"
JOIN_REFUSED = "the controller did not accept this token"
RENEWAL_REFUSED = "the controller does not renew this node's certificates"
# A challenge that has expired or was spent, and a record that others were changing: the node asks again.
_RENEWAL_STATUS = {"N2": 409, "N8": 503}
KEY_REFUSED = "the controller did not certify this public key"


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
    asked = messages.SignInRequest.from_dict(body())
    origin = visit.origin(asked.client)
    accounts = visit.services().accounts
    answer = accounts.sign_in(asked.user, asked.password, asked.otp, origin)
    if not isinstance(answer, Granted):
        return refusal.answer(401, what_to_say(answer, SIGN_IN_REFUSED))
    return _certify(answer.value, asked)


def _certify(signed_in: SignedIn, asked: messages.SignInRequest) -> Response:
    services, origin = visit.services(), visit.origin(asked.client)
    ttl = timedelta(seconds=min(asked.ttl_seconds, int(limits.USER_CERTIFICATE_MAX.total_seconds())))
    order = services.accounts.issue_certificate(signed_in, asked.public_key, ttl, origin)
    if not isinstance(order, Granted):
        if order.check == "C2":
            return refusal.answer(400, KEY_REFUSED)
        return refusal.answer(401, what_to_say(order, SIGN_IN_REFUSED))
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


@blueprint.post(endpoints.JOIN.path)
def join() -> Response:
    """Enrol a device. Why a token is not accepted stands in the audit log alone."""
    services, asked = visit.services(), messages.JoinRequest.from_dict(body())
    answer = services.enrolment.join(asked, services.ping(), visit.origin(f"edge-agent {asked.version}"))
    if not isinstance(answer, Granted):
        return refusal.answer(403, JOIN_REFUSED)
    return jsonify(answer.value.to_dict())


@blueprint.post(endpoints.RENEW_CHALLENGE.path)
def renew_challenge() -> Response:
    """Hand out what a node is to sign; whether there is such a node is not told."""
    asked = ChallengeRequest.from_dict(body())
    return jsonify(visit.services().enrolment.challenge(asked.node_id).to_dict())


@blueprint.post(endpoints.RENEW.path)
def renew() -> Response:
    """Certify a node anew. Why it is refused stands in the audit log alone; that it is worth another try is told."""
    services, asked = visit.services(), RenewRequest.from_dict(body())
    answer = services.enrolment.renew(asked, services.ping(), visit.origin(f"edge-agent {asked.version}"))
    if not isinstance(answer, Granted):
        return refusal.answer(_RENEWAL_STATUS.get(answer.check, 403), RENEWAL_REFUSED)
    if answer.value.pending:
        return _come_again()
    return jsonify(answer.value.to_dict())


def _come_again() -> Response:
    """Tell a node that nobody has approved of it yet."""
    response = jsonify({"pending": True})
    response.status_code = 202
    response.headers["Retry-After"] = str(int(limits.PENDING_RETRY.total_seconds()))
    return response
