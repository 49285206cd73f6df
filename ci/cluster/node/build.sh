#!/usr/bin/env bash
# Prints the directory with what a node image made from nothing runs besides Kubernetes: containerd, its shim and ctr, the CNI
# plugins, CoreDNS, pause and podnet. Builds them if the cache has none of these sources.
#   ci/cluster/node/build.sh
#   ci/cluster/node/build.sh path   the same line, without building
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$HERE/../lib.sh"

compile() {
  cd "$HERE"
  # Snapshotters that a kind node never selects.
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -tags no_btrfs,no_devmapper,no_zfs -o "$1/" tool ./coredns ./pause ./podnet
}

build() {
  local dir=$1 tmp
  [[ -x $dir/podnet ]] && return
  mkdir -p "$CACHE/node"
  tmp=$(mktemp -d "$CACHE/node/.build-XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$tmp'" EXIT
  step "compiling containerd, the CNI plugins and CoreDNS (about 5 minutes on 2 cores the first time)" compile "$tmp"
  chmod 755 "$tmp"
  mv -T "$tmp" "$dir"
}

need_go
dir=$CACHE/node/binaries-$(content_key "$HERE"/go.mod "$HERE"/go.sum "$HERE"/*/*.go)
[[ ${1:-} == path || -x $dir/podnet ]] || locked node-binaries build "$dir"
echo "$dir"
