#!/bin/sh
# The second part of what /install.sh serves, begun by the first: sh install.sh DIRECTORY OPTIONS. DIRECTORY holds it, and
# goes when it ends.
set -eu
umask 022

controller={{ address|sh }}
cluster={{ cluster|sh }}
version={{ version|sh }}
trust={{ trust|sh }}
log=/var/log/skerry-install.log

fail() {
  printf 'ERROR: %s\n' "$1" >&2
  exit 1
}

usage() {
  cat <<END
Usage: sh install.sh --token TOKEN [--ca-pin sha256:PIN] [--nodename NAME] [--labels a=b,c=d] [--no-start]

Installs the Skerry agent $version on this device, joins it to the cluster $cluster at $controller, and waits until
it is online. The options are those of edge-agent install.
END
}

# Sets archive, size and hash to those for this machine.
choose_archive() {
  machine=$(uname -m)
  case "$machine" in
{% for machines, archive in archives %}
    {{ machines|join("|") }}) archive={{ archive.name.file|sh }} version={{ archive.name.version|sh }} size={{ archive.size }} hash={{ archive.sha256|sh }} ;;
{% endfor %}
    *) fail "there is no archive of the agent for a machine of the kind $machine; see docs/devices.md" ;;
  esac
  if [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" != 64 ]; then
    fail "the kernel of this device is 64-bit ($machine) and its programs are 32-bit: there is no archive for that; see docs/devices.md"
  fi
}

check_system() {
  [ "$(uname -s)" = Linux ] || fail "this is $(uname -s), and the agent runs on Linux alone"
  [ "$(id -u)" = 0 ] || fail "this needs root: run it as '… | sudo sh -s -- …'"
  [ -d /run/systemd/system ] || fail "systemd does not run on this device, and the agent's service needs it; without it, start the agent by hand: see docs/devices.md"
  for tool in curl tar gzip sha256sum mktemp df stat grep; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is not installed on this device: install it, then run this again"
  done
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo none)
  case "$libc" in
    "glibc "2.2[89] | "glibc "2.[3-9][0-9] | "glibc "[3-9]*) ;;
    none) fail "this system has no GNU C library (it may be Alpine), and the archives are built for that" ;;
    *) fail "the C library of this system is $libc, and the archives need glibc 2.28 or newer" ;;
  esac
}

# Sets python to one that the archive has libraries for.
find_python() {
  found=
  for python in python3 python3.13 python3.12 python3.11; do
    command -v "$python" >/dev/null 2>&1 || continue
    if "$python" -c 'import sys, ssl, sqlite3, hashlib; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      python=$(command -v "$python")
      return
    fi
    found="$found $("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo unknown)"
  done
  [ -n "$found" ] || fail "there is no Python on this device: install python3, 3.11 to 3.13 (on Debian: apt-get install python3), then run this again"
  fail "the agent needs Python 3.11 to 3.13, and this device has$found: install one of those, then run this again"
}

# Removes what earlier runs have left that were killed, or lost power: of this user alone, and of none that still runs.
clear_leftovers() {
  for left in "${work%/*}"/skerry-install.*; do
    if [ "$left" = "$work" ] || [ -L "$left" ] || [ ! -d "$left" ] || [ "$(stat -c %u "$left")" != "$(id -u)" ]; then
      continue
    fi
    process=${left##*/skerry-install.}
    if grep -qsF "$left" "/proc/${process%%.*}/cmdline"; then
      continue
    fi
    rm -rf "$left"
  done
}

check_running() {
  printf '#!/bin/sh\n' >"$work/try" || fail "cannot write to $work: is the disk full?"
  chmod 755 "$work/try"
  "$work/try" 2>/dev/null || fail "no program can be run from ${work%/*} (it may be mounted noexec): run this again with another directory, as '… | sudo env TMPDIR=/root sh -s -- …'"
  rm "$work/try"
}

# Unpacked it takes about four times what it takes packed, here and where it is installed. What an installation that was
# cut off has left there is removed before it is installed, but after it is unpacked here: here it gives no room yet, be
# it the same disk or not.
check_space() {
  left=$(du -sck /opt/skerry/agent/.*.new 2>/dev/null | tail -n 1 | cut -f 1)
  for place in "$1" /opt /; do
    [ -d "$place" ] || continue
    free=$(df -Pk "$place" | while read -r _ _ _ free _; do echo "$free"; done | tail -n 1)
    if [ "$place" != "$1" ] && [ "$(stat -c %d "$place")" = "$(stat -c %d /opt/skerry/agent 2>/dev/null)" ]; then
      free=$((free + ${left:-0}))
    fi
    needed=$((size * 5 / 1024 + 16384))
    [ "$free" -ge "$needed" ] || fail "there is too little space on the disk: $place has $((free / 1024)) MiB free, and this takes $((needed / 1024)) MiB; nothing was changed"
  done
}

describe() {
  cat <<END
Skerry agent $version for the cluster $cluster at $controller. This will
  - download $archive ($(((size + 524288) / 1048576)) MiB) and check its SHA-256
  - join the cluster with the token, once the controller has proved that it is the one of the pin
  - put the agent into /opt/skerry/agent/$version, and /usr/local/bin/edge-agent as a link to it
  - write /etc/skerry/edge_agent.yaml, where there is none, and the service skerry-agent
  - start the service, now and whenever the device starts, and wait until the device is online
What is done stands in $log. To undo it: edge-agent remove --purge
END
}

# Links break: what has come is kept, and as long as more comes it goes on. Where the controller has too many to serve, it
# is asked again, for half an hour.
download() {
  had=-1 asked=0
  while :; do
    # shellcheck disable=SC2086 # the options for trust are several words
    if answer=$(curl -fsSL $trust --connect-timeout 30 --speed-limit 100 --speed-time 60 -C - -o "$1" -w '%{http_code}' "https://$controller/install/$archive"); then
      break
    fi
    if [ "$answer" = 503 ] && [ "$asked" -lt 180 ]; then
      asked=$((asked + 1))
      echo "The controller has no time for this download yet: asking again in 10 s"
      sleep 10
      continue
    fi
    has=$(wc -c <"$1" 2>/dev/null || echo 0)
    [ "$has" -lt "$size" ] || break
    [ "$has" -gt "$had" ] || fail "cannot download https://$controller/install/$archive: it broke off at $has of $size bytes; run this again"
    had=$has
    echo "The download broke off at $has of $size bytes: going on from there"
    sleep 2
  done
  echo "$hash  $1" | sha256sum -c - >/dev/null 2>&1 || fail "$archive is not what the controller announced (its SHA-256 differs); run this again, and if that does not help tell the admin"
}

main() {
  work=$1
  shift
  trap 'rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  for option in "$@"; do
    case "$option" in
      -h | --help)
        usage
        exit 0
        ;;
    esac
  done
  case " $* " in
    *" --token "*) ;;
    *) fail "a join token is needed: --token TOKEN (the admin makes one with 'tctl tokens add --type=node', or Add a device)" ;;
  esac
  check_system
  choose_archive
  find_python
  clear_leftovers
  check_space "${work%/*}"
  check_running
  describe
  download "$work/$archive"
  tar -xzf "$work/$archive" -C "$work" || fail "cannot unpack $archive in $work: is the disk full?"
  rm -f "$work/$archive"
  tree=$work/skerry-agent-$version
  ln -sfn "$python" "$tree/bin/python3"
  status=0
  "$tree/bin/edge-agent" install --controller "$controller" "$@" </dev/null || status=$?
  exit "$status"
}

main "$@"
