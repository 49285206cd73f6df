#!/usr/bin/env bash
# Checks everything that can be said about the sources without running them: ci/verify.sh [CHECK...]
# All checks run, also after one failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/bin:$PATH"
# As programs and tests are built: what vet and staticcheck compile is not compiled again for these.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"

# test/kubernetes and ci/cluster/node are left out of vet and staticcheck: these would compile all of Kubernetes and
# containerd once more. They hold a few lines of code, which their builds compile.
light_modules=(. ci/tools)
# ci/prometheus is not tidied: that would fetch the SDK of every cloud, none of which is built.
modules=(. ci/tools ci/cluster/node test/kubernetes)

in_each() { # in_each "MODULE..." COMMAND...
  local module status=0
  for module in $1; do
    (cd "$module" && "${@:2}") || status=1
  done
  return "$status"
}

# What git tracks, and what it would: a check must not find out about a file only after it is committed.
sources() {
  git ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while IFS= read -r file; do
    if [[ -f $file ]]; then printf '%s\n' "$file"; fi
  done
}

check_gofmt() {
  local files
  files=$(sources '*.go' | xargs gofmt -l)
  [[ -z $files ]] || { printf 'these files need gofmt -w:\n%s\n' "$files"; return 1; }
}

check_vet() { in_each "${light_modules[*]}" go vet ./...; }

check_staticcheck() { in_each "${light_modules[*]}" staticcheck ./...; }

check_tidy() { in_each "${modules[*]}" go mod tidy -diff; }

check_generated() { ci/generate.sh --check; }

check_actionlint() { sources '.github/workflows/*.yaml' | xargs actionlint -shellcheck= -pyflakes=; }

# Workflows run nothing but make targets, which exist, and actions that are pinned by their commit.
check_workflows() {
  local target status=0
  forbid 'a step that is no make target' '^ *(- )?run: (make$|make .*[^a-z0-9 -]|[^m]|m[^a])' '.github/workflows/*.yaml' || status=1
  if sources '.github/workflows/*.yaml' | xargs grep -n 'uses:' /dev/null | grep -vE '@[0-9a-f]{40}( |$)|uses: \./'; then
    printf 'the actions above are not pinned by their commit\n'
    status=1
  fi
  for target in $(sources '.github/workflows/*.yaml' | xargs sed -nE 's/^ *(- )?run: make //p'); do
    grep -q "^$target:" Makefile || { printf 'workflows run make %s, which the Makefile does not have\n' "$target"; status=1; }
  done
  return "$status"
}

check_helm_lint() {
  local file status=0
  for file in charts/zen-lead/ci/*-values.yaml; do
    helm lint --quiet --strict --namespace zen-lead-system --values "$file" charts/zen-lead || status=1
  done
  return "$status"
}

check_shell() {
  local file status=0
  while IFS= read -r file; do
    bash -n "$file" || status=1
    # A library that is sourced leaves the options to the script that sources it.
    if [[ -x $file ]] && head -n 1 "$file" | grep -q bash && ! grep -q '^set -euo pipefail$' "$file"; then
      printf '%s: must say: set -euo pipefail\n' "$file"
      status=1
    fi
  done < <(sources | xargs grep -lIE '^#!.*\b(ba)?sh\b|^# shellcheck shell=bash')
  return "$status"
}

forbid() { # forbid WHY PATTERN PATHSPEC...
  local found
  found=$(sources "${@:3}" | xargs grep -nIE -- "$2" /dev/null || true)
  [[ -z $found ]] || { printf '%s:\n%s\n' "$1" "$found"; return 1; }
}

check_forbidden() {
  local status=0 everything=(':!*.sum' ':!LICENSE')
  forbid 'a path that only one machine has' '(^|[^[:alnum:]_.}>])/(root|work|Users|home/[a-z]+)/' "${everything[@]}" || status=1
  forbid 'a merge conflict' '^(<{7}|>{7}) ' "${everything[@]}" || status=1
  forbid 'white space at the end of a line' '[[:blank:]]+$' "${everything[@]}" ':!*.md' || status=1
  forbid 'something left to do: do it, or open an issue' '\b(TO''DO|FIX''ME|XX''X)\b' "${everything[@]}" || status=1
  forbid 'a pause in a test: wait for the condition instead' '\btime\.Sleep\(' '*_test.go' || status=1
  forbid 'the address of a package registry: the machine knows which it uses' \
    '\b(proxy|deb|mirrors?|archive|snapshot)\.[a-z0-9-]+\.(org|com|net|cn|io)\b|\bregistry\.[a-z0-9-]+\.org\b|\bgoproxy\.' \
    "${everything[@]}" || status=1
  forbid 'a credential' 'BEGIN [A-Z ]*PRIVATE KEY' "${everything[@]}" || status=1
  return "$status"
}

# Each check is a process of its own: a function that an if asks for its exit code runs on after an error.
if [[ ${1:-} == --one ]]; then
  "check_${2//-/_}"
  exit
fi

failed=()
run() { # run CHECK
  local log start=$SECONDS
  if log=$(bash ci/verify.sh --one "$1" 2>&1); then
    printf 'ok      %-12s %3ds\n' "$1" "$((SECONDS - start))"
  else
    printf 'FAILED  %-12s %3ds\n%s\n' "$1" "$((SECONDS - start))" "$log"
    failed+=("$1")
  fi
}

known=(gofmt vet staticcheck tidy generated actionlint workflows helm-lint shell forbidden)
(($#)) || set -- "${known[@]}"
for check in "$@"; do
  declare -F "check_${check//-/_}" >/dev/null || {
    printf 'ci/verify.sh: unknown check %s; known are: %s\n' "$check" "${known[*]}" >&2
    exit 2
  }
  run "$check"
done

if ((${#failed[@]})); then
  printf '\n%d of %d checks failed: %s\n' "${#failed[@]}" "$#" "${failed[*]}" >&2
  exit 1
fi
