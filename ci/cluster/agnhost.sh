#!/usr/bin/env bash
# Prints the path of Kubernetes' test program agnhost, a static binary; builds it from the Kubernetes module if the cache lacks it.
#   ci/cluster/agnhost.sh
#   ci/cluster/agnhost.sh version   the tag of its image for this version of Kubernetes, without building
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MODULE=$ROOT/test/kubernetes
PACKAGE=k8s.io/kubernetes/test/images/agnhost

version() { cat "$(cd "$MODULE" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images/agnhost/VERSION"; }

compile() {
  cd "$MODULE"
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.Version=$2" -o "$1.partial" "$PACKAGE"
  mv "$1.partial" "$1"
}

build() {
  [[ -x $1 ]] && return
  mkdir -p "$(dirname "$1")"
  step "compiling agnhost $2 (seconds once Kubernetes is compiled, else about 3 minutes on 2 cores)" compile "$1" "$2"
}

need_go
(cd "$MODULE" && go mod download k8s.io/kubernetes)
version=$(version)
if [[ ${1:-} == version ]]; then
  echo "$version"
  exit
fi
binary=$CACHE/agnhost/$version-$(content_key "$MODULE/go.mod" "$MODULE/go.sum")/agnhost
[[ -x $binary ]] || locked agnhost build "$binary" "$version"
echo "$binary"
