#!/usr/bin/env bash
# Makes sure that a Docker engine is usable.
#   ci/docker/engine.sh up      uses the engine that answers; else, on Debian as root, installs one and starts it for this project
#   ci/docker/engine.sh down    stops the engine that `up` started, unless containers are left in it; touches no other
#   ci/docker/engine.sh status  says which engine is in use
# Whoever wants to talk to the engine sources ci/cluster/env.sh, which sets DOCKER_HOST.
set -euo pipefail
# shellcheck source=../cluster/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../cluster/env.sh"

LOG=$CACHE/dockerd.log
SOCKET=$RUN/docker.sock

usable() { docker info >/dev/null 2>&1; }

is_debian_root() { [[ $(id -u) == 0 && -e /etc/debian_version ]] && have apt-get; }

explain_missing() {
  local answer
  if ! have docker; then
    die "there is no Docker on this machine" \
      "Install Docker Engine 20.10 or newer (https://docs.docker.com/engine/install), start it, and run this again." \
      "On Debian, running this as root installs and starts it."
  fi
  answer=$(docker info 2>&1 | grep -iE 'permission denied|cannot connect|error' | sed 's/^ERROR: //' | head -n 1) || true
  case $answer in
    *"permission denied"*)
      die "you may not talk to the Docker engine of this machine" \
        "Join its group and log in again: sudo usermod -aG docker $(id -un)"
      ;;
    *)
      die "the Docker engine does not answer: ${answer:-no message}" \
        "Start it (sudo systemctl start docker), or name the one to use in DOCKER_HOST." \
        "On Debian, running this as root without DOCKER_HOST installs one where there is none, and starts it."
      ;;
  esac
}

# True if that has brought a usable engine.
install_engine() {
  have dockerd && have iptables && return 1
  # --no-install-recommends: nothing here needs AppArmor or the storage tools that would come along.
  apt_install docker.io iptables iproute2 || explained
  has_sys_resource && wait_for_service
}

# On a machine with a service manager the package has started its engine: then that is the one to use.
wait_for_service() {
  local _
  [[ -d /run/systemd/system ]] || return 1
  for _ in {1..60}; do
    usable && return
    sleep 0.5
  done
  return 1
}

