"""Who may what: each endpoint asked by a plain user, an auditor and an admin; and what every write tells the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from controller.accounts import codes
from controller.web.permissions import PERMISSIONS, Holder, Need
from protocol import access, endpoints
from protocol.endpoints import Endpoint
from protocol.people import FactorOffer
from tests.controller.web.lab import PASSWORD, HandClock
from tests.controller.web.v1.office import ADMIN, AUDITOR, DESK, LIVE, NEVER, PLAIN, Office, error_of

ALL: dict[tuple[str, str], Endpoint] = {
    (each.method, each.path): each
    for each in vars(endpoints).values()
    if isinstance(each, Endpoint) and (each.method, each.path.replace("{", "<").replace("}", ">")) in PERMISSIONS
}
NEEDING = [
    ALL[method, rule.replace("<", "{").replace(">", "}")]
    for (method, rule), permission in PERMISSIONS.items()
    if permission.holder is Holder.BEARER and permission.need is not Need.NOTHING
]
MINUTE = timedelta(minutes=1)
HOLDERS = {Need.ADMIN: {ADMIN}, Need.AUDIT: {ADMIN, AUDITOR}}


def need_of(endpoint: Endpoint) -> Need:
    return PERMISSIONS[endpoint.method, endpoint.path.replace("{", "<").replace("}", ">")].need


def names_in(endpoint: Endpoint) -> dict[str, str]:
    return {name: "nobody" if name == "user" else NEVER for name in re.findall(r"\{(\w+)\}", endpoint.path)}


def test_who_lacks_a_role_is_refused_and_that_is_told_to_the_log(office: Office) -> None:
    for who in (PLAIN, AUDITOR, ADMIN):
        for endpoint in NEEDING:
            before = len(office.told("access.denied"))
            response = office.ask(who, endpoint, {}, None, **names_in(endpoint))
            told = [(each["user"], each["check"], each["method"]) for each in office.told("access.denied")[before:]]
            may = who in HOLDERS[need_of(endpoint)]
            assert (response.status_code == 403) != may, (who, endpoint)
            assert told == ([] if may else [(who, "W5", endpoint.method)]), (who, endpoint)


def test_a_plain_user_sees_the_nodes_they_may_open_and_no_other_and_an_auditor_sees_all(office: Office) -> None:
    office.enter("nora", "auditor")  # opens no device
    for node, ours in (("gate", {PLAIN, ADMIN, "nora"}), ("stranger", {ADMIN, "nora"})):
        for who in (PLAIN, ADMIN, "nora"):
            status = office.ask(who, endpoints.NODE, node=office.nodes[node]).status_code
            assert status == (200 if who in ours else 404), (node, who)


def test_what_is_not_there_and_what_is_not_ones_own_look_alike(office: Office) -> None:
    office.enter("nora", "access")  # took no part in the session on tape
    for endpoint in (
        endpoints.RECORDING,
        endpoints.RECORDING_CAST,
        endpoints.RECORDING_TIMELINE,
        endpoints.RECORDING_VERIFICATION,
    ):
        others = office.ask("nora", endpoint, session=office.tape.session)
        nobodys = office.ask("nora", endpoint, session=NEVER)
        assert (others.status_code, others.text) == (nobodys.status_code, nobodys.text) == (404, nobodys.text)
    node = office.nodes["stranger"]
    others, nobodys = office.ask("nora", endpoints.NODE, node=node), office.ask("nora", endpoints.NODE, node=NEVER)
    assert (others.status_code, others.text) == (404, nobodys.text)


def test_a_session_is_ended_by_who_may_join_it_alone(office: Office) -> None:
    assert office.ask(AUDITOR, endpoints.SESSION_END, session=LIVE).status_code == 404  # sees it, and may not join
    assert office.ask(PLAIN, endpoints.SESSION_END, session=NEVER).status_code == 404
    unreached = office.ask(PLAIN, endpoints.SESSION_END, session=LIVE)  # may, and nobody answers there
    assert unreached.status_code == 409
    assert error_of(unreached).startswith("The session could not be ended: ")
    (told,) = office.told("session.end_ordered")  # whatever the device says of it, or cannot say
    assert (told["user"], told["sid"], told["server_hostname"], told["via"]) == (PLAIN, LIVE, "gate", "web")


# What each write of somebody signed in is told as. What is missing here fails the test below it.
TOLD: dict[Endpoint, str] = {
    endpoints.SIGN_OUT: "user.logout",
    endpoints.RECORDING_KEY: "session.recording.access",
    endpoints.NODE_LABELS: "node.label",
    endpoints.NODE_APPROVE: "node.approve",
    endpoints.NODE_REJECT: "node.reject",
    endpoints.NODE_REMOVE: "node.delete",
    endpoints.USER_ADD: "user.create",
    endpoints.USER_UPDATE: "user.update",
    endpoints.USER_RESET: "reset_password_token.create",
    endpoints.USER_REMOVE: "user.delete",
    endpoints.TOKEN_ADD: "join_token.create",
    endpoints.TOKEN_REMOVE: "join_token.delete",
    endpoints.LOCK_ADD: "lock.created",
    endpoints.LOCK_REMOVE: "lock.deleted",
    endpoints.MY_PASSWORD: "user.password_change",
    endpoints.MY_FACTOR_ADD: "mfa.add",
    endpoints.MY_FACTOR_REMOVE: "mfa.delete",
    endpoints.MY_SIGN_IN_END: "user.sign_in_ended",
}
# It changes nothing: nothing of what it hands out is kept.
TELLS_NOTHING = {endpoints.MY_FACTOR_BEGIN}
# It needs a device that answers: what it tells is tested above.
TOLD_ABOVE = {endpoints.SESSION_END}


def orders(office: Office, clock: HandClock) -> Iterator[tuple[Endpoint, object, dict[str, str]]]:
    """Yield each order with a body and names with which it is carried out."""
    lab, nodes, me = office.lab, office.nodes, office.people[ADMIN]
    yield endpoints.RECORDING_KEY, None, {"session": office.tape.session}
    yield endpoints.NODE_LABELS, {"labels": {"env": "new"}}, {"node": nodes["mast"]}
    yield endpoints.NODE_APPROVE, None, {"node": nodes["stranger"]}
    yield endpoints.NODE_REJECT, None, {"node": nodes["hermit"]}
    yield endpoints.NODE_REMOVE, None, {"node": nodes["mast"]}
    yield endpoints.USER_ADD, {"name": "nell", "logins": ["pi"]}, {}
    yield endpoints.USER_UPDATE, {"logins": ["pi", "root"]}, {"user": "nell"}
    yield endpoints.USER_RESET, {}, {"user": "nell"}
    yield endpoints.USER_REMOVE, None, {"user": "nell"}
    yield endpoints.TOKEN_ADD, {}, {}
    yield endpoints.TOKEN_REMOVE, None, {"token": office.token}
    yield endpoints.LOCK_ADD, {"kind": "login", "value": "root"}, {}
    yield endpoints.LOCK_REMOVE, None, {"lock": office.lock}
    clock.pass_(MINUTE)
    yield endpoints.MY_PASSWORD, {"old": PASSWORD, "new": "insecure other words", "otp": me.code(clock())}, {}
    clock.pass_(MINUTE)
    offer = FactorOffer.from_dict(office.ask(ADMIN, endpoints.MY_FACTOR_BEGIN).get_json())
    added = {"otp": codes.code_at(offer.secret, clock()), "approval": me.code(clock())}
    yield endpoints.MY_FACTOR_ADD, {"handle": offer.handle.reveal(), "name": "tablet"} | added, {}
    clock.pass_(MINUTE)
    first = lab.accounts.factors(me.name)[0].factor_id
    yield endpoints.MY_FACTOR_REMOVE, {"otp": me.code(clock())}, {"factor": first}
    other = lab.session(ADMIN, "tsh", clock() + MINUTE)
    ids = {each.sign_in_id for each in lab.accounts.sign_ins(me.name, other) if each.is_current}
    yield endpoints.MY_SIGN_IN_END, None, {"sign_in": ids.pop()}
    yield endpoints.SIGN_OUT, None, {}


def test_every_write_of_somebody_signed_in_is_told_to_the_log_with_who_did_it(office: Office, clock: HandClock) -> None:
    office.lab.accounts.users.update(ADMIN, roles=access.parse_roles("access,admin,auditor"), origin=DESK)
    carried_out = set()
    for endpoint, body, names in orders(office, clock):
        before = len(office.told())
        response = office.ask(ADMIN, endpoint, body, None, **names)
        assert response.status_code in {200, 201, 204}, (endpoint, response.text)
        told = office.told()[before:]
        assert TOLD[endpoint] in [each["event"] for each in told], endpoint
        assert {(each["user"], each["via"]) for each in told} == {(ADMIN, "web")}, endpoint
        carried_out.add(endpoint)
    writes = {
        ALL[method, rule.replace("<", "{").replace(">", "}")]
        for (method, rule), permission in PERMISSIONS.items()
        if permission.holder is Holder.BEARER and permission.writes
    }
    assert carried_out | TELLS_NOTHING | TOLD_ABOVE == writes
