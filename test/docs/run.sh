#!/usr/bin/env bash
# Runs the commands of a Markdown file on the throw-away cluster, in order, as a reader would copy them: the blocks
# marked sh, but for those that call make, which other tests run. The demo has brought the cluster up and the images into
# it; its own objects make room.
#   test/docs/run.sh README.md
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../ci/cluster/env.sh
. "$HERE/../../ci/cluster/env.sh"
cd "$ROOT"

OUTPUT=$(mktemp)
trap 'rm -f "$OUTPUT"' EXIT

# Prints the blocks that are to be run.
blocks() {
  awk '/^```sh$/ {inside = 1; block = ""; next}
       /^```$/   {if (inside && block !~ /(^|\n)make /) printf "%s", block; inside = 0}
       inside    {block = block $0 "\n"}' "$1"
}

# The reader opted a Service in and asked who leads: one pod, Ready, since a time, in a term.
check_answer() {
  grep -Eq '^my-app-leader +my-app-[a-z0-9]+-[a-z0-9]+ +true +[0-9-]+T[0-9:]+Z +[0-9]+$' "$OUTPUT" ||
    die "the commands of $1 did not show who leads" "Read the output above"
  grep -q 'LeaderElected' "$OUTPUT" || die "the commands of $1 did not show the Event of the election" "Read the output above"
}

script=$(blocks "$1")
[[ -n $script ]] || die "$1 has no commands to run" "Mark them as sh"
kubectl delete namespaces --selector app.kubernetes.io/part-of=zen-lead-demo --timeout 2m
bash -euxo pipefail -c "$script" 2>&1 | tee "$OUTPUT"
check_answer "$1"
kubectl delete namespace zen-lead-system --ignore-not-found --timeout 2m
say "the commands of $1 work"
