# Every target is one command of a script or of Go: workflows and people call the same targets.
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
SHELL := /usr/bin/env bash
.SHELLFLAGS := --norc -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
export PATH := $(BIN):$(PATH)
VERSION := $(shell awk '$$1 == "appVersion:" {print $$2}' charts/zen-lead/Chart.yaml)

# kind: a throw-away three-node cluster on this machine. current: the cluster of your kubeconfig.
CLUSTER ?= kind
export CLUSTER

## @category General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} \
	  /^## @category/ {sub(/^## @category /, ""); printf "\n\033[1m%s\033[0m\n", $$0} \
	  /^[a-zA-Z_-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## @category Build

.PHONY: build
build: ## Build the controller for this machine into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/zen-lead ./src/cmd/zen-lead

.PHONY: images
images: bin/image ## Build the image archives in bin/images: the controller, agnhost, the traffic client.
	@ci/images.sh

.PHONY: chart-repo
chart-repo: bin/helm ## Make a chart repository in bin/chart-repo (CHART_REPO_URL: its address; HELM_SIGN_KEY, HELM_KEYRING: sign; ARTIFACTHUB_ID).
	@ci/chart-repo.sh

# What each step takes from the environment: see ci/release.sh.
.PHONY: release-check
release-check: ## The tag in RELEASE_TAG is the chart's version, and the changelog has its section.
	@ci/release.sh check

.PHONY: release-build
release-build: bin/helm bin/image bin/cyclonedx-gomod ## Everything that is released, for amd64 and arm64, into bin/release.
	@ci/release.sh build

.PHONY: release-push
release-push: bin/helm bin/image ## Push image and chart to REGISTRY.
	@ci/release.sh push

.PHONY: release-index
release-index: bin/helm ## The index of all charts so far (CHART_INDEX_URL), into bin/release/pages.
	@ci/release.sh index

.PHONY: release-publish
release-publish: ## A release on GitHub, with the files of bin/release.
	@ci/release.sh publish

## @category Tools

# Versions are pinned by ci/tools/go.mod, whose `tool` lines list the same packages. `make bin/helm` builds just that one.
tool-kind                    := sigs.k8s.io/kind
tool-helm                    := helm.sh/helm/v3/cmd/helm
tool-ct                      := github.com/helm/chart-testing/v3/ct
tool-staticcheck             := honnef.co/go/tools/cmd/staticcheck
tool-actionlint              := github.com/rhysd/actionlint/cmd/actionlint
tool-helm-docs               := github.com/norwoodj/helm-docs/cmd/helm-docs
tool-helm-values-schema-json := github.com/losisin/helm-values-schema-json/v2
tool-cyclonedx-gomod         := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
tool-setup-envtest           := sigs.k8s.io/controller-runtime/tools/setup-envtest

TOOLS := kind helm ct staticcheck actionlint helm-docs helm-values-schema-json setup-envtest cyclonedx-gomod

.PHONY: tools
tools: $(TOOLS:%=bin/%) ## Build the pinned tools into bin/: what is missing or outdated.

$(TOOLS:%=bin/%): bin/%: ci/tools/go.mod ci/tools/go.sum ci/tool.sh
	@ci/tool.sh $* $(tool-$*)

# The image builder is the project's own: no base image, no container engine.
bin/image: ci/tools/go.mod ci/tools/go.sum ci/tool.sh $(filter-out %_test.go,$(wildcard ci/tools/image/*.go))
	@ci/tool.sh image ./image

# Prometheus and promtool, without the clouds' service discovery; both are built at once.
bin/prometheus bin/promtool &: ci/prometheus/go.mod ci/prometheus/go.sum ci/prometheus.sh
	@ci/prometheus.sh build

## @category Cluster

# IP families of the throw-away cluster: ipv4, dual or ipv6.
CLUSTER_IP_FAMILY ?= ipv4
export CLUSTER_IP_FAMILY

.PHONY: cluster-up
cluster-up: bin/kind ## Bring up a throw-away three-node cluster (CLUSTER=current: check that yours answers).
	@ci/cluster/up.sh

.PHONY: cluster-down
cluster-down: ## Take that cluster away, and what it needed to run; keep what was slow to build.
	@ci/cluster/down.sh

.PHONY: cluster-status
cluster-status: ## Say what is up.
	@ci/cluster/status.sh

.PHONY: cache-clean
cache-clean: cluster-down ## Remove what was slow to build too: Kubernetes, the node image, the data of the Docker engine.
	@ci/cluster/cache-clean.sh

## @category Demo

.PHONY: demo
demo: bin/helm $(if $(filter kind,$(CLUSTER)),bin/kind bin/image) ## A throw-away Kubernetes, the chart installed, a Service annotated, its leader deleted under traffic.
	@test/demo/demo.sh up

.PHONY: demo-down
demo-down: bin/helm ## Remove every trace of the demo, and the throw-away cluster.
	@test/demo/demo.sh down

## @category Test

# Row of the benchmark, or rows of the failure matrix (a regular expression), to run; empty: all.
ROW ?=

# Each part needs no more than its own tools. `make -j` is of no use: one part already takes all cores.
.PHONY: test
test: verify test-unit test-simulation test-chart test-monitoring test-integration test-docs test-e2e ## Everything that can be tested on this machine.

# The flags of the programs: what is compiled for these, for vet and for staticcheck is not compiled again for tests.
GO_TEST := CGO_ENABLED=0 go test -trimpath

# The race detector needs a C compiler.
RACE = $(shell command -v "$$(go env CC)" >/dev/null && echo -race)

.PHONY: test-unit
test-unit: ## Unit tests, with the race detector.
	@[[ -n "$(RACE)" ]] || echo "no C compiler: testing without the race detector (Debian: apt-get install gcc libc6-dev)"
	go test $(RACE) ./src/... ./test/demo/... ./test/e2e/harness/... ./test/traffic/...
	$(GO_TEST) ./test/bench/...
	cd ci/tools && $(GO_TEST) ./...
	cd ci/cluster/node && $(GO_TEST) ./podnet

# Ten thousand histories, the same each time; a failure names its seed and prints its story.
.PHONY: test-simulation
test-simulation: ## Random histories of a simulated API server, caches, clocks and controllers.
	$(GO_TEST) ./test/simulation -run 'TestStories|TestRollouts' -rapid.checks=2000
	$(GO_TEST) ./test/simulation -run TestHistories -rapid.checks=10000

# Histories and seconds of kill -9 of a longer run, from a seed that is printed: each run is another.
SOAK_HISTORIES ?= 300000
SOAK_SECONDS ?= 300
ifndef SEED
SEED := $(shell date +%s)
endif

.PHONY: soak
soak: bin/helm ## The same for longer, and kill -9 under churn on a real API server: SOAK_HISTORIES, SOAK_SECONDS, SEED.
	@echo "SEED=$(SEED)"
	$(GO_TEST) -timeout 0 -v ./test/simulation -run 'TestHistories|TestRollouts' -rapid.checks=$(SOAK_HISTORIES) -rapid.seed=$(SEED)
	@assets="$$(ci/envtest.sh)" && KUBEBUILDER_ASSETS="$$assets" ZEN_LEAD_KILL_DURATION=$(SOAK_SECONDS)s ZEN_LEAD_KILL_SEED=$(SEED) \
	  go test $(RACE) -count=1 -timeout 0 -v ./test/integration -run TestFaults_KilledAtRandom

.PHONY: test-integration
test-integration: bin/helm ## The controller on a real API server; the first run may compile Kubernetes.
	@assets="$$(ci/envtest.sh)" && echo "go test $(RACE) ./test/integration/..." && \
	  KUBEBUILDER_ASSETS="$$assets" go test $(RACE) -count=1 -timeout 20m ./test/integration/...

.PHONY: test-e2e
test-e2e: bin/helm bin/ct ## The demo, four rows of the failure matrix and chart-testing on real nodes; where the machine cannot run them it says why not.
	@test/e2e/demo.sh

.PHONY: e2e
e2e: bin/helm $(if $(filter kind,$(CLUSTER)),bin/kind bin/image) ## The failure matrix on real nodes under traffic; ROW=<regexp> for some rows. Leaves the cluster up.
	@test/e2e/e2e.sh '$(ROW)'

.PHONY: failover-report
failover-report: ## Write the tables of docs/failover.md and README.md, and draw the picture, from what make e2e measured.
	go run ./test/e2e/report .cluster/e2e-results.jsonl docs/failover.md docs/images/failover.svg README.md

# Values files of ct-install, without -values.yaml, with commas between them; empty: all.
VALUES ?=

.PHONY: ct-lint
ct-lint: bin/ct bin/helm ## chart-testing: lint the chart; wants yamllint.
	@ci/ct.sh lint

.PHONY: ct-install
ct-install: bin/ct bin/helm cluster-up images ## chart-testing: install, test and upgrade the chart for every values file in its ci directory, on the throw-away cluster.
	@ci/cluster/load.sh bin/images/zen-lead.tar bin/images/agnhost.tar
	@ci/ct.sh install $(if $(VALUES),--values $(VALUES))

.PHONY: ct
ct: ct-lint ct-install ## Both.

.PHONY: test-chart
test-chart: bin/helm ## The chart, rendered for every values file in its ci directory.
	$(GO_TEST) ./test/chart/...

.PHONY: test-monitoring
test-monitoring: build bin/helm bin/promtool bin/prometheus ## Alerts, runbooks, and the dashboard on a real Prometheus; the first run compiles that.
	@assets="$$(ci/envtest.sh)" && echo "go test ./test/monitoring/..." && \
	  KUBEBUILDER_ASSETS="$$assets" $(GO_TEST) -count=1 -timeout 10m ./test/monitoring/...

.PHONY: test-docs
test-docs: build bin/helm ## What the pages say, every command that they show, and the examples, on a real API server with played nodes.
	@assets="$$(ci/envtest.sh)" && echo "go test ./test/docs/... ./examples/..." && \
	  KUBEBUILDER_ASSETS="$$assets" $(GO_TEST) -count=1 -timeout 15m ./test/docs/... ./examples/...

.PHONY: dashboard-picture
dashboard-picture: build bin/helm bin/promtool bin/prometheus ## Draw docs/images/dashboard.svg from what the dashboard's queries give in a scene of two minutes.
	@assets="$$(ci/envtest.sh)" && KUBEBUILDER_ASSETS="$$assets" ZEN_LEAD_PICTURE=$(CURDIR)/docs/images/dashboard.svg \
	  $(GO_TEST) -count=1 -timeout 10m -run TestDashboard ./test/monitoring

.PHONY: bench
bench: ## Measure against the physical limit and the EndpointSlice controller; ROW=serial for one row (bin/bench -help lists them).
	@test/bench/bench.sh $(if $(ROW),-row $(ROW))

.PHONY: bench-report
bench-report: ## Write the tables of docs/performance.md, and draw its picture, from the newest full run of each row of make bench.
	go run ./test/bench page .cluster/bench docs/performance.md docs/images/performance.svg

.PHONY: bench-quick
bench-quick: ## The same with small sizes and few samples, to see that everything works.
	@test/bench/bench.sh -quick $(if $(ROW),-row $(ROW))

.PHONY: verify
verify: bin/helm bin/staticcheck bin/actionlint bin/helm-docs bin/helm-values-schema-json ## Formatting, static analysis, generated files, chart and workflow lint.
	@ci/verify.sh

.PHONY: generate
generate: bin/helm-docs bin/helm-values-schema-json ## Write the chart's README and values schema from values.yaml, and docs/reference from the code.
	@ci/generate.sh
