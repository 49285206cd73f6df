#!/usr/bin/env bash
# Lists what a cluster of this project left on the machine, one line each, and exits with 1 if there is anything.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# What the Docker engine in use knows of.
in_docker() {
  have docker && docker info >/dev/null 2>&1 || return 0
  docker ps -a --filter "label=io.x-k8s.kind.cluster=$KIND_CLUSTER_NAME" --format 'container {{.Names}} ({{.Status}})'
  docker network ls --filter "name=^$KIND_EXPERIMENTAL_DOCKER_NETWORK\$" --format 'network {{.Name}}'
  if engine_is_ours; then
    docker volume ls --format 'volume {{.Name}}'
    [[ -n $(docker ps -aq) ]] || echo "process $(cat "$RUN/docker.pid") (the Docker engine of this project, with nothing in it)"
  fi
}

# A shim that lost its containerd still is in the cgroup of its container.
processes() {
  local file
  engine_is_ours && return
  engine_orphans | sed 's/^/process /'
  { grep -lE ":$CGROUP/" /proc/[0-9]*/cgroup 2>/dev/null || true; } | while read -r file; do
    echo "process $(cut -d/ -f3 <<<"$file") (in cgroup $CGROUP)"
  done
}

mounts() {
  engine_is_ours && return
  awk -v a="$RUN/" -v b="$CACHE/docker/" -v c="$CACHE/node/" \
    'index($5, a) == 1 || index($5, b) == 1 || index($5, c) == 1 {print "mount " $5}' /proc/self/mountinfo
  if data_on_itself; then echo "mount $CACHE/docker"; fi
}

cgroups() {
  local top
  engine_is_ours && return
  for top in /sys/fs/cgroup"$CGROUP" /sys/fs/cgroup/*"$CGROUP"; do
    [[ ! -d $top ]] || echo "cgroup $top"
  done
}

files() {
  local path
  for path in "$STATE/kubeconfig" "$CACHE/cluster-creating"; do
    [[ ! -e $path ]] || echo "file $path"
  done
  engine_is_ours || for path in "$RUN" "$CACHE"/docker/volumes/*/ "$CACHE"/docker/containers/*/; do
    [[ ! -e $path ]] || echo "folder $path"
  done
}

# The bridge of a Docker network is called after the network's id, which cluster-up notes.
links() {
  local bridge
  bridge=$(cat "$CACHE/bridge" 2>/dev/null) || return 0
  ! ip link show "$bridge" >/dev/null 2>&1 || echo "network interface $bridge"
}

# dockerd leaves its chains behind; stopping an engine of ours takes them away, unless another one had made them.
firewall() {
  if ! engine_is_ours && [[ -e $RUN/host-before ]]; then echo "iptables chains or forwarding policy of the stopped Docker engine"; fi
}

left=$(in_docker; processes; mounts; cgroups; files; links; firewall)
[[ -z $left ]] && exit
say "left on this machine by a test cluster:"
printf '%s\n' "$left"
EXPLAINED=yes
exit 1
