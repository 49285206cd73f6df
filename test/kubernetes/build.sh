#!/usr/bin/env bash
# Prints the directory that holds the Kubernetes binaries of this module; builds them if the cache has none of these sources.
#   test/kubernetes/build.sh           kube-apiserver, etcd, kubectl, ... (symbolic links to one binary)
#   test/kubernetes/build.sh cached    only says, by its exit code, whether that would be immediate
#   test/kubernetes/build.sh path      the same line, without building
#   test/kubernetes/build.sh version   the Kubernetes version, without building
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../ci/cluster/lib.sh
. "$HERE/../../ci/cluster/lib.sh"

COMPONENTS=(etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubeadm kubectl kubelet)
VERSION=$(awk '$1 == "k8s.io/kubernetes" && $2 ~ /^v/ {print $2; exit}' "$HERE/go.mod")

compile() {
  local minor=${VERSION#v1.} pkg=k8s.io/component-base/version
  minor=${minor%%.*}
  cd "$HERE"
  CGO_ENABLED=0 go build -trimpath -o "$1" \
    -ldflags "-s -w -X $pkg.gitVersion=$VERSION -X $pkg.gitMajor=1 -X $pkg.gitMinor=$minor" .
}

build() {
  local dir=$1 tmp name
  [[ -x $dir/kubernetes ]] && return
  mkdir -p "$CACHE/kubernetes"
  tmp=$(mktemp -d "$CACHE/kubernetes/.build-XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf '$tmp'" EXIT
  step "compiling Kubernetes $VERSION (about 9 minutes on 2 cores the first time; this machine has $(cores))" \
    compile "$tmp/kubernetes"
  for name in "${COMPONENTS[@]}"; do ln -s kubernetes "$tmp/$name"; done
  chmod 755 "$tmp"
  mv -T "$tmp" "$dir"
}

need_go
dir=$CACHE/kubernetes/$VERSION-$(content_key "$HERE"/go.mod "$HERE"/go.sum "$HERE"/*.go)
case ${1:-} in
  path) echo "$dir" ;;
  version) echo "$VERSION" ;;
  cached) [[ -x $dir/kubernetes ]] || exit 1 ;;
  "")
    [[ -x $dir/kubernetes ]] || locked kubernetes build "$dir"
    echo "$dir"
    ;;
  *) die "test/kubernetes/build.sh: unknown argument $1" "See the head of that file." ;;
esac
