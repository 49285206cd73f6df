package main

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// storm is what one mass failure took, from the first pod event that the observer saw.
type storm struct {
	// leaders and managed are when the last leader slice, and the last slice of the EndpointSlice controller, changed.
	leaders, managed time.Duration
	// each is, for each Service, the time from its pod's event to the change of its leader slice.
	each []time.Duration
	// early are the mirrors that the API server received before the last write of a leader slice.
	early int
}

// runStorm lets half of the leaders fail in one instant, those of zen-lead and those of the bare loop in turns.
func runStorm(ctx context.Context, b *bench) error {
	services := b.size(1000, 100)
	a, err := newArena(ctx, b, services, nsZenLead, nsBare)
	if err != nil {
		return err
	}
	storms := map[string][]storm{}
	for range b.size(6, 2) {
		for _, namespace := range []string{nsBare, nsZenLead} {
			s, err := a.storm(ctx, a.workloads[namespace][:services/2])
			if err != nil {
				return err
			}
			b.say("%s: leaders %.0f ms, EndpointSlice controller %.0f ms", namespace, milliseconds(s.leaders), milliseconds(s.managed))
			storms[namespace] = append(storms[namespace], s)
		}
	}
	a.reportStorms(storms[nsZenLead], storms[nsBare])
	return nil
}

// storm makes the leaders of all the workloads fail, waits until everybody has answered, and puts things back.
func (a *arena) storm(ctx context.Context, workloads []*workload) (storm, error) {
	var victims []*corev1.Pod
	for _, w := range workloads {
		victims = append(victims, a.victim(w))
	}
	since, err := a.plane.mark()
	if err != nil {
		return storm{}, err
	}
	if err := a.writeAll(ctx, victims, false); err != nil {
		return storm{}, err
	}
	var s storm
	err = a.observer.waitForMany(ctx, 2*time.Minute, "all leaders to move", func() bool {
		s = a.sightings(workloads, victims)
		return s.leaders > 0 && s.managed > 0
	})
	if err != nil {
		return s, errors.Join(err, a.unansweredStorm(ctx, workloads, victims))
	}
	pause(ctx, 3*time.Second) // what follows the failovers
	if s.early, err = a.early(since); err != nil {
		return s, err
	}
	if err := a.writeAll(ctx, victims, true); err != nil {
		return s, err
	}
	if err := a.settled(ctx); err != nil {
		return s, err
	}
	pause(ctx, time.Second)
	return s, nil
}

// unansweredStorm tells what is known of the first workload whose failure was not answered.
func (a *arena) unansweredStorm(ctx context.Context, workloads []*workload, victims []*corev1.Pod) error {
	for i, w := range workloads {
		a.observer.mu.Lock()
		s := a.sightings(workloads[i:i+1], victims[i:i+1])
		a.observer.mu.Unlock()
		if s.leaders == 0 || s.managed == 0 {
			return a.unanswered(ctx, w, victims[i])
		}
	}
	return nil
}

// sightings are zero for whoever has not answered everything. The observer is locked.
func (a *arena) sightings(workloads []*workload, victims []*corev1.Pod) storm {
	o := a.observer
	var s storm
	first, lastLed, lastManaged := time.Time{}, time.Time{}, time.Time{}
	ledDone, managedDone := true, true
	for i, w := range workloads {
		pod := o.pods[victims[i].Namespace+"/"+victims[i].Name]
		if pod.ready {
			return storm{}
		}
		if first.IsZero() || pod.since.Before(first) {
			first = pod.since
		}
		leaderSlice, slice := o.slices[led(w)], o.slices[managed(w)]
		ledDone = ledDone && len(leaderSlice.ready) == 1 && leaderSlice.ready[0] != victims[i].Name
		managedDone = managedDone && !slices.Contains(slice.ready, victims[i].Name)
		lastLed, lastManaged = latest(lastLed, leaderSlice.since), latest(lastManaged, slice.since)
		s.each = append(s.each, leaderSlice.since.Sub(pod.since))
	}
	if ledDone {
		s.leaders = lastLed.Sub(first)
	}
	if managedDone {
		s.managed = lastManaged.Sub(first)
	}
	return s
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// writeAll writes the status of many pods as fast as etcd takes it.
func (a *arena) writeAll(ctx context.Context, pods []*corev1.Pod, ready bool) error {
	var list []object
	for _, pod := range pods {
		setReady(pod, ready)
		list = append(list, pod)
	}
	return a.plane.store.update(ctx, list...)
}

// early counts the leader Services that zen-lead wrote before the last leader slice. Not each of them held a failover up:
// the pods do not fail quite at once, and in between there may be nothing else to do.
func (a *arena) early(since mark) (int, error) {
	lines, err := a.plane.requests(userZenLead, since)
	if err != nil {
		return 0, err
	}
	var last time.Time
	for i := range lines {
		if lines[i].Object.Resource == "endpointslices" && lines[i].writes() {
			last = latest(last, lines[i].Received)
		}
	}
	early := 0
	for i := range lines {
		if lines[i].Object.Resource == "services" && lines[i].writes() && lines[i].Received.Before(last) {
			early++
		}
	}
	return early, nil
}

func (a *arena) reportStorms(zen, bare []storm) {
	pick := func(storms []storm, of func(storm) time.Duration) []time.Duration {
		var list []time.Duration
		for _, s := range storms {
			list = append(list, of(s))
		}
		return list
	}
	leaders := func(s storm) time.Duration { return s.leaders }
	managed := func(s storm) time.Duration { return s.managed }
	last, limit := a.samples("zen-lead, last of a storm", pick(zen, leaders)), a.samples("bare loop, last of a storm", pick(bare, leaders))
	stock := a.samples("EndpointSlice controller, last of the same storm as zen-lead", pick(zen, managed))
	a.samples("EndpointSlice controller, last of the same storm as the bare loop", pick(bare, managed))
	var each, eachBare []time.Duration
	early := 0
	for i := range zen {
		each, eachBare = append(each, zen[i].each...), append(eachBare, bare[i].each...)
		early += zen[i].early
	}
	one, oneLimit := a.samples("zen-lead, each failover of a storm", each), a.samples("bare loop, each failover of a storm", eachBare)
	failovers := len(zen[0].each)
	a.check(last.P50 <= 1.3*limit.P50, "mass failure, last leader moved", "within 1.3x of the bare loop's last write", "%.2fx (%.0f ms to %.0f ms, %d leaders, median of %d)",
		last.P50/limit.P50, last.P50, limit.P50, failovers, len(zen))
	a.check(last.P50 <= stock.P50, "mass failure, last leader moved", "before the EndpointSlice controller", "%.2fx (%.0f ms to %.0f ms)", last.P50/stock.P50, last.P50, stock.P50)
	a.number("leader Services written before the last failover of a storm", float64(early)/float64(len(zen)), "")
	a.check(one.P99 <= 1.3*oneLimit.P99, "failovers do not queue behind housekeeping: p99 of each", "within 1.3x of the bare loop's", "%.2fx (%.0f ms to %.0f ms, n=%d)",
		one.P99/oneLimit.P99, one.P99, oneLimit.P99, one.Count)
}
