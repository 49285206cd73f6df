#!/usr/bin/env bash
# Checks the network of the cluster that is up: from a pod on every node to every pod, to a ClusterIP and to a DNS name, in every
# IP family. Takes its own namespace and removes it. Needs agnhost's image in the nodes: make images, ci/cluster/load.sh.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

NAMESPACE=zen-lead-smoke
PORT=8080
IMAGE=registry.k8s.io/e2e-test-images/agnhost:$("$ROOT/ci/cluster/agnhost.sh" version)
failed=0
passed=0

k() { kubectl -n "$NAMESPACE" "$@"; }

clean() { kubectl delete namespace "$NAMESPACE" --ignore-not-found --timeout=60s >/dev/null 2>&1 || true; }

deploy() {
  clean
  kubectl create namespace "$NAMESPACE" >/dev/null
  k apply -f - >/dev/null <<EOF
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: server}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 0
      containers:
      - name: agnhost
        image: $IMAGE
        imagePullPolicy: IfNotPresent
        args: [netexec, --http-port=$PORT]
        readinessProbe: {httpGet: {path: /healthz, port: $PORT}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: server}
  ports: [{port: 80, targetPort: $PORT}]
EOF
  k rollout status daemonset/server --timeout=90s
}

bracket() { if [[ $1 == *:* ]]; then echo "[$1]"; else echo "$1"; fi; }

check() { # check pod what address:port
  if k exec "$1" -- /agnhost connect --timeout=5s "$3" >/dev/null 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    say "FAILED: from $1 to $2 ($3)"
  fi
}

main() {
  local pod ip
  local -a pods pod_ips cluster_ips
  trap clean EXIT
  step "starting a server on every node" deploy
  mapfile -t pods < <(k get pods -l app=server -o name)
  mapfile -t pod_ips < <(k get pods -l app=server -o jsonpath='{range .items[*].status.podIPs[*]}{.ip}{"\n"}{end}')
  mapfile -t cluster_ips < <(k get service server -o jsonpath='{range .spec.clusterIPs[*]}{@}{"\n"}{end}')
  # A control plane that has just come back may still tell of pods that are gone.
  ((${#pod_ips[@]} >= ${#pods[@]} && ${#pods[@]} > 1)) || die "the servers have ${#pod_ips[@]} addresses on ${#pods[@]} nodes" "Try again."
  for pod in "${pods[@]}"; do
    for ip in "${pod_ips[@]}"; do check "$pod" "a pod" "$(bracket "$ip"):$PORT"; done
    for ip in "${cluster_ips[@]}"; do check "$pod" "the ClusterIP" "$(bracket "$ip"):80"; done
    check "$pod" "the DNS name" "server.$NAMESPACE.svc.cluster.local:80"
  done
  say "$passed connections made, $failed failed: ${#pods[@]} nodes, ${#pod_ips[@]} pod addresses, ${#cluster_ips[@]} ClusterIPs"
  ((failed == 0)) || EXPLAINED=yes
  return $((failed > 0))
}

main
