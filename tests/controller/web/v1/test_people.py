from __future__ import annotations

from datetime import timedelta

from controller.accounts import codes
from controller.web.users import matches
from protocol import endpoints, limits
from protocol.instants import to_milliseconds
from protocol.messages import ErrorReply
from protocol.people import FactorEntry, FactorList, FactorOffer, Profile, SignInList, UserEntry, UserLink, UserList
from tests.controller.web.lab import PASSWORD, HandClock
from tests.controller.web.page_client import Browser
from tests.controller.web.v1.office import ADMIN, AUDITOR, DESK, PLAIN, Office, error_of

MINUTE = timedelta(minutes=1)


def entry(office: Office, name: str) -> UserEntry:
    return UserEntry.from_dict(office.ask(ADMIN, endpoints.USER, user=name).get_json())


def test_people_are_listed_page_by_page(office: Office) -> None:
    first = UserList.from_dict(office.ask(ADMIN, endpoints.USERS, query={"limit": 2}).get_json())
    assert [user.name for user in first.users] == [ADMIN, AUDITOR]
    assert first.next is not None
    rest = UserList.from_dict(office.ask(ADMIN, endpoints.USERS, query={"cursor": first.next}).get_json())
    assert ([user.name for user in rest.users], rest.next) == ([PLAIN], None)


def test_people_are_searched_by_name_role_login_and_status(office: Office) -> None:
    def found(search: str) -> list[str]:
        response = office.ask(ADMIN, endpoints.USERS, query={"search": search})
        assert response.status_code == 200, response.text
        return [user["name"] for user in response.get_json()["users"]]

    everybody = found("")
    assert len(everybody) > 2
    assert found(ADMIN.upper()[:-1]) == [ADMIN]
    assert found(f"{AUDITOR} auditor") == [AUDITOR]
    assert found(f"{AUDITOR} no-such-word") == []
    assert PLAIN not in found("auditor")
    office.lab.locks.add("user", PLAIN, "", None, DESK)
    assert found("locked") == [PLAIN]
    page = office.ask(ADMIN, endpoints.USERS, query={"search": "access", "limit": 1}).get_json()
    assert (len(page["users"]), bool(page["next"])) == (1, len(found("access")) > 1)
    assert office.ask(ADMIN, endpoints.USERS, query={"search": "x" * 129}).status_code == 400


def test_how_somebody_is_is_looked_up_only_where_that_may_be_what_is_searched_for(office: Office) -> None:
    somebody = office.lab.accounts.users.get(PLAIN)
    assert somebody
    asked: list[str] = []

    def state() -> str:
        asked.append(PLAIN)
        return "locked"

    def found(search: str) -> bool:
        return matches(somebody, search, ("active", "locked"), state)

    assert found("")
    assert found(f"{PLAIN} access")
    assert not found("access no-such-word")
    assert asked == []
    assert not found("active")
    assert found(f"LOCK {PLAIN}")
    assert not found("no-such-word locked")
    assert len(asked) == 2


def test_somebody_is_invited_by_a_link_that_opens_their_page(office: Office) -> None:
    response = office.ask(ADMIN, endpoints.USER_ADD, {"name": "nell", "logins": ["pi"], "ttl_seconds": 60})
    link = UserLink.from_dict(response.get_json())
    assert (response.status_code, link.name) == (201, "nell")
    assert link.expires == to_milliseconds(office.lab.clock() + MINUTE)
    address, _, path = link.url.reveal().removeprefix("https://").partition("/")
    assert address == "skerry.example:3080"
    assert "nell" in Browser(office.lab.app()).get(f"/{path}").text
    found = entry(office, "nell")
    assert (found.status, found.roles, found.logins, found.factors) == ("invited", ("access",), ("pi",), 0)


