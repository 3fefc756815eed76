from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.accounts import Invitation, Origin
from controller.cluster import Cluster
from protocol import limits
from protocol.decision import Granted, Refused
from protocol.instants import parse_instant
from protocol.names import Login, UserName
from protocol.secret import Secret

Tctl = Callable[..., subprocess.CompletedProcess[str]]


def _token(text: str, kind: str = "invite") -> str:
    found = re.search(rf"https://skerry\.example\.com:3080/web/{kind}/(\S+?)[\"\n]", text)
    assert found
    return found[1]


def _open(cluster: Cluster, token: str) -> Invitation:
    answer = cluster.accounts.open_invite(token, Origin(address="127.0.0.1:1"))
    assert isinstance(answer, Granted)
    return answer.value


def test_users_add_prints_the_link_word_for_word(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("users", "add", "joe", "root,ubuntu")
    token = _token(done.stdout)
    assert done.stdout == (
        "User joe has been created but requires a password. Share this URL with the user to complete user setup, "
        "link is valid for 1h0m0s:\n"
        "\n"
        f"https://skerry.example.com:3080/web/invite/{token}\n"
        "\n"
        "NOTE: Make sure skerry.example.com:3080 points at a Skerry proxy which users can access.\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    invitation = _open(cluster, token)
    assert (invitation.user, invitation.kind) == ("joe", "invite")
    user = cluster.accounts.users.get("joe")
    assert user is not None
    assert user.logins == ("root", "ubuntu")


def test_logins_may_be_an_option_and_each_counts_once(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "add", "joe", "pi", "--logins=pi,root").returncode == 0
    user = cluster.accounts.users.get("joe")
    assert user is not None
    assert user.logins == ("pi", "root")


def test_users_add_tells_programs_the_link_and_its_end(tctl: Tctl, cluster: Cluster) -> None:
    done = tctl("users", "add", "joe", "root", "--ttl", "48h", "--format", "json")
    told = json.loads(done.stdout)
    assert told.keys() == {"name", "url", "expires"}
    invitation = _open(cluster, _token(done.stdout))
    assert told["name"] == "joe"
    assert abs(parse_instant(told["expires"]) - invitation.expires) < timedelta(seconds=5)
    assert limits.INVITE_TTL_MAX - timedelta(minutes=1) < invitation.expires - cluster.clock() <= limits.INVITE_TTL_MAX


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("joe", "root", "--ttl", "48h1s"), 1, "48h0m0s at most, not 48h0m1s"),
        (("joe", "root", "--ttl", "soon"), 2, "not a span of time"),
        (("joe",), 2, "say which logins joe may use"),
        (("../joe", "root"), 2, "not a valid user name"),
        (("joe", "root,-rf"), 2, "not a valid login"),
        (("joe", ""), 2, "not a valid login"),
    ],
)
def test_a_user_that_cannot_be_is_refused_and_nothing_is_made(
    tctl: Tctl, cluster: Cluster, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = tctl("users", "add", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert cluster.accounts.users.list() == []


def test_a_name_that_is_taken_is_refused(tctl: Tctl) -> None:
    assert tctl("users", "add", "joe", "root").returncode == 0
    again = tctl("users", "add", "joe", "pi")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("ERROR: user(joe) already registered")
    assert again.stderr.count("\n") == 1


def test_of_ten_who_add_the_same_user_at_once_one_succeeds(tctl: Tctl, cluster: Cluster) -> None:
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: tctl("users", "add", "joe", "root"), range(10)))
    assert sorted(each.returncode for each in done) == [0] + [1] * 9
    assert all("already registered" in each.stderr for each in done if each.returncode)
    assert len(list(cluster.audit.entries(kinds=("user.create",)))) == 1
    (winner,) = (each for each in done if each.returncode == 0)
    assert _open(cluster, _token(winner.stdout)).user == "joe"


