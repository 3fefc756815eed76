"""One's own account, for programs. What it takes to change it is judged as on the pages: a code, and no lock."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import NotFound

from controller.accounts import FactorView, Incomplete, SignInView
from controller.web import refusal, visit
from controller.web.permissions import rule
from controller.web.v1 import question
from protocol import access, endpoints, names
from protocol.decision import Granted, Refused
from protocol.instants import to_milliseconds
from protocol.people import (
    FactorEntry,
    FactorList,
    FactorOffer,
    NewFactor,
    OneTimeCode,
    PasswordChange,
    Profile,
    SignInEntry,
    SignInList,
)

blueprint = Blueprint("v1_me", __name__)

NOT_PROVEN = "the password or the one-time code is not right, was used before, or there were too many failed tries"
_NO_SUCH_FACTOR = "H4"


@blueprint.get(endpoints.ME.path)
def me() -> Response:
    """Tell who one is, and until when."""
    person, session = visit.person(), visit.signed_in()
    profile = Profile(
        user=person.name,
        roles=person.roles,
        logins=person.logins,
        created=to_milliseconds(person.created),
        sees_audit=access.sees_audit(person.roles),
        administers=access.administers(person.roles),
        signed_in=to_milliseconds(session.created),
        expires=to_milliseconds(session.expires),
    )
    return jsonify(profile.to_dict())


@blueprint.post(endpoints.MY_PASSWORD.path)
def password() -> Response:
    """Set a new password: every other sign-in ends, and certificates from before are void."""
    asked = PasswordChange.from_dict(question.body())
    answer = visit.services().accounts.change_password(
        visit.signed_in().user, asked.old, asked.new, asked.otp, visit.session_token().reveal(), visit.origin()
    )
    return _said(answer) or Response(status=204)


@blueprint.get(endpoints.MY_FACTORS.path)
def factors() -> Response:
    """List one's authenticator apps, the oldest first."""
    found = visit.services().accounts.factors(visit.signed_in().user)
    return jsonify(FactorList(tuple(map(_factor, found))).to_dict())


@blueprint.post(endpoints.MY_FACTOR_BEGIN.path)
def begin_factor() -> Response:
    """Hand out what a new authenticator app is to be given; nothing changes yet."""
    begun = visit.services().accounts.begin_factor(visit.signed_in().user)
    if begun is None:
        raise NotFound
    return jsonify(FactorOffer(begun.handle, begun.secret, begun.uri).to_dict())


@blueprint.post(endpoints.MY_FACTOR_ADD.path)
def add_factor() -> Response:
    """Add an authenticator app."""
    asked = NewFactor.from_dict(question.body())
    answer = visit.services().accounts.add_factor(
        visit.signed_in().user, asked.handle, asked.name, asked.otp, visit.origin(), approval=asked.approval
    )
    if not isinstance(answer, Granted):
        return _told(answer, proof="approval")
    response = jsonify(_factor(answer.value).to_dict())
    response.status_code = 201
    return response


@blueprint.delete(rule(endpoints.MY_FACTOR_REMOVE))
def remove_factor(factor: str) -> Response:
    """Remove an authenticator app; the last one cannot go."""
    factor_id, asked = question.named(factor, names.parse_factor_id), OneTimeCode.from_dict(question.body())
    user = visit.signed_in().user
    answer = visit.services().accounts.remove_factor(user, factor_id, asked.otp, visit.origin())
    return _said(answer, proof="otp") or Response(status=204)


@blueprint.get(endpoints.MY_SIGN_INS.path)
def sign_ins() -> Response:
    """List one's own sign-ins that are in force; the one that asks comes first."""
    found = visit.services().accounts.sign_ins(visit.signed_in().user, visit.session_token().reveal())
    return jsonify(SignInList(tuple(map(_sign_in, found))).to_dict())


@blueprint.delete(rule(endpoints.MY_SIGN_IN_END))
def end_sign_in(sign_in: str) -> Response:
    """End one of one's own sign-ins, this one too."""
    ended = visit.services().accounts.end_sign_in(visit.signed_in().user, sign_in, visit.origin())
    if ended is None:
        raise NotFound
    return Response(status=204)


def _said(answer: Granted[object] | Refused | Incomplete, proof: str = "") -> Response | None:
    return None if isinstance(answer, Granted) else _told(answer, proof)


def _told(answer: Refused | Incomplete, proof: str = "") -> Response:
    """Say what to type again; why a proof was refused stands in the audit log alone. `proof` is its only field."""
    if isinstance(answer, Incomplete):
        return refusal.answer(409, answer.problem, field=answer.field)
    if answer.check == _NO_SUCH_FACTOR:
        return refusal.answer(404)
    return refusal.answer(409, NOT_PROVEN, field=proof)


def _factor(factor: FactorView) -> FactorEntry:
    return FactorEntry(factor.factor_id, factor.name, to_milliseconds(factor.added))


def _sign_in(sign_in: SignInView) -> SignInEntry:
    return SignInEntry(
        sign_in_id=sign_in.sign_in_id,
        kind=sign_in.kind,
        since=to_milliseconds(sign_in.created),
        used=to_milliseconds(sign_in.seen),
        expires=to_milliseconds(sign_in.expires),
        remote=sign_in.address,
        client=sign_in.client,
        is_current=sign_in.is_current,
    )
