package routing

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kube-zen/zen-lead/src/election"
)

// TriggerTime is when the world changed in the way that made the incumbent lose leadership: the moment its deletion was
// asked for, or its Ready condition turned. If that cannot be told, it is when the controller saw the change. incumbent
// may be nil.
//
// It goes into the slice's last-change-trigger-time, by which kube-proxy measures network programming latency:
// https://github.com/kubernetes/community/blob/master/sig-scalability/slos/network_programming_latency.md
func TriggerTime(incumbent *Candidate, seen time.Time) time.Time {
	if incumbent == nil {
		return seen
	}
	trigger := seen
	switch incumbent.Blocked {
	case election.Terminating:
		trigger = deletionRequested(incumbent.Pod)
	case election.NotReady:
		trigger = incumbent.ReadySince
	}
	// Clocks differ: the future is no trigger, and neither is an unset time.
	if trigger.IsZero() || trigger.After(seen) {
		return seen
	}
	return trigger
}

// deletionRequested is when the pod's deletion was asked for; its deletionTimestamp is the end of the grace period.
func deletionRequested(pod *corev1.Pod) time.Time {
	requested := pod.DeletionTimestamp.Time
	if grace := pod.DeletionGracePeriodSeconds; grace != nil {
		requested = requested.Add(-time.Duration(*grace) * time.Second)
	}
	return requested
}
