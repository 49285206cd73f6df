package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/kube-zen/zen-lead/src/metrics"
)

// metricsPage asks a recorder that has seen everything once.
func metricsPage(root string) (string, error) {
	families, err := gather()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Metrics\n\n" + notice + `
What zen-lead exports itself, beside controller-runtime's own (` + "`controller_runtime_*`, `workqueue_*`, `rest_client_*`, `leader_election_master_status`" + `) and
those of the Go process. How to scrape them, and the alerts on them: [monitoring](../monitoring.md). Series of a Service go when it
opts out or is deleted; Services that did not opt in have none.

| metric | type | labels | what it is |
|---|---|---|---|
`)
	for _, family := range families {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()),
			strings.Join(labelNames(family), ", "), family.GetHelp())
	}
	for _, group := range []struct{ title, file, kind string }{
		{"`state` of `zen_lead_services`", "src/metrics/metrics.go", "State"},
		{"`reason` of `zen_lead_leader_transitions_total`", "src/election/election.go", "Reason"},
		{"`state` of `zen_lead_candidates`, beside `eligible` and `waiting` (for min-ready-duration)", "src/election/election.go", "Block"},
		{"`reason` of `zen_lead_suppressed_switches_total`", "src/election/election.go", "Suppression"},
	} {
		values, err := constants(filepath.Join(root, group.file), func(c constant) bool { return c.kind == group.kind })
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n## %s\n\n| value | meaning |\n|---|---|\n", group.title)
		for _, c := range values {
			// The first election is no transition.
			if c.value != "" && c.value != "first_election" {
				fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, capital(cmp.Or(c.text, strings.ReplaceAll(c.value, "_", " "))))
			}
		}
	}
	return b.String(), nil
}

func gather() ([]*dto.MetricFamily, error) {
	registry := prometheus.NewPedanticRegistry()
	recorder := metrics.NewRecorder(clock.RealClock{}, "VERSION")
	if _, err := recorder.Register(registry); err != nil {
		return nil, err
	}
	key := types.NamespacedName{Namespace: "n", Name: "s"}
	recorder.Observe(key, metrics.Status{
		State: metrics.Led, Epoch: 1, Since: time.Unix(1, 0), Candidates: map[string]int{"eligible": 1},
		Problems: []string{"p"}, Suppressed: "s", Challenger: "c",
	})
	recorder.Transition(key, "r")
	recorder.Failover(time.Second)
	recorder.SliceWrite("create", "success")
	recorder.Conflict()
	recorder.DriftRepair("Service")
	families, err := registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("failed to gather metrics: %w", err)
	}
	return families, nil
}

func labelNames(family *dto.MetricFamily) []string {
	var names []string
	for _, pair := range family.GetMetric()[0].GetLabel() {
		names = append(names, "`"+pair.GetName()+"`")
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	return names
}

// place puts the labels that name a Service first.
func place(label string) string {
	switch label {
	case "`namespace`", "`service`":
		return "\x00" + label
	}
	return label
}
