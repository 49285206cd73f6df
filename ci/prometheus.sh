#!/usr/bin/env bash
# What the tests need of Prometheus, from the Go modules that ci/prometheus/go.mod pins.
#   ci/prometheus.sh build   bin/prometheus and bin/promtool; compiled once for each content of go.mod, then cached
#   ci/prometheus.sh crds    prints the directory with the Prometheus Operator's CRDs
set -euo pipefail
# shellcheck source=cluster/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster/lib.sh"

MODULE=$ROOT/ci/prometheus
OPERATOR=github.com/prometheus-operator/prometheus-operator
PROMETHEUS=github.com/prometheus/prometheus

compile() { # compile DIRECTORY
  cd "$MODULE"
  CGO_ENABLED=0 go build -trimpath -tags remove_all_sd -ldflags "-s -w -X github.com/prometheus/common/version.Version=$(module_version)" \
    -o "$1/" "$PROMETHEUS/cmd/prometheus" "$PROMETHEUS/cmd/promtool"
}

module_version() {
  cd "$MODULE"
  go list -m -f '{{.Version}}' "$PROMETHEUS"
}

fill_cache() { # fill_cache DIRECTORY
  [[ ! -x $1/promtool ]] || return 0
  local tmp
  mkdir -p "$CACHE/prometheus"
  tmp=$(mktemp -d "$CACHE/prometheus/.build-XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$tmp'" EXIT
  step "compiling Prometheus $(module_version) (about 2 minutes on 2 cores the first time; this machine has $(cores))" compile "$tmp"
  chmod 755 "$tmp"
  mv -T "$tmp" "$1"
}

build() {
  local cached name
  cached=$CACHE/prometheus/$(content_key "$MODULE/go.mod" "$MODULE/go.sum" "${BASH_SOURCE[0]}")
  [[ -x $cached/promtool ]] || locked prometheus fill_cache "$cached"
  mkdir -p "$ROOT/bin"
  for name in prometheus promtool; do
    ln -f "$cached/$name" "$ROOT/bin/$name" 2>/dev/null || cp -f "$cached/$name" "$ROOT/bin/$name"
    touch "$ROOT/bin/$name" # make compares times
  done
}

crds() {
  local dir
  cd "$MODULE"
  go mod download "$OPERATOR"
  dir=$(go list -m -f '{{.Dir}}' "$OPERATOR")/example/prometheus-operator-crd
  [[ -d $dir ]] || die "$OPERATOR has no directory example/prometheus-operator-crd" "ci/prometheus/go.mod pins its version."
  echo "$dir"
}

need_go
case ${1:-} in
  build) build ;;
  crds) crds ;;
  *) die "ci/prometheus.sh: unknown argument ${1:-}" "usage: ci/prometheus.sh build|crds" ;;
esac
