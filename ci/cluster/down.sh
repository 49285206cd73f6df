#!/usr/bin/env bash
# Takes the throw-away cluster away, whole or half made: containers, volumes, network, kubeconfig, and the Docker engine if
# this project started it. What is slow to build stays in the cache. With CLUSTER=current it does nothing.
#   ci/cluster/down.sh [--quiet]
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=env.sh
. "$HERE/env.sh"

# Only a Docker engine can take away the containers of one that was killed.
revive_engine() {
  if [[ -d $RUN ]] && ! engine_is_ours && [[ -n $(engine_orphans) || -e $CACHE/bridge ]]; then
    say "the Docker engine of this project was killed: starting it once more, to clean up"
    "$ROOT/ci/docker/engine.sh" up || explained
    # shellcheck source=env.sh
    . "$HERE/env.sh"
  fi
}

take_down() {
  revive_engine
  if have docker && docker info >/dev/null 2>&1; then
    step "removing the cluster" remove_cluster
  fi
  rm -f "$STATE"/kubeconfig "$STATE"/kubeconfig.lock "$STATE/kind.yaml"
  "$ROOT/ci/docker/engine.sh" down || explained
}

main() {
  if [[ $CLUSTER == current ]]; then
    say "CLUSTER=current: your cluster is left as it is"
    return
  fi
  locked cluster take_down
  "$HERE/leftovers.sh" || explained
  [[ ${1:-} == --quiet ]] ||
    say "nothing of the cluster is left; what was built stays in $CACHE ($(du -sh "$CACHE" 2>/dev/null | cut -f1)), remove it with: make cache-clean"
}

main "$@"
