#!/usr/bin/env bash
# Makes a chart repository: the packaged chart and an index, beside what is in the directory from before.
#
#   CHART_REPO_DIR   the directory; default bin/chart-repo
#   CHART_REPO_URL   where it will be served; without, the index names packages relative to itself
#   HELM_SIGN_KEY    name of the key that signs the package, and HELM_KEYRING, the file with it: both or neither.
#                    HELM_PASSPHRASE_FILE holds its passphrase; without, Helm asks if there is one.
#   ARTIFACTHUB_ID   what Artifact Hub calls this repository (its control panel says), to prove to it that it is ours
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

chart=charts/zen-lead
dir=${CHART_REPO_DIR:-bin/chart-repo}
url=${CHART_REPO_URL:-}
key=${HELM_SIGN_KEY:-}
keyring=${HELM_KEYRING:-}
artifacthub_id=${ARTIFACTHUB_ID:-}

die() {
  printf 'ci/chart-repo.sh: %s\n' "$*" >&2
  exit 1
}

field() { awk -v name="$1:" '$1 == name {print $2; exit}' "$chart/Chart.yaml"; }

check() {
  [[ -x bin/helm ]] || die "there is no bin/helm: run make bin/helm"
  [[ -z $key || -n $keyring ]] || die "HELM_SIGN_KEY is $key, but HELM_KEYRING is empty: set it to the file with that key"
  [[ -n $key || -z $keyring ]] || die "HELM_KEYRING is $keyring, but HELM_SIGN_KEY is empty: set it to the name of the key"
  [[ -z $artifacthub_id || $artifacthub_id =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]] ||
    die "ARTIFACTHUB_ID is $artifacthub_id, which is no UUID: copy the ID that Artifact Hub's control panel shows for the repository"
  [[ -z $keyring || -r $keyring ]] || die "HELM_KEYRING $keyring cannot be read"
}

package() {
  local args=(--destination "$dir")
  if [[ -n $key ]]; then
    args+=(--sign --key "$key" --keyring "$keyring")
    [[ -z ${HELM_PASSPHRASE_FILE:-} ]] || args+=(--passphrase-file "$HELM_PASSPHRASE_FILE")
  fi
  # A signature of an earlier package would not fit this one.
  rm -f "$archive.prov"
  bin/helm package "$chart" "${args[@]}" >/dev/null
  [[ -s $archive ]] || die "helm package made no $archive"
}

index() {
  local args=()
  [[ -z $url ]] || args+=(--url "$url")
  [[ ! -f $dir/index.yaml ]] || args+=(--merge "$dir/index.yaml")
  bin/helm repo index "$dir" "${args[@]}"
}

# Artifact Hub looks for it beside the index. One from before stays: somebody may have added owners to claim.
metadata() {
  if [[ -n $artifacthub_id ]]; then
    printf 'repositoryID: %s\n' "$artifacthub_id" >"$dir/artifacthub-repo.yml"
  fi
}

check
mkdir -p "$dir"
archive=$dir/$(field name)-$(field version).tgz
package
index
metadata
if [[ -n $key ]]; then
  printf 'Packaged %s and signed it as %s: %s.prov\n' "$archive" "$key" "$archive"
else
  printf 'Packaged %s, unsigned: set HELM_SIGN_KEY and HELM_KEYRING to sign it\n' "$archive"
fi
printf 'Indexed %d packages in %s/index.yaml for %s\n' "$(find "$dir" -name '*.tgz' | wc -l)" "$dir" "${url:-any address}"
