#!/usr/bin/env bash
# The demo as a test: twice, the second run timed; no request may fail. Then, on the same cluster, the commands of the README
# and the four rows of the failure matrix that it tells of (make e2e runs all); then chart-testing with everything on (make
# ct-install takes all values files); then nothing may be left. Where the machine cannot run nodes it is skipped, with the reason.
set -euo pipefail
# shellcheck source=../../ci/cluster/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../ci/cluster/env.sh"
cd "$ROOT"

# From `make demo` to the first request, once everything is built and the cluster is up.
SECOND_START_LIMIT=60

passed=0 failed=0 skipped=0

pass() {
  passed=$((passed + 1))
  printf -- '--- PASS: %s\n' "$*"
}

fail() {
  failed=$((failed + 1))
  printf -- '--- FAIL: %s\n' "$*"
}

skip() {
  skipped=$((skipped + 1))
  printf -- '--- SKIP: %s\n' "$*"
}

finish() {
  printf 'e2e: %d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  # shellcheck disable=SC2034 # lib.sh reads it: this end is explained
  EXPLAINED=yes
  ((failed == 0)) || exit 1
  exit 0
}

# Runs the demo and notes when its traffic begins.
run_demo() { # run_demo NAME
  local start=$SECONDS line begun='' output=$STATE/$1.log
  mkdir -p "$STATE"
  printf '=== RUN   %s\n' "$1"
  make --no-print-directory demo 2>&1 | tee "$output" | while IFS= read -r line; do
    printf '%s\n' "$line"
    if [[ -z $begun && $line == *"Two clients on another node"* ]]; then
      begun=$((SECONDS - start))
      echo "$begun" >"$output.begun"
    fi
  done
}

evidence() {
  local file
  for file in "$STATE"/demo-logs/*; do
    [[ -s $file ]] || continue
    printf '>>> the end of %s\n' "$file"
    tail -n 40 "$file"
  done
}

demo() { # demo NAME
  local name=$1
  rm -f "$STATE/$name.log.begun"
  # A failed request makes the demo fail; its own words are asked for too, so that a demo that shows nothing does not pass.
  if run_demo "$name" && grep -qE '^Result: [0-9,]+ requests, 0 failed; ' "$STATE/$name.log"; then
    pass "$name: $(grep '^Result: ' "$STATE/$name.log" | cut -d' ' -f2-)"
    return
  fi
  fail "$name"
  evidence
  return 1
}

second_start() {
  local begun
  begun=$(cat "$STATE/demo-second.log.begun" 2>/dev/null) || { fail "demo-second-start: the demo did not say when its clients begin"; return; }
  if ((begun <= SECOND_START_LIMIT)); then
    pass "demo-second-start: requests after $begun s"
  else
    fail "demo-second-start: requests only after $begun s, not within $SECOND_START_LIMIT s"
  fi
}

readme() {
  printf '=== RUN   readme\n'
  if test/docs/run.sh README.md; then pass "readme: its commands work"; else fail "readme"; fi
}

matrix() {
  local start=$SECONDS
  printf '=== RUN   failure-matrix\n'
  if test/e2e/e2e.sh --fast; then
    pass "failure-matrix: its fast rows, in $((SECONDS - start)) s"
  else
    fail "failure-matrix: its fast rows"
  fi
}

# The values that turn everything on; make ct-install takes all.
chart() {
  local start=$SECONDS
  printf '=== RUN   chart-testing\n'
  if ci/ct.sh install --values everything; then
    pass "chart-testing: install, test and upgrade with everything on, in $((SECONDS - start)) s"
  else
    fail "chart-testing"
  fi
}

clean_up() {
  if [[ $was_up == yes && ${CI:-} != true ]]; then
    skip "demo-down: the cluster was up before this test, and so is left up"
    return
  fi
  if make --no-print-directory demo-down && ci/cluster/leftovers.sh; then
    pass "demo-down: nothing is left"
  else
    fail "demo-down"
  fi
}

if [[ $CLUSTER != kind ]]; then
  skip "demo: CLUSTER=$CLUSTER, and this test makes and removes a cluster of its own"
  finish
fi
if ! reason=$(ci/cluster/can-run.sh); then
  skip "demo: $reason"
  finish
fi
was_up=no
if [[ -e $KUBECONFIG ]] && have kubectl && kubectl --request-timeout=5s get --raw /readyz >/dev/null 2>&1; then was_up=yes; fi
# shellcheck disable=SC2034 # lib.sh calls it
ON_INTERRUPT=clean_up
# A cluster that a killed run left, also that of another clone, holds whatever that run had in hand.
if [[ $was_up == no || ${CI:-} == true ]]; then ci/cluster/down.sh --quiet; fi
if demo demo-first && demo demo-second; then
  second_start
  readme
  matrix
  chart
fi
clean_up
rm -f "$STATE"/demo-{first,second}.log{,.begun}
finish
