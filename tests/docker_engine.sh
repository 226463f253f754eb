#!/bin/sh
# Starts a Docker engine for the tests, as root, unless one is there: never a second beside it,
# which would take the first one's bridge away. It stays up; its pid is in $MARK, as a sign that
# the tests may restart it. `stop` and `kill` end that engine and no other.
set -eu
MARK=/run/uaol-tests-dockerd.pid
SETTINGS=/run/uaol-tests-dockerd.json
CONTAINERD=/var/run/docker/containerd/containerd.pid
LOG=/var/log/uaol-tests-dockerd.log
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

alive() { grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null; }

answers() { docker version >/dev/null 2>&1; }

runs() {
  for process in /proc/[0-9]*; do
    { read -r name <"$process/comm"; } 2>/dev/null && [ "$name" = dockerd ] &&
      alive "${process#/proc/}" && return 0
  done
  return 1
}

ours() {
  [ -f "$MARK" ] && read -r pid <"$MARK" &&
    read -r name 2>/dev/null <"/proc/$pid/comm" && [ "$name" = dockerd ]
}

until_ready() {
  tries=0
  until answers; do
    tries=$((tries + 1))
    [ "$tries" -le 900 ] && alive "$1" || return 1
    sleep 0.1
  done
}

# with gVisor, where it is installed, unless the administrator has settings of his own
settings() {
  [ ! -e /etc/docker/daemon.json ] || return 0
  if runsc=$(command -v runsc); then
    printf '{"runtimes": {"runsc": {"path": "%s", "runtimeArgs": %s}}}' \
      "$runsc" '["--platform=ptrace", "--network=none"]' >"$SETTINGS"
  else
    echo '{}' >"$SETTINGS"
  fi
  echo "--config-file=$SETTINGS"
}

knows_gvisor() { docker info --format '{{json .Runtimes}}' | grep -q '"runsc"'; }

# an engine of ours that was there before gVisor was reads its settings once more
tell() {
  ours && command -v runsc >/dev/null && ! knows_gvisor || return 0
  settings >/dev/null
  kill -HUP "$pid"
  tries=0
  until knows_gvisor || [ "$tries" -ge 300 ]; do tries=$((tries + 1)) && sleep 0.1; done
}

launch() {
  # shellcheck disable=SC2046 # no option, or one
  set -- "$@" $(settings)
  setsid dockerd "$@" </dev/null >>"$LOG" 2>&1 9>&- &
  echo "$!" >"$MARK"
  until_ready "$!"
}

start() {
  answers && tell && return 0
  # two at once would start two
  exec 9>"$MARK.lock" && flock 9
  answers && return 0
  if runs; then
    until_ready 1 && return 0
    echo "a Docker engine runs but does not answer" && return 1
  fi
  command -v dockerd >/dev/null || { echo "there is no dockerd" && return 1; }
  # left by one that was killed; its number may be somebody else's by now
  rm -f /var/run/docker.pid
  launch && return 0
  # where there can be no firewall there is no bridge, and no sandbox needs one
  if tail -n 5 "$LOG" | grep -qi iptables; then
    launch --bridge=none --iptables=false --ip6tables=false && return 0
  fi
  echo "dockerd does not start: see $LOG" && return 1
}

end() {
  ours || { echo "this engine is not the tests' own" && return 1; }
  kill -"$1" "$pid"
  while alive "$pid"; do sleep 0.05; done
  # its containerd ends with it, a moment later
  containerd=$(cat "$CONTAINERD" 2>/dev/null) || containerd=none
  tries=0
  while alive "$containerd" && [ "$tries" -le 1200 ]; do tries=$((tries + 1)) && sleep 0.05; done
  # nobody may have reaped the two yet: their pid files would then keep the next engine out
  alive "$containerd" || rm -f "$CONTAINERD"
  [ "$(cat /var/run/docker.pid 2>/dev/null)" != "$pid" ] || rm -f /var/run/docker.pid
  rm -f "$MARK"
}

case "${1:-start}" in
  start) start ;;
  stop) end TERM ;;
  kill) end KILL ;;
  ours) ours ;;
esac
