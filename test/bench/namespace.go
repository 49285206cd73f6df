package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// crowd is one namespace and what is in it.
type crowd struct {
	services int
	led      []*workload
	// strangers are pods that no opted-in Service selects.
	strangers []*corev1.Pod
}

// runNamespace compares the CPU time of a pod event in a namespace with many opted-in Services with that in one with
// few. The selectors either have nothing in common, or share a pair, as those of one Helm release do.
func runNamespace(ctx context.Context, b *bench) error {
	few, many := b.size(25, 10), b.size(2500, 250)
	crowds, total := map[string]*crowd{}, 0
	f := newFleet()
	for _, instance := range []string{"", "a-release-with-many-parts"} {
		for _, services := range []int{few, many} {
			name := fmt.Sprintf("apart-%d", services)
			if instance != "" {
				name = fmt.Sprintf("release-%d", services)
			}
			c, err := b.crowd(ctx, f, name, instance, services)
			if err != nil {
				return err
			}
			crowds[name], total = c, total+services
		}
	}
	controller, _, err := b.rollout(ctx, total)
	if err != nil {
		return err
	}
	for _, kind := range []string{"apart", "release"} {
		small, large := crowds[fmt.Sprintf("%s-%d", kind, few)], crowds[fmt.Sprintf("%s-%d", kind, many)]
		what := map[string]string{"apart": "selectors with nothing in common", "release": "selectors that share a pair"}[kind]
		if err := b.compare(ctx, controller, "a pod that no Service selects, "+what, small, large, (*crowd).others); err != nil {
			return err
		}
		if err := b.compare(ctx, controller, "a standby, "+what, small, large, (*crowd).standbys); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) crowd(ctx context.Context, f *fleet, namespace, instance string, services int) (*crowd, error) {
	c := &crowd{services: services}
	c.led = f.make(services, shape{namespace: namespace, prefix: "svc", instance: instance, optedIn: true, pods: 3})
	others := f.make(25, shape{namespace: namespace, prefix: "other", instance: instance, pods: 10})
	c.strangers = podsOf(others)
	if err := b.plane.store.put(ctx, objects(append(c.led, others...))...); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *crowd) others() []*corev1.Pod { return c.strangers }

// standbys are one pod each of a few Services: the last by name, which does not lead, since all else is equal.
func (c *crowd) standbys() []*corev1.Pod {
	var list []*corev1.Pod
	for _, w := range c.led[:min(10, len(c.led))] {
		list = append(list, w.pods[len(w.pods)-1])
	}
	return list
}

// compare lets pods change in the small and in the large namespace by turns.
func (b *bench) compare(ctx context.Context, controller *process, what string, small, large *crowd, pick func(*crowd) []*corev1.Pod) error {
	used, events := map[*crowd]time.Duration{}, map[*crowd]int{}
	for range b.size(4, 2) {
		for _, c := range []*crowd{small, large} {
			before, err := controller.cpu()
			if err != nil {
				return err
			}
			n, err := b.churn(ctx, pick(c), 500, time.Duration(b.size(5, 2))*time.Second, flipped)
			if err != nil {
				return err
			}
			pause(ctx, 500*time.Millisecond)
			after, err := controller.cpu()
			if err != nil {
				return err
			}
			used[c] += after - before
			events[c] += n
		}
	}
	per := func(c *crowd) float64 { return float64(used[c].Microseconds()) / float64(events[c]) }
	b.number(fmt.Sprintf("%s: CPU time of an event among %d Services", what, small.services), per(small), "µs")
	b.number(fmt.Sprintf("%s: CPU time of an event among %d Services", what, large.services), per(large), "µs")
	b.check(per(large) <= 1.25*per(small), fmt.Sprintf("event of %s, %d Services to %d", what, large.services, small.services),
		"does not grow (here: at most 1.25x)", "%.2fx (%.0f µs to %.0f µs)", per(large)/per(small), per(large), per(small))
	return nil
}
