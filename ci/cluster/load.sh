#!/usr/bin/env bash
# Loads image archives (docker save format) into every node of the throw-away cluster.
#   ci/cluster/load.sh bin/images/*.tar
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[[ $# -gt 0 ]] || die "usage: ci/cluster/load.sh <archive>..."
[[ $CLUSTER == kind ]] ||
  die "images can be loaded only into the cluster that make cluster-up made" \
    "With CLUSTER=current push them to a registry that your cluster pulls from."
for archive in "$@"; do
  [[ -r $archive ]] || die "there is no image archive $archive" "Run: make images"
  step "loading ${archive##*/} into the nodes" kind load image-archive "$archive"
done
