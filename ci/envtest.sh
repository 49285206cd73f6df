#!/usr/bin/env bash
# Prints a directory with kube-apiserver, etcd, kube-controller-manager and kubectl, for KUBEBUILDER_ASSETS. In this order:
# KUBEBUILDER_ASSETS if it is complete, what an earlier run built or downloaded, a download, a build from the Go modules.
set -euo pipefail
# shellcheck source=cluster/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster/lib.sh"

NEEDED=(kube-apiserver etcd kube-controller-manager kubectl)
KUBERNETES=$ROOT/test/kubernetes

complete() {
  local name
  for name in "${NEEDED[@]}"; do [[ -x $1/$name ]] || return 1; done
}

# The archives that setup-envtest knows lack the controller-manager, which the release site has.
release_url() {
  echo "https://dl.k8s.io/$1/bin/$(go env GOOS)/$(go env GOARCH)/kube-controller-manager"
}

can_download() {
  have curl && curl -fsSL --connect-timeout 5 --max-time 20 -o /dev/null "$(release_url "$1").sha256" 2>/dev/null &&
    make -C "$ROOT" --no-print-directory bin/setup-envtest >&2
}

# A chain: whoever calls this goes on when it fails, and bash then stops at no failure in between.
download() {
  # Not every patch release has an archive; the API server of any patch of this minor version serves.
  local version=$1 minor=${1%.*} dir=$2 assets tmp=$2.partial url
  url=$(release_url "$version") &&
    assets=$(timeout 300 "$ROOT/bin/setup-envtest" use --bin-dir "$CACHE/envtest" -p path "${minor#v}.x") &&
    rm -rf "$tmp" "$dir" && mkdir -p "$tmp" &&
    cp "$assets"/{kube-apiserver,etcd,kubectl} "$tmp" &&
    curl -fsSL --max-time 300 -o "$tmp/kube-controller-manager" "$url" &&
    echo "$(curl -fsSL --max-time 30 "$url.sha256")  $tmp/kube-controller-manager" | sha256sum --check --quiet &&
    chmod +x "$tmp/kube-controller-manager" &&
    mv -T "$tmp" "$dir"
}

main() {
  if [[ -n ${KUBEBUILDER_ASSETS:-} ]] && complete "$KUBEBUILDER_ASSETS"; then
    echo "$KUBEBUILDER_ASSETS"
    return
  fi
  need_go
  local version downloaded
  version=$("$KUBERNETES/build.sh" version)
  downloaded=$CACHE/envtest/assets-$version-$(go env GOARCH)
  if ! complete "$downloaded" && ! "$KUBERNETES/build.sh" cached && can_download "$version"; then
    locked envtest step "downloading the API server and etcd of Kubernetes $version" download "$version" "$downloaded" ||
      warn "the download failed; building instead"
  fi
  if complete "$downloaded"; then echo "$downloaded"; else "$KUBERNETES/build.sh"; fi
}

main
