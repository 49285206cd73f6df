#!/usr/bin/env bash
# The steps of a release, each a make target: ci/release.sh check|build|push|index|publish
#   check    the tag is the chart's version, and the changelog has its section
#   build    bin/release: the controller for each architecture as binary and image archive, the list of its modules (SBOM,
#            CycloneDX), the chart, checksums. The same sources give the same binaries and images.
#   push     image and chart to the registry; what they are called there goes to $GITHUB_OUTPUT, if that is set
#   index    bin/release/pages: the index of all charts so far, whose packages are assets of the releases
#   publish  a release on GitHub with these files, and what the changelog says of the version
#
#   RELEASE_DIR        instead of bin/release
#   RELEASE_TAG        check, publish: v0.1.0
#   REGISTRY           push: where to, default ghcr.io/kube-zen; REGISTRY_USER and REGISTRY_PASSWORD log in, if they are set
#   HELM_KEYRING_BASE64, HELM_SIGN_KEY, HELM_PASSPHRASE   build: sign the chart, if they are set
#   CHART_INDEX_URL    index: where the index of the charts so far is; empty for the first release
#   ARTIFACTHUB_ID     index: see ci/chart-repo.sh
#   GH_TOKEN           publish: for gh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${RELEASE_DIR:-bin/release}
architectures=(amd64 arm64)
chart=charts/zen-lead
registry=${REGISTRY:-ghcr.io/kube-zen}
home=https://github.com/kube-zen/zen-lead
scratch=

die() {
  printf 'ci/release.sh: %s\n' "$*" >&2
  exit 1
}

clean_up() { [[ -z $scratch ]] || rm -rf --one-file-system "$scratch"; }

field() { awk -v name="$1:" '$1 == name {print $2; exit}' "$chart/Chart.yaml"; }

# The lines of a version's section, without its heading.
changes() {
  awk -v heading="## [$1]" 'index($0, heading) == 1 {on = 1; next} /^## |^\[/ {on = 0} on' CHANGELOG.md
}

has_entries() { [[ $'\n'$(changes "$1") == *$'\n- '* ]]; }

step_check() {
  local tag=${RELEASE_TAG:-}
  [[ -n $tag ]] || die "RELEASE_TAG is empty: set it to the tag that is released, such as v$version"
  [[ $tag == "v$version" ]] || die "the tag is $tag and the chart's version is $version: they must agree"
  has_entries "$version" || die "CHANGELOG.md has no entry in a section [$version]: write what has changed"
  ! has_entries Unreleased || die "CHANGELOG.md still has entries under Unreleased: move them to [$version]"
  printf '%s is ready to be released\n' "$tag"
}

