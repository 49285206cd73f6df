package main

import (
	"context"
	"fmt"
	"time"
)

const megabyte = 1 << 20

// population is what a cluster holds.
type population struct {
	optedIn, podsEach, plain, otherPods int
}

// runMemory measures the resident memory in a middle-sized cluster.
func runMemory(ctx context.Context, b *bench) error {
	services := b.size(1000, 100)
	return b.memory(ctx, population{optedIn: services, podsEach: 3}, 60)
}

// runMemoryLarge measures it in a large one.
func runMemoryLarge(ctx context.Context, b *bench) error {
	optedIn, plain, others := b.size(5000, 200), b.size(10000, 400), b.size(35000, 1400)
	return b.memory(ctx, population{optedIn: optedIn, podsEach: 3, plain: plain, otherPods: others}, 200)
}

// memory lets zen-lead route everything, and reports its resident memory after that, and after a restart, which is when
// it is highest: everything is listed at once.
func (b *bench) memory(ctx context.Context, n population, bar float64) error {
	f := newFleet()
	if err := b.populate(ctx, f, n); err != nil {
		return err
	}
	controller, took, err := b.rollout(ctx, n.optedIn)
	if err != nil {
		return err
	}
	b.say("routed after %.1f s", took.Seconds())
	after, err := b.settledMemory(ctx, controller, "the first roll-out")
	if err != nil {
		return err
	}
	if err := controller.terminate(); err != nil {
		return err
	}
	if controller, err = b.plane.startController(); err != nil {
		return err
	}
	if _, err := controller.waitReady(ctx, 5*time.Minute); err != nil {
		return err
	}
	again, err := b.settledMemory(ctx, controller, "a restart")
	if err != nil {
		return err
	}
	routed, restarted, peak := megabytes(after.now), megabytes(again.now), megabytes(max(after.peak, again.peak))
	if err := b.goMemory(controller); err != nil {
		return err
	}
	worst := max(routed, restarted)
	b.check(worst <= bar, fmt.Sprintf("resident memory: %d opted-in Services, %d pods, %d plain Services", n.optedIn, n.optedIn*n.podsEach+n.otherPods, n.plain),
		fmt.Sprintf("at most %g MB", bar), "%.0f MB after the roll-out, %.0f MB after a restart (%.0f MB at the highest)", routed, restarted, peak)
	return controller.terminate()
}

// populate makes the cluster: opted-in Services with pods, plain Services, and pods that are spread over the plain ones.
func (b *bench) populate(ctx context.Context, f *fleet, n population) error {
	fleet := f.spread(n.optedIn, perNamespace, shape{namespace: nsZenLead, prefix: "svc", optedIn: true, pods: n.podsEach})
	if err := b.plane.store.put(ctx, objects(fleet)...); err != nil {
		return err
	}
	for made, pods := 0, 0; made < n.plain; {
		// In thousands, so that the benchmark does not hold all of a large cluster.
		size := min(1000, n.plain-made)
		made += size
		each := (n.otherPods*made/n.plain - pods + size - 1) / size
		pods += each * size
		part := f.spread(size, perNamespace, shape{namespace: fmt.Sprintf("plain-%d", made), prefix: "svc", pods: each})
		if err := b.plane.store.put(ctx, objects(part)...); err != nil {
			return err
		}
		b.say("%d plain Services with %d pods are there", made, pods)
	}
	return nil
}

// settledMemory is the resident memory after the last change: what a dashboard shows from then on. Go collects garbage two
// minutes after the last time at the latest, and only then gives back what a burst took; that is told too. (The quick form
// waits a fraction of it.)
func (b *bench) settledMemory(ctx context.Context, p *process, after string) (memory, error) {
	pause(ctx, time.Duration(b.size(20, 2))*time.Second)
	soon, err := p.memory()
	if err != nil {
		return soon, err
	}
	b.number("resident 20 s after "+after, megabytes(soon.now), "MB")
	pause(ctx, time.Duration(b.size(130, 3))*time.Second)
	settled, err := p.memory()
	if err != nil {
		return settled, err
	}
	b.number("resident 150 s after "+after, megabytes(settled.now), "MB")
	b.number("resident 150 s after "+after+", without the binary's pages", megabytes(settled.own), "MB")
	b.number("highest until 150 s after "+after, megabytes(settled.peak), "MB")
	return settled, nil
}

func megabytes(bytes int64) float64 { return float64(bytes) / megabyte }

func (b *bench) goMemory(p *process) error {
	for _, name := range []string{"go_memstats_heap_inuse_bytes", "go_memstats_heap_alloc_bytes", "go_memstats_next_gc_bytes", "go_memstats_stack_inuse_bytes"} {
		value, err := p.counter(name)
		if err != nil {
			return err
		}
		b.number(name, value/megabyte, "MB")
	}
	return nil
}
