#!/usr/bin/env bash
# Prints the name of a node image that the Docker engine has: the stock one of this kind release where it can be pulled, else one
# made from nothing: a Debian base, the files that kind's own base image has (they are part of kind's Go module), our builds
# of Kubernetes, containerd and CoreDNS, and the images of the static pods, unpacked in advance.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../env.sh
. "$HERE/../env.sh"

# What kind's base image installs, less the network storage; runc too, which needs cgo and libseccomp to build.
PACKAGES=(systemd conntrack iptables nftables iproute2 ethtool util-linux mount kmod libseccomp2 runc
  e2fsprogs bash ca-certificates curl jq procps)

kind_module() {
  (cd "$ROOT/ci/tools" && go mod download sigs.k8s.io/kind && go list -m -f '{{.Dir}}' sigs.k8s.io/kind)
}

stock_image() { sed -n 's/^const Image = "\(.*\)"$/\1/p' "$1/pkg/apis/config/defaults/image.go"; }

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

can_pull() { timeout 30 docker manifest inspect "$1" >/dev/null 2>&1; }

need_builder() {
  [[ $(id -u) == 0 && $(. /etc/os-release && echo "$ID") == debian ]] && have apt-get && return
  die "kind's node image cannot be pulled from here, and making one takes Debian and root" \
    "Either give the machine access to an image registry, or load an image by hand and name it:" \
    "  docker load -i node.tar && make cluster-up ZEN_LEAD_NODE_IMAGE=kindest/node:<tag>" \
    "or run this as root on Debian."
}

# --- the Debian base

codename() { (. /etc/os-release && echo "${VERSION_CODENAME:-unknown}"); }

# The place that this machine's apt gets the distribution from, and its proxy if it has one.
mirror() {
  # shellcheck disable=SC2016 # apt's variables, not the shell's
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    awk -v codename="$(codename)" '$2 == codename && $3 == "main" {print $1; exit}'
}

