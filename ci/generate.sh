#!/usr/bin/env bash
# Writes what is generated from other files of the repository. With --check it writes nothing, and fails if a file is not
# what it would write.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

chart=charts/zen-lead
generated=(values.schema.json README.md)
reference=docs/reference

generate() { # generate CHART_DIRECTORY
  # Draft 7 is what Helm before 3.18 understands.
  bin/helm-values-schema-json --values "$1/values.yaml" --output "$1/values.schema.json" \
    --draft 7 --indent 2 --no-additional-properties --use-helm-docs 2>"$scratch/log" || { cat "$scratch/log" >&2; return 1; }
  bin/helm-docs --chart-search-root "$1" --sort-values-order file --log-level warning
}

generate_reference() { CGO_ENABLED=0 go run -trimpath ./ci/reference . "$1"; } # generate_reference DIRECTORY

check() {
  local file status=0
  cp -r "$chart" "$scratch/chart"
  # A generator that fails without saying so must not find yesterday's result.
  rm -f "${generated[@]/#/$scratch/chart/}"
  generate "$scratch/chart"
  for file in "${generated[@]}"; do
    diff -u "$chart/$file" "$scratch/chart/$file" || status=1
  done
  generate_reference "$scratch/reference"
  diff -ur "$reference" "$scratch/reference" || status=1
  if ((status)); then
    printf 'ci/generate.sh: the files above are not what their sources give: run make generate and commit the result\n' >&2
  fi
  return "$status"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case ${1:-} in
  "")
    generate "$chart"
    generate_reference "$reference"
    ;;
  --check) check ;;
  *)
    printf 'usage: ci/generate.sh [--check]\n' >&2
    exit 2
    ;;
esac