def test_a_name_that_is_taken_and_rights_that_do_not_fit_are_conflicts(office: Office) -> None:
    taken = office.ask(ADMIN, endpoints.USER_ADD, {"name": PLAIN, "logins": ["pi"]})
    assert (taken.status_code, "already registered" in error_of(taken)) == (409, True)
    bare = office.ask(ADMIN, endpoints.USER_ADD, {"name": "nell"})
    assert (bare.status_code, "logins" in error_of(bare)) == (409, True)
    assert office.ask(ADMIN, endpoints.USER_ADD, {"name": "nell", "roles": ["auditor"]}).status_code == 201
    assert office.ask(ADMIN, endpoints.USER_UPDATE, {"logins": []}, user=PLAIN).status_code == 409


def test_rights_are_changed_and_what_is_left_out_stays(office: Office) -> None:
    response = office.ask(ADMIN, endpoints.USER_UPDATE, {"roles": ["access", "auditor"]}, user=PLAIN)
    found = UserEntry.from_dict(response.get_json())
    assert (found.roles, found.logins) == (("access", "auditor"), ("pi",))
    assert office.ask(PLAIN, endpoints.AUDIT).status_code == 200
    office.ask(ADMIN, endpoints.USER_UPDATE, {"roles": ["access"]}, user=PLAIN)
    assert office.ask(PLAIN, endpoints.AUDIT).status_code == 401  # what was issued with more rights is void
    assert office.ask(ADMIN, endpoints.USER_UPDATE, {}, user="nobody").status_code == 404


def test_an_admin_cannot_shut_themselves_out(office: Office) -> None:
    refused = [
        office.ask(ADMIN, endpoints.USER_REMOVE, user=ADMIN),
        office.ask(ADMIN, endpoints.USER_RESET, {}, user=ADMIN),
        office.ask(ADMIN, endpoints.USER_UPDATE, {"roles": ["access"]}, user=ADMIN),
    ]
    assert [answer.status_code for answer in refused] == [409, 409, 409]
    assert entry(office, ADMIN).roles == ("access", "admin")


def test_who_gives_up_rights_of_their_own_signs_in_again(office: Office) -> None:
    assert office.ask(ADMIN, endpoints.USER_UPDATE, {"roles": ["admin"]}, user=ADMIN).status_code == 200
    assert office.ask(ADMIN, endpoints.ME).status_code == 401


def test_a_reset_voids_what_somebody_holds_and_a_removal_is_done_once(office: Office, clock: HandClock) -> None:
    clock.pass_(MINUTE)
    link = UserLink.from_dict(office.ask(ADMIN, endpoints.USER_RESET, {}, user=PLAIN).get_json())
    assert "/web/reset/" in link.url.reveal()
    assert link.expires == to_milliseconds(office.lab.clock() + limits.RESET_TTL)
    assert office.ask(PLAIN, endpoints.ME).status_code == 401
    assert [office.ask(ADMIN, endpoints.USER_REMOVE, user=PLAIN).status_code for _ in range(2)] == [204, 404]
    assert office.ask(ADMIN, endpoints.USER, user=PLAIN).status_code == 404
    assert office.ask(ADMIN, endpoints.USER_RESET, {}, user=PLAIN).status_code == 404


def test_who_is_locked_out_is_shown_so_and_is_told_why(office: Office) -> None:
    lock = office.lab.locks.add("user", PLAIN, "on leave", None, office.desk)
    assert (entry(office, PLAIN).status, entry(office, PLAIN).lock) == ("locked", lock.lock_id)
    answer = office.ask(PLAIN, endpoints.ME)
    assert (answer.status_code, "on leave" in error_of(answer)) == (403, True)


def test_one_is_told_who_one_is(office: Office) -> None:
    found = Profile.from_dict(office.ask(AUDITOR, endpoints.ME).get_json())
    assert (found.user, found.roles, found.sees_audit, found.administers) == (AUDITOR, ("auditor",), True, False)
    assert found.expires == to_milliseconds(office.lab.clock() + timedelta(hours=12))


