#!/usr/bin/env bash
# Runs rows of the failure matrix; called by make, which has built helm (and kind).
#   test/e2e/e2e.sh [--fast] [REGEXP]   --fast: the few rows that make test runs
# It leaves the cluster up. CLUSTER=current takes AGNHOST_IMAGE and TRAFFIC_IMAGE, as the demo does.
set -euo pipefail
# shellcheck source=../../ci/cluster/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../ci/cluster/env.sh"
cd "$ROOT"

# How many of the rows that leave nodes alone run at once: they wait more than they work. More than there are cores are felt
# by the clients: requests time out because nobody had the time.
have_cores=$(cores)
at_once=${AT_ONCE:-$((have_cores < 4 ? have_cores : 4))}

fast=false
if [[ ${1:-} == --fast ]]; then
  fast=true
  shift
fi
rows=${1:-}
agnhost=${AGNHOST_IMAGE:-registry.k8s.io/e2e-test-images/agnhost:$(ci/cluster/agnhost.sh version)}
traffic=${TRAFFIC_IMAGE:-zen-lead.io/traffic:dev}

ci/cluster/up.sh || explained
. ci/cluster/env.sh # there may be a Docker engine of ours now
if [[ $CLUSTER == kind ]]; then
  step "building the images" ci/images.sh
  ci/cluster/load.sh bin/images/{zen-lead,agnhost,traffic}.tar
elif [[ -z ${TRAFFIC_IMAGE:-} ]]; then
  die "TRAFFIC_IMAGE is not set: your cluster must be able to pull the traffic client" \
    "Run make images, push bin/images/traffic.tar to a registry of yours, and name it: TRAFFIC_IMAGE=<repository>:<tag>"
fi
step "compiling the rows" env CGO_ENABLED=0 go test -c -trimpath -o bin/e2e.test ./test/e2e
export ZEN_LEAD_E2E="{\"Root\": \"$ROOT\", \"Cluster\": \"$CLUSTER\", \"Fast\": $fast, \"AgnhostImage\": \"$agnhost\", \"TrafficImage\": \"$traffic\"}"
# In this process's place: an interrupt reaches the rows, which clean up.
exec bin/e2e.test -test.v -test.timeout 60m -test.parallel "$at_once" -test.run "^TestRows\$${rows:+/($rows)}"
