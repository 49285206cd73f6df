# Every target is one command of a script or of Go: workflows and people call the same targets.
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
SHELL := /usr/bin/env bash
.SHELLFLAGS := --norc -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

BIN := $(CURDIR)/bin
export PATH := $(BIN):$(PATH)

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
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(BIN)/zen-lead ./src/cmd/zen-lead

## @category Test

.PHONY: test
test: verify test-unit test-integration ## Everything that can be tested on this machine.

.PHONY: test-unit
test-unit: ## Unit tests, with the race detector.
	go test -race ./src/...

.PHONY: verify
verify: ## Formatting, vet, static analysis, generated files.
	@test -z "$$(gofmt -l src test ci)" || { echo "gofmt: these files need formatting:"; gofmt -l src test ci; exit 1; }
	go vet ./...
