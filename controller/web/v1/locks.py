"""Locks, for programs of who administers the cluster."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, Response, jsonify

from controller.lock_aims import find_aim
from controller.locks import LockError, UnknownLockError
from controller.web import refusal, visit
from controller.web.locking import put_on
from controller.web.permissions import rule
from controller.web.v1 import question
from protocol import endpoints, names
from protocol.lock_orders import LockList, NewLock

blueprint = Blueprint("v1_locks", __name__)


@blueprint.get(endpoints.LOCKS.path)
def locks() -> Response:
    """List the locks in force, the oldest first."""
    return jsonify(LockList(tuple(visit.services().locks.list())).to_dict())


@blueprint.post(endpoints.LOCK_ADD.path)
def add() -> Response:
    """Put a lock on a person, a login or a node; the first and the last must be there."""
    asked = NewLock.from_dict(question.body())
    services = visit.services()
    value = find_aim(asked.kind, asked.value, services.accounts.users, services.enrolment.nodes)
    ttl = None if asked.ttl is None else timedelta(seconds=asked.ttl)
    lock = put_on(asked.kind, value, asked.message, ttl)
    response = jsonify(lock.to_dict())
    response.status_code = 201
    return response


@blueprint.delete(rule(endpoints.LOCK_REMOVE))
def remove(lock: str) -> Response:
    """Take a lock off."""
    visit.services().locks.remove(question.named(lock, names.parse_session_id), visit.origin())
    return Response(status=204)


@blueprint.errorhandler(LockError)
def refused(error: LockError) -> Response:
    """Say why a lock is not put on, or that there is none of that id."""
    return refusal.answer(404 if isinstance(error, UnknownLockError) else 409, str(error))