def test_users_reset_prints_the_link_word_for_word_and_voids_the_first(tctl: Tctl, cluster: Cluster) -> None:
    first = _token(tctl("users", "add", "joe", "root").stdout)
    done = tctl("users", "reset", "joe")
    token = _token(done.stdout, "reset")
    assert done.stdout == (
        "User joe has been reset. Share this URL with the user to complete password reset, "
        "link is valid for 8h0m0s:\n"
        "\n"
        f"https://skerry.example.com:3080/web/reset/{token}\n"
        "\n"
        "NOTE: Make sure skerry.example.com:3080 points at a Skerry proxy which users can access.\n"
    )
    assert _open(cluster, token).kind == "reset"
    assert isinstance(cluster.accounts.open_invite(first, Origin(address="127.0.0.1:1")), Refused)


def test_a_reset_link_lives_a_day_at_most(tctl: Tctl) -> None:
    assert tctl("users", "add", "joe", "root").returncode == 0
    done = tctl("users", "reset", "joe", "--ttl", "25h")
    assert (done.returncode, done.stdout) == (1, "")
    assert "24h0m0s at most" in done.stderr


def test_resetting_a_user_who_does_not_exist_is_refused(tctl: Tctl) -> None:
    done = tctl("users", "reset", "joe")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'ERROR: user "joe" not found: `tctl users ls` lists them\n'


def test_users_ls_shows_logins_and_whether_they_can_sign_in(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "ls").stdout == "No users found\n"
    assert tctl("users", "add", "joe", "root,pi").returncode == 0
    assert tctl("users", "add", "ann", "ann").returncode == 0
    for _ in range(limits.SIGN_IN_FAILURES):
        cluster.accounts.sign_in("ann", Secret("insecure wrong"), Secret("000000"), Origin(address="127.0.0.1:1"))
    lines = tctl("users", "ls").stdout.splitlines()
    assert lines[0] == "User Roles  Allowed logins Status"
    assert re.fullmatch(r"---- ------ -------------- -+", lines[1])
    assert re.fullmatch(r"ann  access ann            locked until \d\d \w{3} \d{4} \d\d:\d\d UTC", lines[2])
    assert lines[3] == "joe  access root,pi        invited"
    told = json.loads(tctl("users", "ls", "--format", "json").stdout)
    assert [(user["name"], user["logins"], user["status"]) for user in told] == [
        ("ann", ["ann"], "locked"),
        ("joe", ["root", "pi"], "invited"),
    ]
    assert parse_instant(told[0]["locked_until"]) > cluster.clock()
    assert not {"password_hash", "factors"} & told[0].keys()


def test_users_add_gives_the_roles_that_are_asked_for(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "add", "joe", "pi", "--roles=access,auditor").returncode == 0
    user = cluster.accounts.users.get("joe")
    assert user is not None
    assert user.roles == ("access", "auditor")
    refused = tctl("users", "add", "ann", "pi", "--roles=access,editor")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no role 'editor' (there are: access, auditor, admin)" in refused.stderr
    assert cluster.accounts.users.get("ann") is None


def test_an_auditor_needs_no_login(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "add", "audra", "--roles=auditor").returncode == 0
    assert tctl("users", "add", "bob", "pi", "--roles=auditor").returncode == 0
    assert [(user.name, user.logins) for user in cluster.accounts.users.list()] == [("audra", ()), ("bob", ("pi",))]
    refused = tctl("users", "add", "joe", "--roles=auditor,access")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "say which logins joe may use" in refused.stderr


def test_users_rm_removes_every_one_it_can_and_fails_for_the_rest(tctl: Tctl, cluster: Cluster) -> None:
    for name in ("ann", "bob", "joe"):
        cluster.accounts.users.add(UserName(name), (Login("pi"),), timedelta(hours=1), Origin(via="tctl", actor="test"))
    done = tctl("users", "rm", "ann,nope", "joe")
    assert done.stdout == 'User "ann" has been deleted\nUser "joe" has been deleted\n'
    assert done.stderr == 'ERROR: user "nope" not found: `tctl users ls` lists them\n'
    assert done.returncode == 1
    assert [user.name for user in cluster.accounts.users.list()] == ["bob"]
    assert tctl("users", "rm", "bob").returncode == 0


