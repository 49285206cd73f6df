// Package micro measures the steps of a failover that need no API server, and holds them to budgets of allocations,
// which are exact where time is not.
package micro

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/routing"
)

// step is one thing that a failover or an event needs, and how many allocations it may take.
type step struct {
	name   string
	budget float64
	run    func()
}

func steps(tb testing.TB) []step {
	tb.Helper()
	source := makeService(1, "")
	pods := makePods(3)
	candidates := routing.Candidates(source, pods)
	standing := make([]election.Candidate, len(candidates))
	for i := range candidates {
		standing[i] = candidates[i].Candidate
	}
	now := epoch().Add(time.Hour)
	policy := election.Policy{Sticky: true}
	decision := election.Decide(now, "", standing, policy)
	leadership := routing.Leadership{}.Next(decision, "a", now)
	current := routing.DesiredSlice(source, "service-1-leader", "IPv4", leadership, pods[0], nil, now)
	slices := []*discoveryv1.EndpointSlice{current}
	services := []*corev1.Service{routing.DesiredLeaderService(source, "service-1-leader", leadership, nil)}
	full := makePod(1, 0, "")
	slim, again := informers.NewPod(full), informers.NewPod(full)
	message, err := full.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return []step{
		{"parse settings", 1, func() { api.ParseSettings(source.Name, source.Annotations, api.Defaults{}) }},
		{"read leadership", 0, func() { routing.ReadLeadership(slices, services) }},
		{"reduce 3 pods", 25, func() { routing.Candidates(source, pods) }},
		{"decide among 3", 5, func() { election.Decide(now, decision.Leader, standing, policy) }},
		{"render a slice", 50, func() { routing.DesiredSlice(source, "service-1-leader", "IPv4", leadership, pods[0], current, now) }},
		{"compare a slice", 6, func() { routing.SliceChanged(current, current) }},
		{"take a pod out of its message", 17, func() {
			var pod informers.Pod
			if err := pod.Unmarshal(message); err != nil {
				tb.Error(err)
			}
		}},
		{"tell that a pod is the same", 0, func() { slim.Same(again) }},
		{"the labels of a cached pod", 2, func() { slim.GetLabels() }},
		{"read a cached pod", 12, func() { slim.Full() }},
	}
}

func TestAllocationBudgets(t *testing.T) {
	for _, s := range steps(t) {
		t.Run(s.name, func(t *testing.T) {
			got := testing.AllocsPerRun(100, s.run)
			t.Logf("%.0f allocations, budget %.0f", got, s.budget)
			if got > s.budget {
				t.Errorf("%.0f allocations, budget %.0f", got, s.budget)
			}
		})
	}
}

func BenchmarkSteps(b *testing.B) {
	for _, s := range steps(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.run()
			}
		})
	}
}

// BenchmarkDecide shows how the decision grows with the pods.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{3, 30, 300} {
		source, pods := makeService(1, ""), makePods(n)
		candidates := routing.Candidates(source, pods)
		standing := make([]election.Candidate, n)
		for i := range candidates {
			standing[i] = candidates[i].Candidate
		}
		b.Run(standing[n-1].Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				election.Decide(epoch(), standing[0].UID, standing, election.Policy{Sticky: true})
			}
		})
	}
}