def test_a_password_is_changed_with_the_old_one_and_a_code_and_ends_the_other_sign_ins(
    office: Office, clock: HandClock
) -> None:
    clock.pass_(MINUTE)
    me, other = office.people[PLAIN], office.lab.session(PLAIN, "tsh", clock() + MINUTE * 60)
    wanted = {"old": PASSWORD, "new": "insecure other words", "otp": me.code(clock())}
    weak = office.ask(PLAIN, endpoints.MY_PASSWORD, wanted | {"new": "short"})
    assert (weak.status_code, "12 characters" in error_of(weak)) == (409, True)
    wrong = [office.ask(PLAIN, endpoints.MY_PASSWORD, wanted | change) for change in ({"old": "x"}, {"otp": "000000"})]
    assert {(answer.status_code, answer.text) for answer in wrong} == {(409, wrong[0].text)}
    assert office.ask(PLAIN, endpoints.MY_PASSWORD, wanted).status_code == 204
    assert office.ask(PLAIN, endpoints.ME).status_code == 200
    office.tokens["other"] = other
    assert office.ask("other", endpoints.ME).status_code == 401
    clock.pass_(MINUTE)
    assert office.ask(PLAIN, endpoints.MY_PASSWORD, wanted | {"otp": me.code(clock())}).status_code == 409


def test_a_second_app_is_added_with_both_codes_and_the_last_one_cannot_go(office: Office, clock: HandClock) -> None:
    me = office.people[PLAIN]
    first = FactorList.from_dict(office.ask(PLAIN, endpoints.MY_FACTORS).get_json()).factors[0]
    clock.pass_(MINUTE)
    last = office.ask(PLAIN, endpoints.MY_FACTOR_REMOVE, {"otp": me.code(clock())}, factor=first.factor_id)
    assert (last.status_code, "only second factor" in error_of(last)) == (409, True)
    offer = FactorOffer.from_dict(office.ask(PLAIN, endpoints.MY_FACTOR_BEGIN).get_json())
    assert offer.secret.reveal() in offer.uri.reveal()
    code = codes.code_at(offer.secret, clock())
    asked = {"handle": offer.handle.reveal(), "name": "tablet", "otp": code, "approval": me.code(clock())}
    foreign = office.ask(ADMIN, endpoints.MY_FACTOR_ADD, asked)
    assert foreign.status_code == 409
    unproven = office.ask(PLAIN, endpoints.MY_FACTOR_ADD, asked | {"approval": "000000"})
    assert (unproven.status_code, ErrorReply.from_dict(unproven.get_json()).field) == (409, "approval")
    wrong = office.ask(PLAIN, endpoints.MY_FACTOR_ADD, asked | {"otp": "000000"})
    assert (wrong.status_code, ErrorReply.from_dict(wrong.get_json()).field) == (409, "otp")
    added = office.ask(PLAIN, endpoints.MY_FACTOR_ADD, asked)
    assert (added.status_code, FactorEntry.from_dict(added.get_json()).name) == (201, "tablet")
    clock.pass_(MINUTE)
    body = {"otp": codes.code_at(offer.secret, clock())}
    answers = [office.ask(PLAIN, endpoints.MY_FACTOR_REMOVE, body, factor=first.factor_id) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [204, 404]


def test_nobody_touches_the_factors_and_sign_ins_of_others(office: Office, clock: HandClock) -> None:
    clock.pass_(MINUTE)
    factor = office.lab.accounts.factors(office.people[PLAIN].name)[0].factor_id
    body = {"otp": office.people[ADMIN].code(clock())}
    assert office.ask(ADMIN, endpoints.MY_FACTOR_REMOVE, body, factor=factor).status_code == 404
    sign_in = SignInList.from_dict(office.ask(PLAIN, endpoints.MY_SIGN_INS).get_json()).sign_ins[0]
    assert sign_in.is_current
    assert office.ask(ADMIN, endpoints.MY_SIGN_IN_END, sign_in=sign_in.sign_in_id).status_code == 404
    assert office.ask(PLAIN, endpoints.MY_SIGN_IN_END, sign_in=sign_in.sign_in_id).status_code == 204
    assert office.ask(PLAIN, endpoints.MY_SIGN_INS).status_code == 401
