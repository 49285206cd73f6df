package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// timing is how replicas agree on the active one.
type timing struct {
	lease, deadline, retry time.Duration
}

func (t timing) flags() []string {
	return []string{
		"--leader-election-lease-duration=" + t.lease.String(),
		"--leader-election-renew-deadline=" + t.deadline.String(),
		"--leader-election-retry-period=" + t.retry.String(),
	}
}

func (t timing) String() string { return fmt.Sprintf("%s/%s/%s", t.lease, t.deadline, t.retry) }

// runReplica ends the active one of two replicas, hard or politely, at the moment at which a leader fails, and measures
// until the standby has moved that leader.
func runReplica(ctx context.Context, b *bench) error {
	f := newFleet()
	a := &arena{bench: b, workloads: map[string][]*workload{nsZenLead: f.make(20, shape{namespace: nsZenLead, prefix: "svc", optedIn: true, pods: 3})}}
	if err := b.plane.store.put(ctx, objects(a.workloads[nsZenLead])...); err != nil {
		return err
	}
	var err error
	if a.observer, err = observe(ctx, b.plane.client, true); err != nil {
		return err
	}
	second, samples := time.Second, b.size(6, 1)
	for _, t := range []timing{
		{15 * second, 10 * second, 2 * second}, {6 * second, 4 * second, second}, {6 * second, 4 * second, second / 5},
	} {
		if err := a.replicas(ctx, t, samples); err != nil {
			return err
		}
	}
	return nil
}

// replicas takes the samples of one timing: the standby of one is the active replica of the next.
func (a *arena) replicas(ctx context.Context, t timing, samples int) error {
	active, err := a.replica(ctx, t)
	if err != nil {
		return err
	}
	// Until the first replica leads, the second might.
	err = a.observer.waitForMany(ctx, 5*time.Minute, "the first replica to route", func() bool {
		for _, w := range a.workloads[nsZenLead] {
			if a.observer.leader(led(w)) == "" {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	var hard, polite []time.Duration
	for i := range 2 * samples {
		standby, err := a.replica(ctx, t)
		if err != nil {
			return err
		}
		pause(ctx, t.retry*3+time.Duration(rand.Int64N(int64(t.retry))))
		took, err := a.takeover(ctx, active, i%2 == 0, i)
		if err != nil {
			return err
		}
		if i%2 == 0 {
			hard = append(hard, took)
		} else {
			polite = append(polite, took)
		}
		active = standby
	}
	h, p := a.samples(fmt.Sprintf("killed hard, lease %s", t), hard), a.samples(fmt.Sprintf("ended politely, lease %s", t), polite)
	bar := milliseconds(t.lease + time.Second)
	a.check(h.Max <= bar, fmt.Sprintf("active replica killed hard, lease %s", t), "first failover after lease duration + 1 s at most", "%.1f s at most, median %.1f s (n=%d)", h.Max/1000, h.P50/1000, h.Count)
	a.check(p.Max <= 1000, fmt.Sprintf("active replica ended politely, lease %s", t), "under 1 s", "%.2f s at most, median %.2f s (n=%d)", p.Max/1000, p.P50/1000, p.Count)
	return active.terminate()
}

func (a *arena) replica(ctx context.Context, t timing) (*process, error) {
	p, err := a.plane.startController(t.flags()...)
	if err != nil {
		return nil, err
	}
	_, err = p.waitReady(ctx, time.Minute)
	return p, err
}

// takeover ends the active replica, lets a leader fail, and returns how long after the end it was replaced.
func (a *arena) takeover(ctx context.Context, active *process, hard bool, i int) (time.Duration, error) {
	w := a.workloads[nsZenLead][i%len(a.workloads[nsZenLead])]
	pod := a.victim(w)
	ended := time.Now()
	if hard {
		active.kill()
	} else {
		stopped := make(chan error, 1)
		go func() { stopped <- active.terminate() }()
		defer func() { <-stopped }()
		// A replica that was asked to end may still answer what happens now.
		pause(ctx, 50*time.Millisecond)
	}
	if err := a.writeReady(ctx, pod, false); err != nil {
		return 0, err
	}
	o := a.observer
	err := o.wait(ctx, 2*time.Minute, "the standby to replace "+pod.Name, func() bool {
		leader := o.leader(led(w))
		return leader != "" && leader != pod.Name
	})
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	took := o.slices[led(w)].since.Sub(ended)
	o.mu.Unlock()
	return took, a.writeReady(ctx, pod, true)
}