make_base() {
  local out=$1 work=$2/base proxy='' from
  local IFS=,
  from=$(mirror)
  if [[ -z $from ]]; then # apt has no lists yet
    apt-get update -qq
    from=$(mirror)
  fi
  [[ -n $from ]] || die "apt knows no source of Debian $(codename)" "Add one to /etc/apt/sources.list."
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  [[ -z $proxy ]] || export http_proxy=$proxy
  debootstrap --variant=minbase --include="${PACKAGES[*]}" "$(codename)" "$work" "$from"
  rm -rf "$work"/var/{cache/apt,cache/debconf,lib/apt/lists,log}/* "$work"/usr/share/{doc,man,info,locale}/*
  tar -C "$work" --numeric-owner --exclude='./dev/*' -cf "$out.partial" .
  mv "$out.partial" "$out"
  rm -rf --one-file-system "$work"
}

# --- the root file system of a node

install_kind_files() { # install_kind_files rootfs kind-module
  local root=$1 files=$2/images/base/files
  cp -rT "$files" "$root"
  chmod -R u=rwX,go=rX "$root"/etc/{containerd,default,sysctl.d,systemd} "$root"/kind
  chmod 755 "$root"/kind/bin/* "$root"/usr/local/bin/*
  rm -f "$root/usr/local/bin/clean-install"
  # These words make kind go on before systemd is up.
  sed -i 's/detected cgroup v1/found cgroup v1/' "$root/usr/local/bin/entrypoint"
}

# systemd in a container has no hardware to wait for, and kind waits for it to be up.
trim_systemd() {
  local root=$1 units=$1/lib/systemd/system
  rm -f "$units"/sysinit.target.wants/systemd-tmpfiles-setup.service "$units"/{multi-user,local-fs,basic}.target.wants/* \
    "$root"/etc/systemd/system/*.wants/* "$units"/sockets.target.wants/{*udev*,*initctl*}
  echo 'ReadKMsg=no' >>"$root/etc/systemd/journald.conf"
  ln -sfn /usr/lib/systemd/systemd "$root/sbin/init"
  chroot "$root" systemctl enable kubelet containerd undo-mount-hacks podnet
  chroot "$root" systemctl mask systemd-binfmt
  chroot "$root" systemctl set-default multi-user.target
}

install_binaries() { # install_binaries rootfs kubernetes-dir binaries-dir
  local root=$1 name
  install -m 755 "$2/kubernetes" "$root/usr/bin/kubernetes"
  for name in kubeadm kubectl kubelet; do ln -s kubernetes "$root/usr/bin/$name"; done
  install -m 755 "$3"/{containerd,containerd-shim-runc-v2,ctr,podnet} "$root/usr/local/bin/"
  install -D -m 755 -t "$root/opt/cni/bin" "$3"/{host-local,loopback,portmap,ptp}
  install -m 644 "$HERE/files/podnet.service" "$root/etc/systemd/system/"
  install -D -m 644 -t "$root/kind/manifests" "$HERE"/files/default-{cni,storage}.yaml
  mkdir -p "$root/etc/kubernetes/manifests"
  "$ROOT/test/kubernetes/build.sh" version >"$root/kind/version"
}

configure_containerd() { # configure_containerd rootfs pause-image
  sed -i "s#sandbox_image = .*#sandbox_image = \"$2\"#" "$1/etc/containerd/config.toml"
  # Every container of a node gets the faked product files that kind's hook mounts, and no limits that the node lacks.
  chroot "$1" ctr oci spec |
    jq '.hooks.createContainer += [{"path": "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
      >"$1/etc/containerd/cri-base.json"
}

# --- the images of the pods that kubeadm creates

# archive out entrypoint layer-dir tag...: an image archive of one layer, the same for the same content.
archive() {
  local out=$1 entrypoint=$2 layer=$3 work diff_id tags
  shift 3
  work=$(mktemp -d "$out.XXXXXX")
  tar -C "$layer" --sort=name --mtime=@0 --numeric-owner -cf "$work/layer.tar" .
  diff_id=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  tags=$(printf ',"%s"' "$@")
  cat >"$work/config.json" <<EOF
{"architecture": "$(go env GOARCH)", "os": "linux", "created": "1970-01-01T00:00:00Z",
 "config": {"Entrypoint": $entrypoint, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"],
            "StopSignal": "${STOP_SIGNAL:-SIGTERM}"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$diff_id"]}}
EOF
  echo "[{\"Config\": \"config.json\", \"RepoTags\": [${tags:1}], \"Layers\": [\"layer.tar\"]}]" >"$work/manifest.json"
  tar -C "$work" -cf "$out" manifest.json config.json layer.tar
  rm -rf "$work"
}

# kube-proxy calls nft, or iptables in its older mode: take them, and the libraries they name, from the base.
copy_nft() { # copy_nft rootfs layer
  local file
  for file in usr/sbin/nft usr/sbin/xtables-nft-multi usr/sbin/xtables-legacy-multi; do
    echo "/$file"
    chroot "$1" ldd "/$file" | grep -oE '/[^ ]+'
  done | sort -u | while read -r file; do
    install -D -m 755 "$(realpath "$1/$(chroot "$1" readlink -f "$file")")" "$2$file"
  done
  (cd "$1" && cp -a --parents usr/lib/*/xtables "$2")
  for file in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s xtables-nft-multi "$2/usr/sbin/$file"
  done
}

# One image under all the names: what differs is which program its pod calls.
make_pod_images() { # make_pod_images rootfs kubernetes-dir binaries-dir work image-names
  local root=$1 kubernetes=$2 binaries=$3 work=$4 names=$5 name
  mkdir -p "$work"/{control,dns,pause}
  install -D -m 755 -t "$work/control/usr/local/bin" "$kubernetes/kubernetes"
  for name in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler; do
    ln -s kubernetes "$work/control/usr/local/bin/$name"
  done
  install -d -m 1777 "$work/control/tmp"
  copy_nft "$root" "$work/control"
  install -m 755 "$binaries/coredns" "$work/dns/coredns"
  install -m 755 "$binaries/pause" "$work/pause/pause"
  # shellcheck disable=SC2046 # one name per word
  archive "$work/control.tar" null "$work/control" $(grep -vE 'coredns|pause' <<<"$names")
  archive "$work/dns.tar" '["/coredns"]' "$work/dns" "$(grep coredns <<<"$names")"
  archive "$work/pause.tar" '["/pause"]' "$work/pause" "$(grep pause <<<"$names")"
}

