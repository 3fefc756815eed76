"""Debian as it is on a device: made once by debootstrap from the machine's own mirror, kept outside the repository.

An image is a directory that devices are overlaid on; nothing is ever written to it. Its name holds the hash of its
recipe, so that another recipe makes another image.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.harness.device_bed import mirror
from tests.harness.device_bed.binfmt import emulation

SUITE = "bookworm"
_KEPT_FOR = 24 * 3600.0
_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "iproute2", "procps", "ca-certificates", "curl"),
    *("python3", "python3-apt"),  # what Ansible asks of a device
)
# What the emulated one is made of: as little as an install, a join and a session need.
_FEW_PACKAGES = ("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "sudo", "curl", "python3")
# What a device can install from the store of packages that lies in it, its mirror; with all that these need.
_STORE = ("mosquitto", "adduser", "python3-venv")
_SETTLE = r"""
set -eu
useradd --create-home --shell /bin/bash ubuntu
mkdir -p /etc/sudoers.d && echo 'ubuntu ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ubuntu
systemctl mask --quiet console-getty.service getty.target apt-daily.timer apt-daily-upgrade.timer \
  systemd-resolved.service e2scrub_all.timer fstrim.timer dpkg-db-backup.timer logrotate.timer \
  systemd-networkd.service systemd-networkd-wait-online.service systemd-timesyncd.service man-db.timer
mkdir -p /var/log/journal
rm -f /etc/machine-id /var/lib/dbus/machine-id
"""
_GATHER = r"""
set -eu
apt-get -qq update
apt-get -qq -y --no-install-recommends --download-only install "$@"
mkdir -p /srv/packages && mv /var/cache/apt/archives/*.deb /srv/packages/
cd /srv/packages
for file in *.deb; do
  dpkg-deb -f "$file"
  echo "Filename: ./$file"; echo "Size: $(stat -c %s "$file")"; echo "SHA256: $(sha256sum "$file" | cut -d' ' -f1)"
  echo
done >Packages
rm -rf /var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/packages ./' >/etc/apt/sources.list
apt-get -qq update
"""
# debootstrap's second stage, for another architecture: what unpacks is this machine's own dpkg, so that nothing is
# emulated but the packages' scripts (a tenth of the time). dpkg takes all of it for foreign, whence the force.
_SECOND_STAGE = r"""
set -eu
root=$1
debs=$root/var/cache/apt/archives
[ ! -L "$root/proc" ] || rm "$root/proc"  # what the first stage leaves where it is run in a container
mkdir -p "$root/proc"
mount -t proc proc "$root/proc"
pack() { dpkg --root="$root" --force-architecture --force-depends --force-overwrite --force-confold "$@"; }
core() { for name; do pack --install "$debs/${name}"_*.deb; done; }
chroot "$root" /sbin/ldconfig
ln -sf mawk "$root/usr/bin/awk"
core base-passwd base-files dpkg
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
ln -sf /usr/share/zoneinfo/UTC "$root/etc/localtime"
core libc6 perl-base
rm "$root/usr/bin/awk"
core mawk debconf
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
for list in required base; do
  pack --skip-same-version --unpack $(for name in $(cat "$root/debootstrap/$list"); do echo "$debs/${name}"_*.deb; done)
  pack --configure --pending
done
rm -rf "$root/usr/sbin/policy-rc.d" "$root/var/lib/dpkg/arch" "$root/debootstrap"
"""
# While it is made: whatever is cut off is made anew, so nothing need be synced.
_HASTE = Path("etc/dpkg/dpkg.cfg.d/in-haste")


@dataclass(frozen=True)
class Recipe:
    """What an image is made of."""

    architecture: str
    packages: tuple[str, ...]
    store: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        text = repr((SUITE, self.packages, self.store, *self.scripts))
        return f"device-{SUITE}-{self.architecture}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


RECIPES: Mapping[str, Recipe] = {
    "amd64": Recipe("amd64", _PACKAGES, _STORE, (_SETTLE, _GATHER)),
    "arm64": Recipe("arm64", _FEW_PACKAGES, (), (_SETTLE, _SECOND_STAGE)),
}


def cache() -> Path:
    """Return where images and packages are kept from one run to the next."""
    given = os.environ.get("SKERRY_TEST_CACHE")
    place = Path(given) if given else Path.home() / ".cache" / "skerry-tests"
    place.mkdir(parents=True, exist_ok=True)
    return place


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the cache's lock of that name: other test runs wait."""
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def image(architecture: str = "amd64") -> Path:
    """Return the image's directory; make it first where it is not there yet."""
    recipe = RECIPES[architecture]
    place = cache() / recipe.name
    if place.is_dir():
        os.utime(place)
        return place
    with alone(recipe.name):
        if not place.is_dir():
            _make(recipe, place)
    return place


def _make(recipe: Recipe, place: Path) -> None:
    began = time.monotonic()
    _say(f"making the {recipe.architecture} device image (once; a minute, four under emulation)")
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _log_of(partial).unlink(missing_ok=True)
    _forget_old(place)
    try:
        _strap(recipe, partial)
        partial.rename(place)
        _log_of(partial).unlink()
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _say(f"the {recipe.architecture} device image is there, after {time.monotonic() - began:.0f} s")


def _forget_old(place: Path) -> None:
    """Delete images by other recipes; not what was used within the last day, which devices may be running on."""
    for old in place.parent.glob(f"device-{SUITE}-*"):
        if old.is_dir() and old.stat().st_mtime < time.time() - _KEPT_FOR:
            shutil.rmtree(old)


def _log_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.log")


def _strap(recipe: Recipe, place: Path) -> None:
    source = mirror.find(SUITE)
    foreign = recipe.architecture != mirror.own_architecture()
    command = ["debootstrap", "--variant=minbase", f"--arch={recipe.architecture}"]
    command += [f"--include={','.join(recipe.packages)}", *(["--foreign"] if foreign else [])]
    command += [f"--keyring={source.keyring}"] if source.keyring else []
    (place / _HASTE).parent.mkdir(parents=True)
    (place / _HASTE).write_text("force-unsafe-io\n", encoding="utf-8")
    _run_apart(place, *command, SUITE, str(place), source.address)
    if foreign:
        with emulation(recipe.architecture):
            _run_apart(place, "sh", "-c", _SECOND_STAGE, "second-stage", str(place))
            _finish(recipe, place)
    else:
        _finish(recipe, place)


def _finish(recipe: Recipe, place: Path) -> None:
    if recipe.store:
        _run_apart(place, "chroot", str(place), "sh", "-c", _GATHER, "gather", *recipe.store)
    _run_apart(place, "chroot", str(place), "sh", "-c", _SETTLE)
    for name in ("var/cache/apt/archives", "var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin"):
        with suppress(FileNotFoundError):
            path = place / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (place / "var/cache/apt/archives/partial").mkdir(parents=True)
    (place / _HASTE).unlink()


def _run_apart(place: Path, *command: str) -> None:
    """Run it where what it mounts, and what it starts, is gone when it ends."""
    log = _log_of(place)
    apart = ["setpriv", "--pdeathsig", "KILL"]
    apart += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("ab") as output:
        done = subprocess.run(
            [*apart, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
        )
    if done.returncode:
        told = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise AssertionError(f"{' '.join(command[:2])} ended with {done.returncode}; it said last:\n{told}")


def _say(line: str) -> None:
    """Tell whoever runs the tests why nothing is seen to happen."""
    print(f"device bed: {line}", file=sys.__stderr__, flush=True)