check_kernel() {
  modprobe -q overlay 2>/dev/null || true
  grep -qw overlay /proc/filesystems ||
    die "this kernel has no overlay file system, which containers need" "Load it (modprobe overlay) or use another kernel."
  iptables -t nat -S >/dev/null 2>&1 ||
    die "iptables has no nat table here, so Docker cannot publish ports" "Load it: modprobe iptable_nat (or nft_chain_nat)."
  # exec/ holds sockets, whose path the kernel limits to 108 bytes.
  ((${#RUN} <= 64)) || die "the path $RUN is too long for the sockets in it" "Set ZEN_LEAD_CACHE to a shorter folder."
}

configure() {
  local runtime="{}"
  mkdir -p "$RUN" "$CACHE/docker"
  # `docker run --privileged`, which kind uses, asks for every capability and so fails where one is withheld.
  if ! has_sys_resource; then
    say "CAP_SYS_RESOURCE is withheld from this machine: containers are started without it"
    install -m 755 "$ROOT/ci/docker/runc-without-sys-resource" "$RUN/runc"
    runtime='{"without-sys-resource": {"path": "'$RUN/runc'"}}'
  fi
  # The default bridge is not used (kind brings a network of its own); one group of cgroups makes leftovers visible.
  cat >"$RUN/daemon.json" <<EOF
{
  "data-root": "$CACHE/docker",
  "exec-root": "$RUN/exec",
  "pidfile": "$RUN/docker.pid",
  "hosts": ["unix://$SOCKET"],
  "bridge": "none",
  "cgroup-parent": "$CGROUP",
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "runtimes": $runtime,
  "default-runtime": "$([[ $runtime == "{}" ]] && echo runc || echo without-sys-resource)"
}
EOF
}

# What dockerd changes for the whole machine and leaves changed.
remember_host() {
  [[ -e $RUN/host-before ]] && return
  {
    echo "ip_forward=$(cat /proc/sys/net/ipv4/ip_forward)"
    echo "forward_policy=$(iptables -S FORWARD | awk '$1 == "-P" {print $3}')"
    echo "chains=$(iptables -S | grep -c '^-N DOCKER' || true)"
  } >"$RUN/host-before"
}

restore_host() {
  local ip_forward='' forward_policy='' chains=''
  [[ -e $RUN/host-before ]] || return 0
  # shellcheck source=/dev/null
  . "$RUN/host-before"
  if [[ $chains == 0 ]]; then
    drop_chains iptables
    have ip6tables && drop_chains ip6tables
    iptables -P FORWARD "$forward_policy"
  fi
  echo "$ip_forward" >/proc/sys/net/ipv4/ip_forward
}

drop_chains() { # drop_chains iptables|ip6tables
  local tables=$1 table rule chain
  for table in filter nat; do
    "$tables" -t "$table" -S 2>/dev/null | awk '/^-A .*-j DOCKER/ {sub(/^-A/, "-D"); print}' | while read -r rule; do
      # shellcheck disable=SC2086 # a rule is many words, and docker's have no quotes
      "$tables" -t "$table" $rule || true
    done
    for chain in $("$tables" -t "$table" -S 2>/dev/null | awk '/^-N DOCKER/ {print $2}'); do "$tables" -t "$table" -F "$chain"; done
    for chain in $("$tables" -t "$table" -S 2>/dev/null | awk '/^-N DOCKER/ {print $2}'); do "$tables" -t "$table" -X "$chain"; done
  done
}

launch() {
  # A session of its own, and none of our files: neither an interrupt nor a lock of this run may reach it.
  setsid dockerd --config-file "$RUN/daemon.json" >>"$LOG" 2>&1 </dev/null 9>&- &
  local pid=$! _
  export DOCKER_HOST=unix://$SOCKET
  for _ in {1..150}; do
    if [[ -e $RUN/docker.pid ]] && usable; then return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  say "the last lines of $LOG:"
  tail -n 15 "$LOG" | sed 's/^/    /' >&2
  kill "$pid" 2>/dev/null || true
  die "the Docker engine did not start" "Read $LOG."
}

start_own() {
  engine_is_ours && return
  if install_engine; then
    say "Docker is installed and its service runs; using it"
    return
  fi
  check_kernel
  rm -f "$RUN/docker.pid" # of a dockerd that was killed: its number may be taken, or not yet free
  sweep_run
  configure
  remember_host
  : >"$LOG"
  launch
  say "started a Docker engine for this project (process $(cat "$RUN/docker.pid"), data in $CACHE/docker);" \
    "the engine of the machine, if any, is not touched"
}

# What a dockerd left behind when the machine went down stands in the way of the next one. One that was killed has left its
# containerd alive, which the next one takes over.
sweep_run() {
  [[ -d $RUN/exec && -z $(engine_orphans) ]] || return 0
  awk -v dir="$RUN/exec" 'index($5, dir) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount -l "$mount" || true
  done
  rm -rf "$RUN/exec" "$RUN/docker.pid" "$SOCKET"
}

up() {
  if engine_is_ours; then
    return
  fi
  if usable && { has_sys_resource || [[ -n ${ZEN_LEAD_USE_DOCKER:-} ]]; }; then
    return
  fi
  if [[ -n ${DOCKER_HOST:-} ]] || ! is_debian_root; then
    explain_missing
  fi
  locked docker start_own
}

down() {
  local pid _
  if ! engine_is_ours; then
    [[ -d $RUN ]] || return 0
    if [[ -n $(engine_orphans) ]]; then
      die "the Docker engine of this project was killed, and its containers still run" "Run: ci/docker/engine.sh up, then make cluster-down"
    fi
    forget
    return
  fi
  if [[ -n $(docker ps -aq) ]]; then
    say "the Docker engine of this project keeps running: it still has containers ($(docker ps -a --format '{{.Names}}' | xargs))"
    return
  fi
  pid=$(cat "$RUN/docker.pid")
  docker network prune -f >/dev/null
  kill "$pid"
  for _ in {1..150}; do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  kill -0 "$pid" 2>/dev/null && die "the Docker engine (process $pid) does not stop" "Read $LOG, then: kill -9 $pid"
  forget
  say "stopped the Docker engine of this project"
}

forget() {
  [[ -d $RUN ]] || return 0
  sweep_run
  if data_on_itself; then umount "$CACHE/docker"; fi
  restore_host
  remove_cgroups
  rm -rf "$RUN/runc" "$RUN/daemon.json" "$RUN/host-before"
  rmdir --ignore-fail-on-non-empty "$RUN"
}

remove_cgroups() {
  local top
  for top in /sys/fs/cgroup"$CGROUP" /sys/fs/cgroup/*"$CGROUP"; do
    [[ -d $top ]] || continue
    find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

status() {
  if engine_is_ours; then
    echo "Docker engine: this project's own, process $(cat "$RUN/docker.pid"), $DOCKER_HOST"
  elif usable; then
    echo "Docker engine: the machine's, version $(docker version --format '{{.Server.Version}}')"
  else
    echo "Docker engine: none answers"
  fi
}

case ${1:-} in
  up | down | status) "$1" ;;
  *) die "usage: ci/docker/engine.sh up|down|status" ;;
esac
