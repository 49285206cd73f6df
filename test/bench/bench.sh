#!/usr/bin/env bash
# Builds the controller and the benchmark, sees to a control plane, and runs the benchmark with the given flags.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"

assets=$(ci/envtest.sh)
make --no-print-directory build
go build -o bin/bench ./test/bench
exec env KUBEBUILDER_ASSETS="$assets" bin/bench "$@"
