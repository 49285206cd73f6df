#!/usr/bin/env bash
# chart-testing (ct) on the chart: ci/ct.sh lint|install [--values NAME[,NAME...]]
#   lint      helm lint, yamllint and the check that the version grew, for every values file in the chart's ci directory
#   install   for every values file, in a namespace that enforces Pod Security "restricted": install, helm test; and the
#             upgrade from the previous chart, with helm test before and after. Wants the cluster of make cluster-up with
#             the images loaded.
#   --values  only these of the ci directory's values files: default,everything
# ct compares with a branch of a remote. It runs in a scratch repository of two commits, so that it needs no network and
# says the same in a fresh clone: the chart of the newest version tag that has another one, or, without such, this chart under a
# pre-release version and with another pod annotation, so that the upgrade replaces the pods; then the chart as it is now.
set -euo pipefail
# shellcheck source=cluster/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/cluster/env.sh"
cd "$ROOT"

NAMESPACE=zen-lead-ct
CHART=charts/zen-lead
WORK=

clean_up() {
  if [[ -n $WORK ]]; then rm -rf --one-file-system "$WORK"; fi
  if [[ ${MODE:-} == install && $CLUSTER == kind ]] && answers; then
    remove_releases
    kubectl delete --ignore-not-found -f "$WORK.crds" >/dev/null 2>&1 || true
  fi
  [[ -z $WORK ]] || rm -f "$WORK.crds"
}

# Each release has a name of its own, but what a values file names, and what is cluster-wide, would be in the next one's way.
remove_releases() {
  local releases
  mapfile -t releases < <(helm list --namespace "$NAMESPACE" --all --short)
  [[ ${#releases[@]} -eq 0 ]] || helm uninstall --namespace "$NAMESPACE" --wait "${releases[@]}" >/dev/null
  kubectl delete namespace "$NAMESPACE" --ignore-not-found --timeout=2m >/dev/null
}

answers() { have kubectl && kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; }

scratch_git() { git -C "$WORK/repo" -c user.name=ct -c user.email=ct@localhost -c commit.gpgsign=false "$@"; }

commit() {
  scratch_git add --all --force
  scratch_git commit --quiet --message "$1"
}

# The chart of the newest tag that has another one. It installs today's image: the one of its time may be out of reach, and
# what is tested is the upgrade of the chart.
released_chart() {
  local tag
  while read -r tag; do
    rm -rf "${WORK:?}/repo/charts"
    git archive "$tag" "$CHART" | tar -x -C "$WORK/repo"
    diff -qr "$CHART" "$WORK/repo/$CHART" >/dev/null && continue
    sed -i "s/^appVersion: .*/$(grep '^appVersion: ' "$CHART/Chart.yaml")/" "$WORK/repo/$CHART/Chart.yaml"
    say "the previous chart is that of tag $tag, with today's image"
    return
  done < <(git tag --list 'v*' --sort=-version:refname)
  rm -rf "${WORK:?}/repo/charts"
  return 1
}

previous_chart() {
  if released_chart; then return; fi
  mkdir -p "$WORK/repo/charts"
  cp -r "$CHART" "$WORK/repo/charts/"
  sed -i 's/^version: .*/&-previous.0/' "$WORK/repo/$CHART/Chart.yaml"
  sed -i 's/^podAnnotations: {}/podAnnotations: {example.com\/chart: previous}/' "$WORK/repo/$CHART/values.yaml"
  say "no other version is released: the previous chart is this one as $(awk '$1 == "version:" {print $2}' "$WORK/repo/$CHART/Chart.yaml"), with another pod annotation"
}

# ct takes every values file that the chart has; those that are not asked for are left out of the scratch repository.
only_asked_for() { # only_asked_for CHART-DIRECTORY
  local file name
  [[ -n $VALUES ]] || return 0
  for file in "$1"/ci/*-values.yaml; do
    name=$(basename "$file" -values.yaml)
    [[ ,$VALUES, == *,$name,* ]] || rm -f "$file"
  done
}

check_values() {
  local name
  for name in ${VALUES//,/ }; do
    [[ -r $CHART/ci/$name-values.yaml ]] ||
      die "there is no $CHART/ci/$name-values.yaml" "--values takes names of: $(cd "$CHART/ci" && echo *-values.yaml | sed 's/-values\.yaml//g')"
  done
}

make_repository() {
  WORK=$(mktemp -d)
  git init --quiet --initial-branch=main "$WORK/repo"
  previous_chart
  only_asked_for "$WORK/repo/$CHART"
  commit previous
  scratch_git update-ref refs/remotes/origin/main HEAD
  rm -rf "${WORK:?}/repo/charts"
  mkdir -p "$WORK/repo/charts"
  cp -r "$CHART" "$WORK/repo/charts/"
  cp ct.yaml "$WORK/repo/"
  only_asked_for "$WORK/repo/$CHART"
  commit current
}

run_ct() { (cd "$WORK/repo" && GIT_CONFIG_GLOBAL=/dev/null ct "$@"); }

# On a machine of a CI service, which is thrown away, it may be installed.
install_yamllint() {
  local sudo=()
  [[ ${CI:-} == true ]] && have apt-get || return 1
  ((EUID == 0)) || sudo=(sudo --non-interactive)
  "${sudo[@]}" apt-get update --quiet >&2 && "${sudo[@]}" apt-get install --yes --quiet --no-install-recommends yamllint >&2
}

lint() {
  have yamllint || install_yamllint || die "yamllint is not on the PATH, and ct lint needs it" "Install it: apt-get install yamllint, or pip install yamllint"
  # Chart.yaml against a schema takes yamale, which Debian does not package; helm lint and Artifact Hub's rules read it too.
  run_ct lint --config ct.yaml --lint-conf "$ROOT/ci/lintconf.yaml" --validate-chart-schema=false
}

install() {
  local crds
  [[ $CLUSTER == kind ]] || die "CLUSTER=$CLUSTER: this removes the custom resources of the Prometheus Operator in the end" "Run it on the throw-away cluster: CLUSTER=kind"
  answers || die "the cluster does not answer" "Run: make cluster-up images, then ci/cluster/load.sh bin/images/{zen-lead,agnhost}.tar"
  crds=$(ci/prometheus.sh crds | tail -n 1)
  cat "$crds"/*servicemonitors.yaml <(echo ---) "$crds"/*prometheusrules.yaml >"$WORK.crds"
  kubectl apply --server-side -f "$WORK.crds" >/dev/null
  kubectl wait --for=condition=Established --timeout=60s -f "$WORK.crds" >/dev/null
  remove_releases # of a run that was killed
  kubectl create namespace "$NAMESPACE" >/dev/null
  kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
  run_ct install --config ct.yaml --namespace "$NAMESPACE" | tee "$WORK/output"
  ! grep 'No chart changes detected' "$WORK/output" || die "ct found no chart to install" "The previous chart and this one are the same"
  ! grep '^Upgrade testing for .* skipped' "$WORK/output" || die "ct did not test the upgrade" "The previous chart is expected to install and to pass its test"
}

usage() { die "usage: ci/ct.sh lint|install [--values NAME[,NAME...]]"; }

MODE=${1:-} VALUES=
case $MODE in
  lint | install) shift ;;
  *) usage ;;
esac
case $#${1:-} in
  0) ;;
  2--values) VALUES=$2 && check_values ;;
  *) usage ;;
esac
# shellcheck disable=SC2034 # lib.sh calls it
ON_INTERRUPT=clean_up
trap clean_up EXIT
have ct || die "ct is not built" "Run: make bin/ct"
make_repository
"$MODE"
