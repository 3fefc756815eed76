"""The files under ~/.tsh."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from protocol import names
from tsh.error import NotSignedInError, TshError
from tsh.profile import Profile, ProfileFolder, parse_host

PROFILE = Profile(
    host="edge.example.com",
    port=3080,
    user=names.parse_user_name("alice"),
    cluster=names.parse_cluster_name("harbour"),
    ssh_host="edge.example.com",
    ssh_port=3023,
    host_authorities=("ssh-ed25519 AAAA",),
    session_token="insecure-session-token",
)


def save(folder: ProfileFolder, profile: Profile) -> None:
    folder.save(profile, private_key=b"insecure key\n", public_key="public", certificate="certificate")


@pytest.fixture
def folder(tmp_path: Path) -> ProfileFolder:
    return ProfileFolder(tmp_path / "tsh")


def test_what_was_saved_is_loaded(folder: ProfileFolder) -> None:
    save(folder, PROFILE)
    assert folder.load() == PROFILE
    assert folder.load("edge.example.com") == PROFILE
    assert folder.certificate(PROFILE) == "certificate\n"
    assert folder.root.stat().st_mode & 0o777 == 0o700


def test_token_is_not_in_the_repr() -> None:
    assert "insecure-session-token" not in repr(PROFILE)


def test_several_profiles_are_listed_with_the_active_one_first(folder: ProfileFolder) -> None:
    for host in ("b.example", "c.example", "a.example", "b.example"):
        save(folder, replace(PROFILE, host=host))
    assert folder.hosts() == ["b.example", "a.example", "c.example"]


def test_removed_active_profile_leaves_none_active_and_the_others_whole(folder: ProfileFolder) -> None:
    save(folder, replace(PROFILE, host="other.example"))
    save(folder, PROFILE)
    folder.remove(PROFILE.host)
    assert folder.hosts() == ["other.example"]
    assert not (folder.root / "known_hosts").exists()
    with pytest.raises(NotSignedInError, match=r"Not logged in; log in with: tsh login"):
        folder.load()
    assert folder.load("other.example").host == "other.example"


def test_failed_write_leaves_the_old_file_and_no_other(folder: ProfileFolder) -> None:
    save(folder, PROFILE)
    keys = folder.keys(PROFILE)
    keys.certificate.unlink()
    keys.certificate.mkdir()  # a rename onto it fails
    before = keys.public.read_bytes()
    with pytest.raises(OSError, match="directory"):
        save(folder, replace(PROFILE, session_token="insecure-other-token"))
    assert keys.public.read_bytes() == before
    assert folder.load().session_token == "insecure-session-token"
    assert not [path for path in folder.root.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "../../etc/passwd"),
        ("user", "../x"),
        ("port", "x"),
        ("port", 70000),
        ("session_token", ""),
        ("host_authorities", 5),
        ("cluster", None),
    ],
)
def test_field_that_is_no_name_makes_a_damaged_profile(folder: ProfileFolder, field: str, value: object) -> None:
    save(folder, PROFILE)
    path = folder.root / "edge.example.com.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(TshError, match=r"is damaged; remove it with: tsh logout --proxy=edge\.example\.com"):
        folder.load()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\0", '{"host": "edge.example.com"}'])
def test_any_text_in_its_place_is_a_damaged_profile(folder: ProfileFolder, text: str) -> None:
    save(folder, PROFILE)
    (folder.root / "edge.example.com.json").write_text(text)
    with pytest.raises(TshError, match="is damaged"):
        folder.load()


def test_damaged_current_profile_says_how_to_choose_again(folder: ProfileFolder) -> None:
    save(folder, PROFILE)
    (folder.root / "current-profile").write_text("../x\n")
    with pytest.raises(TshError, match="choose a cluster again"):
        folder.load()
    folder.remove(PROFILE.host)
    assert folder.current_host() is None


@pytest.mark.parametrize(("text", "host"), [("Edge.Example", "edge.example"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1")])
def test_host_is_a_name_or_an_address(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "-x", "a b", "x\n", "fe80::1%eth0/..", "a" * 300])
def test_host_that_could_be_another_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_host(text)