def test_the_audit_log_names_the_person_behind_sudo(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "add", "joe", "root", SUDO_USER="alice").returncode == 0
    assert tctl("users", "reset", "joe", SUDO_USER="alice").returncode == 0
    assert tctl("users", "rm", "joe", SUDO_USER="alice").returncode == 0
    written = [event for event in cluster.audit.entries() if event.get("name") == "joe"]
    assert [event["event"] for event in written] == ["user.create", "reset_password_token.create", "user.delete"]
    assert all(re.fullmatch(r"alice@\S+", event["user"]) and event["via"] == "tctl" for event in written)


def test_users_update_gives_other_roles_and_logins_and_says_so(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "add", "joe", "root,pi").returncode == 0
    done = tctl("users", "update", "joe", "--set-roles=access,admin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "joe has been updated with roles access,admin\n", "")
    done = tctl("users", "update", "joe", "--set-roles=access,admin", "--set-logins=pi")
    assert done.stdout == (
        "joe has been updated with roles access,admin and logins pi\n"
        "What joe held from before is void: joe signs in again.\n"
    )
    user = cluster.accounts.users.get("joe")
    assert user is not None
    assert (user.roles, user.logins) == (("access", "admin"), ("pi",))
    events = list(cluster.audit.entries(kinds=("user.update",)))
    assert [event["before"]["logins"] for event in events] == [["root", "pi"], ["root", "pi"]]
    lines = tctl("users", "ls").stdout.splitlines()
    assert lines[2].split() == ["joe", "access,admin", "pi", "invited"]


def test_whoever_has_no_role_that_uses_them_may_be_left_without_logins(tctl: Tctl, cluster: Cluster) -> None:
    assert tctl("users", "add", "joe", "pi").returncode == 0
    done = tctl("users", "update", "joe", "--set-roles=auditor", "--set-logins=")
    assert done.stdout.startswith("joe has been updated with roles auditor and logins none\n")
    user = cluster.accounts.users.get("joe")
    assert user is not None
    assert user.logins == ()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("joe",), 2, "say what to change"),
        (("joe", "--set-roles=editor"), 2, "there is no role 'editor'"),
        (("joe", "--set-roles="), 2, "not a valid role name"),
        (("joe", "--set-logins=-rf"), 2, "not a valid login"),
        (("joe", "--set-logins="), 1, "say which logins may be used there"),
        (("ann", "--set-roles=auditor"), 1, 'user "ann" not found'),
    ],
)
def test_an_update_that_cannot_be_is_refused_and_nothing_is_changed(
    tctl: Tctl, cluster: Cluster, arguments: tuple[str, ...], status: int, words: str
) -> None:
    assert tctl("users", "add", "joe", "pi").returncode == 0
    before = cluster.accounts.users.get("joe")
    done = tctl("users", "update", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert cluster.accounts.users.get("joe") == before


def test_who_takes_the_last_admin_away_is_told_how_to_make_another(tctl: Tctl) -> None:
    note = "NOTE: nobody holds the role admin now."
    for name in ("ann", "joe"):
        assert tctl("users", "add", name, "pi", "--roles=access,admin").returncode == 0
    assert note not in tctl("users", "update", "ann", "--set-roles=access").stdout
    assert note in tctl("users", "update", "joe", "--set-roles=access").stdout
    assert tctl("users", "update", "joe", "--set-roles=access,admin").returncode == 0
    assert note in tctl("users", "rm", "joe").stdout
    assert note not in tctl("users", "rm", "ann").stdout
