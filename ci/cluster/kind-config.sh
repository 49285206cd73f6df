#!/usr/bin/env bash
# Prints the kind configuration for this machine: one control plane and two workers, and what its kernel and limits need.
#   CLUSTER_IP_FAMILY=ipv4|dual|ipv6   KUBE_PROXY_MODE=nftables|iptables
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

kernel_at_least() { printf '%s\n%s\n' "$1" "$(uname -r | grep -oE '^[0-9]+\.[0-9]+')" | sort -CV; }

proxy_mode() {
  if [[ -n ${KUBE_PROXY_MODE:-} ]]; then
    echo "$KUBE_PROXY_MODE"
  elif kernel_at_least 5.13; then
    echo nftables
  else
    say "kernel $(uname -r) is too old for kube-proxy's nftables mode (it takes 5.13): using iptables"
    echo iptables
  fi
}

ip_family() {
  case $CLUSTER_IP_FAMILY in
    ipv4 | dual | ipv6) ;;
    *) die "CLUSTER_IP_FAMILY=$CLUSTER_IP_FAMILY is not known" "Use ipv4, dual or ipv6." ;;
  esac
  if [[ $CLUSTER_IP_FAMILY != ipv4 && ! -e /proc/net/if_inet6 ]]; then
    die "CLUSTER_IP_FAMILY=$CLUSTER_IP_FAMILY, but this kernel has no IPv6" "Use CLUSTER_IP_FAMILY=ipv4, or enable IPv6 in the kernel."
  fi
  echo "$CLUSTER_IP_FAMILY"
}

# The API server's audit log: who wrote what, in /var/log/kubernetes/audit.log of the control plane.
audit() {
  cat <<EOF
  extraMounts:
  - hostPath: $CACHE/audit-policy.yaml
    containerPath: /etc/kubernetes/audit-policy.yaml
    readOnly: true
  kubeadmConfigPatchesJSON6902:
  - group: kubeadm.k8s.io
    version: v1beta4
    kind: ClusterConfiguration
    patch: |
      - {op: add, path: /apiServer/extraArgs/-, value: {name: audit-policy-file, value: /etc/kubernetes/audit-policy.yaml}}
      - {op: add, path: /apiServer/extraArgs/-, value: {name: audit-log-path, value: /var/log/kubernetes/audit.log}}
      - {op: add, path: /apiServer/extraArgs/-, value: {name: audit-log-maxsize, value: "100"}}
      - {op: add, path: /apiServer/extraArgs/-, value: {name: audit-log-maxbackup, value: "1"}}
      - op: add
        path: /apiServer/extraVolumes
        value:
        - {name: audit-policy, hostPath: /etc/kubernetes/audit-policy.yaml, mountPath: /etc/kubernetes/audit-policy.yaml, readOnly: true, pathType: File}
        - {name: audit-log, hostPath: /var/log/kubernetes, mountPath: /var/log/kubernetes, pathType: DirectoryOrCreate}
EOF
}

# The kubelet refuses cgroup v1 unless told otherwise, and insists on no default for swap.
kubelet_patch() {
  [[ -e /sys/fs/cgroup/cgroup.controllers ]] && return
  cat <<EOF
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  failCgroupV1: false
EOF
}

# Lowering a container's OOM score takes a capability that a sandbox may withhold.
containerd_patch() {
  has_sys_resource && return
  cat <<EOF
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri"]
    restrict_oom_score_adj = true
EOF
}

main() {
  local family mode
  family=$(ip_family) || explained
  mode=$(proxy_mode)
  cat <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: $KIND_CLUSTER_NAME
networking:
  ipFamily: $family
  kubeProxyMode: $mode
  apiServerAddress: 127.0.0.1
nodes:
- role: control-plane
$(audit)
- role: worker
- role: worker
$(kubelet_patch)
$(containerd_patch)
EOF
}

main
