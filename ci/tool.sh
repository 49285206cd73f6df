#!/usr/bin/env bash
# Builds one pinned tool: ci/tool.sh NAME PACKAGE -> bin/NAME
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/tools"

name=${1:?usage: ci/tool.sh NAME PACKAGE}
package=${2:?usage: ci/tool.sh NAME PACKAGE}

module_version() {
  go list -m -f '{{.Version}}' "$1"
}

# Helm takes its own version and the Kubernetes version that it renders for from the linker. Without them it renders
# for a Kubernetes far older than the one that its client speaks, and the chart's kubeVersion refuses.
helm_ldflags() {
  local helm=helm.sh/helm/v3 client minor
  client=$(module_version k8s.io/client-go)
  minor=${client#v0.}
  minor=${minor%%.*}
  printf -- '-X %s=%s ' \
    "$helm/internal/version.version" "$(module_version "$helm")" \
    "$helm/pkg/lint/rules.k8sVersionMajor" 1 \
    "$helm/pkg/lint/rules.k8sVersionMinor" "$minor" \
    "$helm/pkg/chartutil.k8sVersionMajor" 1 \
    "$helm/pkg/chartutil.k8sVersionMinor" "$minor"
}

ldflags="-s -w"
if [[ $name == helm ]]; then
  ldflags+=" $(helm_ldflags)"
fi

start=$SECONDS
printf 'Building bin/%s from %s\n' "$name" "$package" >&2
CGO_ENABLED=0 go build -trimpath -ldflags "$ldflags" -o "../../bin/$name" "$package"
# go build leaves the file alone when nothing changed; make compares times.
touch "../../bin/$name"
printf 'Built bin/%s in %ds\n' "$name" "$((SECONDS - start))" >&2
