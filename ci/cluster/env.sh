# shellcheck shell=bash
# The environment of everything that talks to the test cluster; to be sourced, from any folder:
#   . ci/cluster/env.sh
# sets KUBECONFIG (unless CLUSTER=current), DOCKER_HOST (only if this project runs a Docker engine of its own), kind's
# names, and puts bin/ on the PATH. Sourcing it starts nothing.

# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export CLUSTER=${CLUSTER:-kind}
export CLUSTER_IP_FAMILY=${CLUSTER_IP_FAMILY:-ipv4}
export KIND_CLUSTER_NAME=zen-lead
# A network of our own, so that taking it away cannot hurt other kind clusters of the machine.
export KIND_EXPERIMENTAL_DOCKER_NETWORK=zen-lead
export PATH=$ROOT/bin:$PATH

RUN=$CACHE/run # of the Docker engine that this project starts; gone when it is stopped
# shellcheck disable=SC2034 # for the scripts that source this
CGROUP=/zen-lead-$(cksum <<<"$CACHE" | cut -d' ' -f1)

# A pid file outlives its process, and its number may be somebody else's by now.
engine_is_ours() {
  local pid
  pid=$(cat "$RUN/docker.pid" 2>/dev/null) || return 1
  [[ -n $pid ]] && { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "--config-file $RUN/daemon.json"
}

# 24 is CAP_SYS_RESOURCE. Some sandboxes withhold it even from root.
has_sys_resource() {
  local bounding
  bounding=$(awk '/^CapBnd:/ {print $2}' /proc/self/status)
  (((16#$bounding >> 24) & 1))
}

if engine_is_ours; then
  export DOCKER_HOST=unix://$RUN/docker.sock
elif [[ ${DOCKER_HOST:-} == "unix://$RUN/docker.sock" ]]; then
  unset DOCKER_HOST # from an environment that has outlived the engine
fi

# What a killed engine leaves running: its containerd and the containers' shims, known by the folder of their sockets.
engine_orphans() {
  local dir line
  for dir in /proc/[0-9]*; do
    line=$({ tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null) || continue
    if [[ $line == *"$RUN/"* ]]; then echo "${dir#/proc/} ${line:0:100}"; fi
  done
}

# dockerd mounts its data folder on itself, and one that was killed never undoes that.
data_on_itself() { awk -v dir="$CACHE/docker" '$5 == dir && $4 != "/" {found = 1} END {exit !found}' /proc/self/mountinfo; }

# A kubelet sets these for the whole machine, also from inside a container.
remember_sysctls() {
  [[ -e $CACHE/sysctls-before ]] || (cd /proc/sys && grep -H . vm/overcommit_memory kernel/panic kernel/panic_on_oops) >"$CACHE/sysctls-before"
}

restore_sysctls() {
  local name value
  [[ -e $CACHE/sysctls-before ]] || return 0
  while IFS=: read -r name value; do
    if [[ -w /proc/sys/$name && $(cat "/proc/sys/$name") != "$value" ]]; then echo "$value" >"/proc/sys/$name"; fi
  done <"$CACHE/sysctls-before"
  rm -f "$CACHE/sysctls-before"
}

# Also what is half made. kind itself would do no more, and is not needed for it.
remove_cluster() {
  local containers
  mapfile -t containers < <(docker ps -aq --filter "label=io.x-k8s.kind.cluster=$KIND_CLUSTER_NAME")
  [[ ${#containers[@]} -eq 0 ]] || docker rm -f -v "${containers[@]}" >/dev/null
  if docker network inspect "$KIND_EXPERIMENTAL_DOCKER_NETWORK" >/dev/null 2>&1; then
    docker network rm "$KIND_EXPERIMENTAL_DOCKER_NETWORK" >/dev/null
  fi
  restore_sysctls
  rm -f "$CACHE"/{cluster-creating,bridge,audit-policy.yaml}
}

case $CLUSTER in
  kind) export KUBECONFIG=$STATE/kubeconfig ;;
  current) ;;
  *) die "CLUSTER=$CLUSTER is not known" "Use CLUSTER=kind (a throw-away cluster on this machine) or CLUSTER=current (your kubeconfig's)." ;;
esac