build_controller() { # build_controller ARCHITECTURE
  local arch=$1 binary=$out/zen-lead-$version-linux-$1 serial
  IMAGE_ARCH=$arch IMAGES_DIR=$out/images/$arch ci/images.sh zen-lead
  cp "$out/images/$arch/linux-$arch/zen-lead" "$binary"
  # Whoever attests it wants a serial number; derived from the binary, it is the same each time.
  serial=$(sha256sum "$binary" | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-5\3-8\4-\5/')
  bin/cyclonedx-gomod bin -json -serial "$serial" -notimestamp -std -version "v$version" -output "$binary.cdx.json" "$binary"
}

build_chart() {
  if [[ -n ${HELM_KEYRING_BASE64:-} ]]; then
    base64 --decode <<<"$HELM_KEYRING_BASE64" >"$scratch/keyring" || die "HELM_KEYRING_BASE64 is not base64"
    export HELM_KEYRING=$scratch/keyring
    if [[ -n ${HELM_PASSPHRASE:-} ]]; then
      printf '%s' "$HELM_PASSPHRASE" >"$scratch/passphrase"
      export HELM_PASSPHRASE_FILE=$scratch/passphrase
    fi
  fi
  CHART_REPO_DIR=$scratch/charts ci/chart-repo.sh
  cp "$scratch/charts/$package"* "$out/"
}

step_build() {
  local arch
  [[ -x bin/cyclonedx-gomod ]] || die "there is no bin/cyclonedx-gomod: run make bin/cyclonedx-gomod"
  rm -rf --one-file-system "$out"
  mkdir -p "$out"
  for arch in "${architectures[@]}"; do build_controller "$arch"; done
  build_chart
  (cd "$out" && sha256sum -- *"$version"* >SHA256SUMS)
  cat "$out/SHA256SUMS"
}

# Helm's format is Docker's, which the image builder and the action that attests read too.
log_in() {
  local config=${DOCKER_CONFIG:-$HOME/.docker}/config.json
  export HELM_REGISTRY_CONFIG=$config
  [[ -n ${REGISTRY_PASSWORD:-} ]] || return 0
  bin/helm registry login "${registry%%/*}" --username "${REGISTRY_USER:?is empty: who pushes}" --password-stdin \
    "${plain[@]}" <<<"$REGISTRY_PASSWORD"
}

say_output() { # say_output NAME VALUE
  printf '%s=%s\n' "$1" "$2" | tee -a "${GITHUB_OUTPUT:-/dev/null}"
}

step_push() {
  local arch digest archives=() plain=()
  [[ -s $out/$package ]] || die "there is no $out/$package: run make release-build"
  # A registry on this machine, as tests use, has no certificate.
  [[ $registry != 127.0.0.1:* ]] || plain=(--plain-http)
  log_in
  for arch in "${architectures[@]}"; do archives+=("$out/images/$arch/zen-lead.tar"); done
  digest=$(bin/image push -name "$registry/zen-lead:$version" "${archives[@]}")
  say_output image "$registry/zen-lead"
  say_output image-digest "$digest"
  # The program is the same but for the architecture, and so are its modules.
  say_output sbom "$out/zen-lead-$version-linux-${architectures[0]}.cdx.json"
  digest=$(bin/helm push "$out/$package" "oci://$registry/charts" "${plain[@]}" 2>&1 | tee /dev/stderr | awk '$1 == "Digest:" {print $2}')
  [[ -n $digest ]] || die "helm push gave no digest of the chart"
  say_output chart "$registry/charts/zen-lead"
  say_output chart-digest "$digest"
}

step_index() {
  local pages=$out/pages merge=()
  [[ -s $out/$package ]] || die "there is no $out/$package: run make release-build"
  mkdir -p "$pages" "$scratch/new"
  [[ -n ${CHART_INDEX_URL:-} || -z $(git tag --list 'v*' | grep -vx "v$version") ]] ||
    die "CHART_INDEX_URL is empty, and there are releases before v$version: without it their charts would get lost"
  if [[ -n ${CHART_INDEX_URL:-} ]]; then
    curl --fail --silent --show-error --location --retry 3 --output "$scratch/old.yaml" "$CHART_INDEX_URL/index.yaml" ||
      die "there is no $CHART_INDEX_URL/index.yaml: it lists the charts so far, and must not get lost. For the first release leave CHART_INDEX_URL empty"
    merge=(--merge "$scratch/old.yaml")
  fi
  cp "$out/$package" "$scratch/new/"
  bin/helm repo index "$scratch/new" --url "$home/releases/download/v$version" "${merge[@]}"
  cp "$scratch/new/index.yaml" "$pages/"
  [[ -z ${ARTIFACTHUB_ID:-} ]] || printf 'repositoryID: %s\n' "$ARTIFACTHUB_ID" >"$pages/artifacthub-repo.yml"
}

step_publish() {
  step_check
  changes "$version" >"$scratch/notes.md"
  gh release create "$RELEASE_TAG" --verify-tag --title "$RELEASE_TAG" --notes-file "$scratch/notes.md" \
    --prerelease="$([[ $version == *-* ]] && echo true || echo false)" "$out/SHA256SUMS" "$out"/*"$version"*
}

version=$(field version)
package=zen-lead-$version.tgz
step=${1:-}
declare -F "step_$step" >/dev/null || die "usage: ci/release.sh check|build|push|index|publish"
scratch=$(mktemp -d) # for nobody else to read
trap clean_up EXIT
"step_$step"
