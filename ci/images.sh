#!/usr/bin/env bash
# Builds image archives into bin/images: ci/images.sh [zen-lead] [traffic] [agnhost], all three without an argument.
# Needs bin/image, which make images provides. IMAGE_ARCH=amd64|arm64 chooses another architecture than this machine's for
# the first two; agnhost is always this machine's. IMAGES_DIR is where else the archives go.
# No base image and no container engine is needed; the same sources give the same bytes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  printf 'ci/images.sh: %s\n' "$*" >&2
  exit 2
}

source_url=https://github.com/kube-zen/zen-lead
version=$(awk '$1 == "appVersion:" {print $2}' charts/zen-lead/Chart.yaml)
arch=${IMAGE_ARCH:-$(go env GOARCH)}
images=${IMAGES_DIR:-bin/images}
staging=$images/linux-$arch

compile() { # compile NAME PACKAGE [LDFLAGS]
  printf 'Building %s for linux/%s\n' "$1" "$arch" >&2
  CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w ${3:-}" -o "$staging/$1" "$2"
}

pack() { # pack BINARY REFERENCE DESCRIPTION [FLAGS...]
  local binary=$1 reference=$2 description=$3
  shift 3
  bin/image -binary "$binary" -name "$reference" -output "$images/${binary##*/}.tar" \
    -label "org.opencontainers.image.title=${binary##*/}" \
    -label "org.opencontainers.image.description=$description" \
    -label "org.opencontainers.image.version=${reference##*:}" \
    -label "org.opencontainers.image.source=$source_url" \
    -label "org.opencontainers.image.licenses=Apache-2.0" \
    "$@"
}

image_zen-lead() {
  compile zen-lead ./src/cmd/zen-lead "-X main.version=$version"
  pack "$staging/zen-lead" "ghcr.io/kube-zen/zen-lead:$version" \
    "Routes a Service to exactly one Ready pod" -port 8080 -port 8081
}

image_traffic() {
  compile traffic ./test/traffic
  pack "$staging/traffic" zen-lead.io/traffic:dev "Client that opens a new connection every few milliseconds"
}

# Kubernetes' own test image: the same entrypoint, default argument, ports and upload directory, but neither root nor a
# shell nor the tools of its Alpine base.
image_agnhost() {
  local binary version
  binary=$(ci/cluster/agnhost.sh)
  version=$(ci/cluster/agnhost.sh version)
  pack "$binary" "registry.k8s.io/e2e-test-images/agnhost:$version" "Kubernetes' test program agnhost" \
    -cmd pause -dir /tmp -dir /uploads -port 80 -port 8080 -port 8081 -port 9376 -port 5000
}

for image in "${@:-zen-lead traffic agnhost}"; do
  for name in $image; do
    declare -F "image_$name" >/dev/null || die "unknown image $name; known are zen-lead, traffic and agnhost"
    "image_$name"
  done
done
