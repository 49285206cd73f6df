#!/usr/bin/env bash
# Shows zen-lead on a cluster, or takes away what that left. Called by make, which has built helm (and kind).
#   test/demo/demo.sh up
#   test/demo/demo.sh down
# With CLUSTER=current the images are pulled by your cluster, and these name them:
#   IMAGE          the controller's; by default the chart's own
#   AGNHOST_IMAGE  the application's; by default Kubernetes' own
#   TRAFFIC_IMAGE  the traffic client's; it is published nowhere, so push bin/images/traffic.tar and name it
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../ci/cluster/env.sh
. "$HERE/../../ci/cluster/env.sh"
cd "$ROOT"

# What failed has said so itself.
explained() {
  # shellcheck disable=SC2034 # lib.sh reads it
  EXPLAINED=yes
  exit 1
}

PART_OF=app.kubernetes.io/part-of=zen-lead-demo
SYSTEM=zen-lead-system

# Sets the arguments of the demo program.
images_of_kind() {
  local id
  ci/images.sh >/dev/null
  ci/cluster/load.sh bin/images/{zen-lead,agnhost,traffic}.tar
  id=$(sha256sum bin/images/zen-lead.tar | cut -c1-12)
  IMAGES=(--image-id "$id" --agnhost-image "$(default_agnhost)")
}

images_of_current() {
  [[ -n ${TRAFFIC_IMAGE:-} ]] ||
    die "TRAFFIC_IMAGE is not set: your cluster must be able to pull the traffic client" \
      "Run make images, push bin/images/traffic.tar to a registry of yours, and name it: TRAFFIC_IMAGE=<repository>:<tag>"
  IMAGES=(--image "${IMAGE:-}" --agnhost-image "${AGNHOST_IMAGE:-$(default_agnhost)}" --traffic-image "$TRAFFIC_IMAGE")
}

default_agnhost() { echo "registry.k8s.io/e2e-test-images/agnhost:$(ci/cluster/agnhost.sh version)"; }

up() {
  ci/cluster/up.sh || explained
  . ci/cluster/env.sh # there may be a Docker engine of ours now
  "images_of_$CLUSTER"
  step "building the demo" env CGO_ENABLED=0 go build -trimpath -o bin/demo ./test/demo
  exec bin/demo --work "${STATE#"$ROOT/"}" "${IMAGES[@]}"
}

answers() { have kubectl && kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; }

owned() { kubectl get namespaces --selector "$PART_OF" --output name; }

uninstall() {
  local namespaces
  mapfile -t namespaces < <(owned)
  if [[ " ${namespaces[*]} " == *" namespace/$SYSTEM "* ]]; then
    step "uninstalling zen-lead" helm uninstall zen-lead --namespace "$SYSTEM" --ignore-not-found --wait --timeout 1m
  fi
  # The throw-away cluster takes its namespaces along.
  [[ ${#namespaces[@]} -eq 0 || $CLUSTER == kind ]] || step "deleting ${namespaces[*]}" kubectl delete "${namespaces[@]}" --timeout 2m
}

down() {
  if answers; then
    # A throw-away cluster goes anyway: that it cannot be tidied must not keep it.
    uninstall || [[ $CLUSTER == kind ]]
  elif [[ $CLUSTER == current ]]; then
    die "your cluster does not answer" "Try: kubectl version"
  fi
  rm -rf "$STATE/demo" "$STATE/demo-logs"
  ci/cluster/down.sh || explained
}

case ${1:-} in
  up | down) "$1" ;;
  *) die "usage: test/demo/demo.sh up|down" ;;
esac
