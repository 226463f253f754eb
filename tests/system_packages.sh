#!/bin/sh
# Installs the system packages that some tests use, as root on Debian; elsewhere those tests skip.
set -eu
wanted=""
command -v setpriv >/dev/null 2>&1 || wanted="$wanted util-linux"
command -v ip >/dev/null 2>&1 || wanted="$wanted iproute2"
command -v redis-server >/dev/null 2>&1 || wanted="$wanted redis-server"
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $wanted >/dev/null
else
  echo "missing, so that some tests will be skipped:$wanted"
fi
