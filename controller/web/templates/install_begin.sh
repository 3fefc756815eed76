{# What /install.sh serves: it takes the token off its command line, and goes on as install.sh, which it holds. -#}
#!/bin/sh
# Installs the Skerry agent {{ version }} and joins this device to the cluster {{ cluster }}.
#
#   curl -fsSL {{ trust ~ " " if trust }}https://{{ address }}/install.sh | sudo sh -s -- --token TOKEN --ca-pin sha256:PIN
#
# Nothing is placed before the controller has proved who it is and has taken the token; whatever stops it earlier leaves
# the device as it was.
set -eu
umask 022

fail() {
  printf 'ERROR: %s\n' "$1" >&2
  exit 1
}

# ps shows to everybody what a program was called with, and the token may be good for others still. So the token goes
# into a file of root's at once, and what takes its time is another script, which is told the file.
main() {
  token='' expects=''
  for option in "$@"; do
    shift
    if [ -n "$expects" ]; then
      token=$option expects=''
      continue
    fi
    case "$option" in
      --token) expects=token ;;
      --token=*) token=${option#--token=} ;;
      *) set -- "$@" "$option" ;;
    esac
  done
  temporary=${TMPDIR:-/var/tmp}
  [ "$(id -u)" = 0 ] || [ -w "$temporary" ] || fail "this needs root: run it as '… | sudo sh -s -- …'"
  work=$(mktemp -d "$temporary/skerry-install.$$.XXXXXX") || fail "cannot make a directory in $temporary"
  trap 'rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  case "$token" in
    '') ;;
    /* | ./*) set -- "$@" --token "$token" ;;
    *)
      (umask 077 && printf '%s\n' "$token" >"$work/token") || fail "cannot write to $work: is the disk full?"
      set -- "$@" --token "$work/token"
      ;;
  esac
  cat >"$work/install.sh" <<'END_OF_INSTALL_SH' || fail "cannot write to $work: is the disk full?"
{% include "install.sh" +%}
END_OF_INSTALL_SH
  exec sh "$work/install.sh" "$work" "$@"
}

main "$@"
