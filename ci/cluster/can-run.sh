#!/usr/bin/env bash
# Tells whether this machine can run the throw-away cluster: exits with 0, or prints the one reason why not and exits with 1.
# It changes nothing. Tests that need nodes ask it, and are skipped by name with its reason.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

CAP_NET_ADMIN=12
CAP_SYS_ADMIN=21

no() {
  # shellcheck disable=SC2034 # lib.sh reads it: this end is explained
  EXPLAINED=yes
  printf '%s\n' "$*"
  exit 1
}

has_capability() {
  local effective
  effective=$(awk '/^CapEff:/ {print $2}' /proc/self/status)
  (((16#$effective >> $1) & 1))
}

[[ $(uname -s) == Linux ]] || no "this is not Linux: set CLUSTER=current to use a cluster of yours"
available=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
((available >= 1500)) || no "only $available MiB of memory are free, and three nodes take about 1000 MiB"
if have docker && docker info >/dev/null 2>&1; then exit 0; fi
[[ -z ${DOCKER_HOST:-} ]] || no "the Docker engine that DOCKER_HOST names, $DOCKER_HOST, does not answer"
[[ $(id -u) == 0 && -e /etc/debian_version ]] ||
  no "no Docker engine answers, and the project starts one of its own only for root on Debian"
if ! has_capability $CAP_SYS_ADMIN || ! has_capability $CAP_NET_ADMIN; then
  no "no Docker engine answers, and root here may not start one: CAP_SYS_ADMIN or CAP_NET_ADMIN is withheld"
fi
