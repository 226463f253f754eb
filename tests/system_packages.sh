#!/bin/sh
# Installs what some tests use of the system, as root on Debian, starts a Docker engine if there is
# none, and makes the sandbox's image; elsewhere those tests skip.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"
# another runtime for containers, which not every release of Debian has
runsc() {
  command -v runsc >/dev/null 2>&1 || ! apt-cache show runsc >/dev/null 2>&1 || echo " runsc"
}
wanted="$(runsc)"
command -v setpriv >/dev/null 2>&1 || wanted="$wanted util-linux"
command -v ip >/dev/null 2>&1 || wanted="$wanted iproute2"
command -v redis-server >/dev/null 2>&1 || wanted="$wanted redis-server"
command -v debootstrap >/dev/null 2>&1 || wanted="$wanted debootstrap"
if ! docker version >/dev/null 2>&1 && ! command -v dockerd >/dev/null 2>&1; then
  wanted="$wanted docker.io iptables"
fi
if [ -n "$wanted" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get -qq update
    wanted="$wanted$(runsc)"
    # the engine is started below, where the tests know that it is theirs
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
      apt-get -qq install -y --no-install-recommends $wanted >/dev/null
  else
    echo "missing, so that some tests will be skipped:$wanted"
  fi
fi
if [ "$(id -u)" = 0 ]; then
  tests/docker_engine.sh start &&
    "${PYTHON:-.venv/bin/python}" -m sandbox.image >/dev/null ||
    echo "so the tests on Docker will be skipped"
fi
