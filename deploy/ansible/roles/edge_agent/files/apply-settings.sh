# Restarts the agent with the settings that have been written, and puts the ones of before back where it was online with
# those and is not with these: whoever changed them may have come through the agent's own tunnel, and has no other way.
#   sh apply-settings.sh SETTINGS SECONDS      SETTINGS.before is what stood there, SETTINGS.refused what was no good
set -eu
settings=$1
was_online=false
if edge-agent status >/dev/null 2>&1; then was_online=true; fi

uptime() {
  read -r seconds _ </proc/uptime
  echo "${seconds%%.*}"
}

is_online() {
  systemctl restart skerry-agent.service || return 1
  end=$(($(uptime) + $1))
  until edge-agent status >/dev/null 2>&1; do
    [ "$(uptime)" -lt "$end" ] || return 1
    sleep 1
  done
}

rm -f "$settings.refused"
if ! is_online "$2" && $was_online; then
  cp -p "$settings" "$settings.refused"
  mv "$settings.before" "$settings"
  systemctl restart skerry-agent.service || true
fi
rm -f "$settings.before" "$0"
