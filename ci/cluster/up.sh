#!/usr/bin/env bash
# Brings up the throw-away cluster, or finds it up. With CLUSTER=current it only checks that your cluster answers.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=env.sh
. "$HERE/env.sh"

# While this exists, a cluster is half made.
CREATING=$CACHE/cluster-creating
NODES=3

use_current() {
  local context
  have kubectl || die "kubectl is not on the PATH, and CLUSTER=current needs it" "Install it: https://kubernetes.io/docs/tasks/tools"
  context=$(kubectl config current-context 2>/dev/null) ||
    die "your kubeconfig has no current context" "Choose one: kubectl config use-context <name>"
  kubectl --request-timeout=10s version >/dev/null 2>&1 ||
    die "the cluster of context $context does not answer" "Try: kubectl --context $context version"
  say "using the cluster of context $context"
}

preflight() {
  local available disk
  [[ $(uname -s) == Linux ]] ||
    die "a throw-away cluster takes Linux" "Use a Linux machine, or a cluster that you have: CLUSTER=current"
  have kind || die "kind is not built" "Run: make bin/kind"
  available=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
  ((available >= 1500)) || warn "only $available MiB of memory are free; three nodes take about 1000 MiB"
  mkdir -p "$CACHE"
  disk=$(df -Pk "$CACHE" | awk 'NR == 2 {print int($4 / 1024 / 1024)}')
  ((disk >= 10)) || warn "only $disk GiB of disk are free at $CACHE; the first run takes about 10, a cluster about 3"
  if (($(cat /proc/sys/fs/inotify/max_user_instances) < 128)); then
    warn "fs.inotify.max_user_instances is low; if nodes fail with \"too many open files\": sudo sysctl fs.inotify.max_user_instances=512"
  fi
}

# --- the state of what is there

containers() { docker ps -q "$@" --filter "label=io.x-k8s.kind.cluster=$KIND_CLUSTER_NAME"; }

count() { wc -l | tr -d ' '; }

answers() { kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; }

# The families of the cluster that is up, from the pod subnets of a node.
family_of_cluster() {
  case $(kubectl get nodes -o jsonpath='{.items[0].spec.podCIDRs}') in
    *.*:* | *:*.*) echo dual ;;
    *:*) echo ipv6 ;;
    *) echo ipv4 ;;
  esac
}

get_kubeconfig() { kind export kubeconfig --kubeconfig "$KUBECONFIG" >/dev/null 2>&1 && get_kubectl; }

wait_ready() {
  kubectl wait --for=condition=Ready nodes --all --timeout=300s
  kubectl -n kube-system rollout status deployment/coredns --timeout=300s
}

all_ready() {
  [[ $(kubectl get nodes -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' | sort -u) == True ]] &&
    kubectl -n kube-system rollout status deployment/coredns --timeout=1s >/dev/null 2>&1
}

# Nodes that were stopped, by hand or with the Docker engine, are started; they find their way back by themselves.
revive() {
  local stopped
  mapfile -t stopped < <(containers -a --filter status=exited)
  [[ ${#stopped[@]} -eq 0 ]] || step "starting the stopped nodes of the cluster" docker start "${stopped[@]}"
}

wait_answer() {
  local _
  for _ in {1..120}; do
    answers && return
    sleep 0.5
  done
  return 1
}

# True if a complete cluster is there and answers.
is_up() {
  [[ ! -e $CREATING && $(containers -a | count) == "$NODES" ]] || return 1
  revive
  get_kubeconfig || return 1
  answers || step "waiting for the API server" wait_answer || return 1
  [[ $(kubectl get nodes -o name | count) == "$NODES" ]]
}

check_family() {
  local have
  have=$(family_of_cluster)
  [[ $have == "$CLUSTER_IP_FAMILY" ]] ||
    die "the cluster that is up is $have, not $CLUSTER_IP_FAMILY" "Run make cluster-down first, or use CLUSTER_IP_FAMILY=$have."
}

# --- making it

# Rows of the failure matrix take workers away. Who answers names must not be on them: two CoreDNS pods, which the
# scheduler may put on one worker, are fewer than a real cluster has, and clients would wait for them, not for zen-lead.
pin_dns() {
  kubectl -n kube-system patch deployment coredns \
    -p '{"spec":{"template":{"spec":{"nodeSelector":{"node-role.kubernetes.io/control-plane":""}}}}}' >/dev/null
}

create() {
  local image=$1 config=$STATE/kind.yaml
  mkdir -p "$STATE"
  "$HERE/kind-config.sh" >"$config" || explained
  remember_sysctls
  cp "$HERE/audit-policy.yaml" "$CACHE/" # the control plane mounts it, and may outlive this clone
  touch "$CREATING"
  step "creating a cluster of $NODES nodes (about 40 seconds)" \
    kind create cluster --config "$config" --image "$image" --kubeconfig "$KUBECONFIG" --retain
  echo "br-$(docker network inspect --format '{{slice .Id 0 12}}' "$KIND_EXPERIMENTAL_DOCKER_NETWORK")" >"$CACHE/bridge"
  get_kubectl
  pin_dns
  step "waiting for the nodes and for CoreDNS" wait_ready
  rm -f "$CREATING"
}

# Whoever has no kubectl gets the one of the cluster.
get_kubectl() {
  local built
  mkdir -p "$ROOT/bin"
  built=$("$ROOT/test/kubernetes/build.sh" path)/kubectl
  if [[ -x $built ]]; then
    ln -sfn "$built" "$ROOT/bin/kubectl"
  elif ! have kubectl; then
    rm -f "$ROOT/bin/kubectl"
    docker cp -L "$KIND_CLUSTER_NAME-control-plane:/usr/bin/kubectl" "$ROOT/bin/kubectl"
  fi
}

on_cancel() {
  say "taking away what was made of the cluster"
  exec 9>&- # the lock, which the other script takes
  "$HERE/down.sh" --quiet || true
}

make_cluster() {
  local image
  if is_up; then
    check_family
    pin_dns
    if all_ready; then return; fi
    step "waiting for the nodes and for CoreDNS" wait_ready
    return
  fi
  image=$("$HERE/node/image.sh") || explained
  if [[ -n $(containers -a) ]]; then
    step "removing a cluster that is incomplete" remove_cluster
  fi
  ON_INTERRUPT=on_cancel
  create "$image"
  ON_INTERRUPT=
}

main() {
  if [[ $CLUSTER == current ]]; then
    use_current
    return
  fi
  local start=$SECONDS
  need_go
  preflight
  "$ROOT/ci/docker/engine.sh" up || explained
  # shellcheck source=env.sh
  . "$HERE/env.sh" # now that there may be an engine of ours
  locked cluster make_cluster
  say "the cluster is up after $(duration $((SECONDS - start))): export KUBECONFIG=$KUBECONFIG"
}

main
