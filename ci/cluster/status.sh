#!/usr/bin/env bash
# Says what is there: the cluster, its nodes, the Docker engine under it. Changes nothing, except that the kubeconfig of this clone
# follows a cluster that another clone has made.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=env.sh
. "$HERE/env.sh"

main() {
  if [[ $CLUSTER == current ]]; then
    exec "$HERE/up.sh"
  fi
  "$ROOT/ci/docker/engine.sh" status
  if ! docker info >/dev/null 2>&1 || [[ -z $(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$KIND_CLUSTER_NAME") ]]; then
    echo "Cluster: none (make cluster-up makes one)"
    return
  fi
  if [[ -e $CACHE/cluster-creating ]]; then
    echo "Cluster: being made, or left half made by a run that was interrupted (make cluster-up makes it anew)"
  fi
  docker ps -a --filter "label=io.x-k8s.kind.cluster=$KIND_CLUSTER_NAME" --format 'Node: {{.Names}}: {{.Status}}'
  kind export kubeconfig --kubeconfig "$KUBECONFIG" >/dev/null 2>&1 || true
  if ! kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; then
    echo "Cluster: the API server does not answer (make cluster-up starts what is stopped)"
    return
  fi
  echo "Cluster: answers; KUBECONFIG=$KUBECONFIG"
  kubectl get nodes -o wide
  kubectl -n kube-system get deployment coredns
}

main
