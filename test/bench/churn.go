package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// beat is how often a churning fleet writes; each time it writes a share of the events of a second.
const beat = 100 * time.Millisecond

// churn writes pods at a steady rate for a while, each after a change, and returns how many events that were.
func (b *bench) churn(ctx context.Context, pods []*corev1.Pod, perSecond int, d time.Duration, change func(*corev1.Pod)) (int, error) {
	written, next := 0, 0
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		for left := perSecond / int(time.Second/beat); left > 0; {
			var batch []object
			for range min(left, len(pods)) { // no object twice at once: writes overtake each other
				pod := pods[next%len(pods)]
				next++
				change(pod)
				batch = append(batch, pod)
			}
			if err := b.plane.store.update(ctx, batch...); err != nil {
				return written, err
			}
			written, left = written+len(batch), left-len(batch)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return written, ctx.Err()
		}
	}
	return written, nil
}

// runChurn writes pods in ways that change nothing for any Service, and looks at what that costs.
func runChurn(ctx context.Context, b *bench) error {
	services := b.size(1000, 100)
	a, err := newArena(ctx, b, services, nsZenLead, nsAlone)
	if err != nil {
		return err
	}
	if err := b.quiet(ctx, userZenLead); err != nil {
		return err
	}
	for _, phase := range []struct{ what, namespace string }{
		{"of plain Services", nsAlone}, {"of opted-in Services", nsZenLead},
	} {
		if err := a.churnPhase(ctx, phase.what, podsOf(a.workloads[phase.namespace])); err != nil {
			return err
		}
	}
	return nil
}

func podsOf(workloads []*workload) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, w := range workloads {
		pods = append(pods, w.pods...)
	}
	return pods
}

func (a *arena) churnPhase(ctx context.Context, what string, pods []*corev1.Pod) error {
	since, err := a.plane.mark()
	if err != nil {
		return err
	}
	used, err := usage(a.controller, a.manager)
	if err != nil {
		return err
	}
	begun := time.Now()
	events, err := a.bench.churn(ctx, pods, 1000, time.Duration(a.size(30, 5))*time.Second, restarted)
	if err != nil {
		return err
	}
	took := time.Since(begun)
	pause(ctx, time.Second)
	after, err := usage(a.controller, a.manager)
	if err != nil {
		return err
	}
	lines, err := a.plane.requests(userZenLead, since)
	if err != nil {
		return err
	}
	zen, stock := after[0]-used[0], after[1]-used[1]
	perEvent := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(events) }
	a.number(fmt.Sprintf("events a second, pods %s", what), float64(events)/took.Seconds(), "")
	a.number(fmt.Sprintf("zen-lead, CPU time of an event, pods %s", what), perEvent(zen), "µs")
	a.number(fmt.Sprintf("EndpointSlice controller, CPU time of an event, pods %s", what), perEvent(stock), "µs")
	// The API server ends watches that it finds slow, which happens where it has to share few CPUs; that they are taken
	// up again is no answer to an event.
	watches := 0
	for i := range lines {
		if lines[i].Verb == "watch" {
			watches++
		}
	}
	a.number(fmt.Sprintf("watches that the API server ended, pods %s", what), float64(watches), "")
	a.check(len(lines) == watches, "pod churn that concerns nobody, pods "+what, "zero API calls", "%d calls in %d events", len(lines)-watches, events)
	a.check(zen < stock, "pod churn that concerns nobody, pods "+what, "less CPU than the EndpointSlice controller", "%.2fx (%.0f µs to %.0f µs an event)",
		float64(zen)/float64(stock), perEvent(zen), perEvent(stock))
	return nil
}

// restarted changes what no Service looks at.
func restarted(pod *corev1.Pod) { pod.Status.ContainerStatuses[0].RestartCount++ }

// flipped changes what every Service that selects the pod has to look at.
func flipped(pod *corev1.Pod) { setReady(pod, !isReady(pod)) }

func usage(processes ...*process) ([]time.Duration, error) {
	var list []time.Duration
	for _, p := range processes {
		used, err := p.cpu()
		if err != nil {
			return nil, err
		}
		list = append(list, used)
	}
	return list, nil
}
