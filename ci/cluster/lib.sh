# shellcheck shell=bash
# What the scripts around the test clusters share; to be sourced. Everything for people goes to stderr: stdout belongs to
# the one line that a script promises.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${ZEN_LEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zen-lead}
STATE=$ROOT/.cluster # of this clone: kubeconfig, logs; git ignores it

say() { printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# A command that fails where nobody expected it: better a place to look at than silence.
EXPLAINED=
set -E
trap '[[ -n $EXPLAINED ]] || printf "error: %s, line %s: \"%s\" failed\n" "${BASH_SOURCE[0]}" "$LINENO" "$BASH_COMMAND" >&2' ERR

die() { # die "what is wrong" "what to do"...
  printf 'error: %s\n' "$1" >&2
  EXPLAINED=yes
  shift
  [[ $# -eq 0 ]] || printf '       %s\n' "$@" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# command || explained: the command has said itself what is wrong.
explained() {
  EXPLAINED=yes
  exit 1
}

duration() { # 200 -> 3m20s
  local s=$1
  if ((s >= 60)); then printf '%dm%02ds' $((s / 60)) $((s % 60)); else printf '%ds' "$s"; fi
}

# The process group of the step that runs now: an interrupt must end a compiler or kind too, which the terminal does not
# reach, because steps run in process groups of their own.
STEP_PGID=

end_step() {
  [[ -n $STEP_PGID ]] || return 0
  kill -TERM -- "-$STEP_PGID" 2>/dev/null || true
  wait "$STEP_PGID" 2>/dev/null || true
  STEP_PGID=
}

ON_INTERRUPT= # a function that takes away what is half made

on_interrupt() {
  trap '' INT TERM
  [[ -t 2 ]] && printf '\r\033[K' >&2
  say "interrupted"
  end_step
  [[ -z $ON_INTERRUPT ]] || "$ON_INTERRUPT"
  exit 130
}

trap on_interrupt INT TERM

# step "what it does" command...: runs it with its output in a log, shows the time that it takes, and the end of the log
# if it fails. A terminal gets a running clock, a log file a line every half minute.
step() {
  local what=$1 start=$SECONDS log rc=0
  shift
  mkdir -p "$STATE/logs"
  log=$STATE/logs/$(tr -cs 'a-zA-Z0-9\n' '-' <<<"${what%%[,(]*}" | sed 's/-$//' | cut -c1-60).log
  [[ -t 2 ]] || say "$what ..."
  set -m
  "$@" >"$log" 2>&1 </dev/null &
  STEP_PGID=$!
  set +m
  watch_step "$what" "$STEP_PGID" "$start"
  wait "$STEP_PGID" || rc=$?
  STEP_PGID=
  if ((rc != 0)); then
    [[ -t 2 ]] && printf '\r\033[K' >&2
    say "$what: failed after $(duration $((SECONDS - start))); the last lines of $log:"
    tail -n 25 "$log" | sed 's/^/    /' >&2
    EXPLAINED=yes
    return "$rc"
  fi
  if [[ -t 2 ]]; then
    printf '\r\033[K%s: %s\n' "$what" "$(duration $((SECONDS - start)))" >&2
  else
    say "$what: done in $(duration $((SECONDS - start)))"
  fi
}

watch_step() { # watch_step what pid start
  local next=$((SECONDS + 30))
  while kill -0 "$2" 2>/dev/null; do
    if [[ -t 2 ]]; then
      printf '\r\033[K%s ... %s' "$1" "$(duration $((SECONDS - $3)))" >&2
    elif ((SECONDS >= next)); then
      say "$1 ... $(duration $((SECONDS - $3)))"
      next=$((SECONDS + 30))
    fi
    sleep 0.2
  done
}

# content_key file...: names what is built from these files, by this Go, for this machine.
content_key() {
  { sha256sum -- "$@" | cut -d' ' -f1; go env GOVERSION GOOS GOARCH; } | sha256sum | cut -c1-16
}

# locked name command...: one run at a time on this machine. Whoever waits finds the result made.
# Always file 9, so that a daemon can be started without it; not to be nested in one shell.
locked() {
  local name=$1 rc
  shift
  mkdir -p "$CACHE"
  exec 9>"$CACHE/$name.lock"
  if have flock && ! flock -n 9; then
    say "waiting for another run, which holds $CACHE/$name.lock"
    flock 9
  fi
  "$@"
  rc=$? # where the caller goes on after a failure
  exec 9>&-
  return "$rc"
}

# apt_install package...: those that are missing; only for Debian and root.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  step "installing Debian packages, ${missing[*]}" apt_get "${missing[@]}"
}

apt_get() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@"
}

need_go() {
  have go || die "go is not on the PATH" "Install the version that go.mod names, or a newer one: https://go.dev/dl"
}

cores() { nproc 2>/dev/null || echo 1; }