# A containerd that runs only for this unpacks the images into the node's store, so that no node has to.
preload() { # preload rootfs binaries-dir work
  local root=$1 work=$3 pid _ file
  local -a ctr=("$2/ctr" -a "$work/ctd.sock" -n k8s.io)
  mkdir -p "$root/var/lib/containerd"
  cat >"$work/containerd.toml" <<EOF
version = 3
root = "$root/var/lib/containerd"
state = "$work/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/ctd.sock"
[ttrpc]
  address = "$work/ctd.ttrpc"
EOF
  "$2/containerd" -c "$work/containerd.toml" >"$STATE/logs/containerd-preload.log" 2>&1 &
  pid=$!
  # shellcheck disable=SC2064 # the value of now is meant
  trap "kill $pid 2>/dev/null" EXIT
  for _ in {1..100}; do
    "${ctr[@]}" version >/dev/null 2>&1 && break
    sleep 0.1
  done
  for file in control dns pause; do "${ctr[@]}" images import --local --discard-unpacked-layers "$work/$file.tar"; done
  "${ctr[@]}" content prune references
  "${ctr[@]}" images ls
  kill "$pid"
  wait "$pid" || true
  trap - EXIT
}

assemble() { # assemble image base-tar kind-module kubernetes-dir binaries-dir work
  local image=$1 base=$2 module=$3 kubernetes=$4 binaries=$5 work=$6 root=$6/rootfs names
  mkdir -p "$root"
  tar -C "$root" --numeric-owner -xf "$base"
  install_binaries "$root" "$kubernetes" "$binaries"
  install_kind_files "$root" "$module"
  trim_systemd "$root"
  names=$("$kubernetes/kubeadm" config images list --kubernetes-version "$(cat "$root/kind/version")")
  configure_containerd "$root" "$(grep pause <<<"$names")"
  make_pod_images "$root" "$kubernetes" "$binaries" "$work" "$names"
  preload "$root" "$binaries" "$work"
  # STOPSIGNAL: systemd takes SIGTERM for a wish to be executed anew.
  STOP_SIGNAL=SIGRTMIN+3 archive "$work/node.tar" '["/usr/local/bin/entrypoint", "/sbin/init"]' "$root" "$image"
  docker load -i "$work/node.tar"
}

# The images of other versions of these sources; one that a node uses stays.
remove_old_images() {
  docker images --format '{{.Repository}}:{{.Tag}}' zen-lead.io/node | { grep -vxF "$1" || true; } | while read -r old; do
    docker rmi "$old" >/dev/null 2>&1 || true
  done
}

make_image() { # make_image image base-tar kind-module kubernetes-dir binaries-dir
  local work
  has_image "$1" && return
  apt_install debootstrap jq
  work=$(mktemp -d "$CACHE/node/.image-XXXXXX")
  # shellcheck disable=SC2064 # the value of now is meant
  trap "rm -rf --one-file-system '$work'" EXIT
  [[ -e $2 ]] || step "installing Debian $(codename) into a folder, for the nodes (about 1m30s)" make_base "$2" "$work"
  step "making the node image (about 1 minute)" assemble "$@" "$work"
  remove_old_images "$1"
}

# The name tells what is in it: the paths of the parts hold the hashes of their sources.
own_image() { # own_image kind-module base
  local version
  version=$("$ROOT/test/kubernetes/build.sh" version)
  echo "zen-lead.io/node:$version-$({
    content_key "$HERE/image.sh" "$HERE"/files/*
    echo "$@"
    "$ROOT/test/kubernetes/build.sh" path
    "$HERE/build.sh" path
  } | sha256sum | cut -c1-12)"
}

use_named() {
  has_image "$1" || step "pulling $1" docker pull -q "$1" ||
    die "the node image $1 is neither in the Docker engine nor to be pulled" "Check ZEN_LEAD_NODE_IMAGE."
  echo "$1"
}

main() {
  local module stock base own kubernetes binaries
  need_go
  if [[ -n ${ZEN_LEAD_NODE_IMAGE:-} ]]; then
    use_named "$ZEN_LEAD_NODE_IMAGE"
    return
  fi
  module=$(kind_module)
  stock=$(stock_image "$module")
  base=$CACHE/node/debian-$(codename)-$(go env GOARCH)-$(cksum <<<"${PACKAGES[*]}" | cut -d' ' -f1).tar
  own=$(own_image "$module" "$base")
  if has_image "$stock"; then
    echo "$stock"
  elif has_image "$own"; then
    echo "$own"
  elif can_pull "$stock"; then
    step "pulling kind's node image ${stock%@*}" docker pull -q "$stock"
    echo "$stock"
  else
    need_builder
    kubernetes=$("$ROOT/test/kubernetes/build.sh") || explained
    binaries=$("$HERE/build.sh") || explained
    locked node-image make_image "$own" "$base" "$module" "$kubernetes" "$binaries"
    echo "$own"
  fi
}

main
