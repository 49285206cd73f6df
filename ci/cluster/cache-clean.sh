#!/usr/bin/env bash
# Removes the cache of this project: the next cluster-up or test compiles Kubernetes again.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

! engine_is_ours || die "the Docker engine of this project still runs, and its data is in the cache" "Run: make cluster-down"
for part in docker envtest kubernetes node agnhost prometheus; do
  rm -rf --one-file-system "${CACHE:?}/$part"
done
rm -f "$CACHE"/*.lock "$CACHE"/*.log
rmdir --ignore-fail-on-non-empty "$CACHE" 2>/dev/null || true
say "removed the cache, $CACHE"
