package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// perNamespace is how many Services share a namespace where nothing else is said.
const perNamespace = 50

// creators is how many requests the bare client has in flight at a roll-out.
const creators = 16

// runRollout lets zen-lead route many Services for the first time, and compares with the same creates by a bare client
// before and after. Then it starts a second time, with everything routed.
func runRollout(ctx context.Context, b *bench) error {
	services := b.size(5000, 200)
	f := newFleet()
	fleet := f.spread(services, perNamespace, shape{namespace: nsZenLead, prefix: "svc", optedIn: true, pods: 3})
	if err := b.plane.store.put(ctx, objects(fleet)...); err != nil {
		return err
	}
	before, err := b.bareRollout(ctx, f, "first", services)
	if err != nil {
		return err
	}
	controller, took, err := b.rollout(ctx, services)
	if err != nil {
		return err
	}
	after, err := b.bareRollout(ctx, f, "second", services)
	if err != nil {
		return err
	}
	limit := (before + after) / 2
	b.number("first roll-out, bare client", limit.Seconds(), "s")
	b.number("first roll-out, zen-lead from its readiness on", took.Seconds(), "s")
	b.check(took.Seconds() <= 1.3*limit.Seconds(), fmt.Sprintf("first roll-out to %d Services", services), "within 1.3x of the same creates by a bare client",
		"%.2fx (%.1f s to %.1f s, mean of before %.1f s and after %.1f s)", took.Seconds()/limit.Seconds(), took.Seconds(), limit.Seconds(), before.Seconds(), after.Seconds())
	if err := controller.terminate(); err != nil {
		return err
	}
	return b.restart(ctx, services)
}

// rollout starts zen-lead and returns how long it took from its readiness to the last slice with a leader.
func (b *bench) rollout(ctx context.Context, services int) (*process, time.Duration, error) {
	o, err := observe(ctx, b.plane.client, false)
	if err != nil {
		return nil, 0, err
	}
	since, err := b.plane.mark()
	if err != nil {
		return nil, 0, err
	}
	controller, err := b.plane.startController()
	if err != nil {
		return nil, 0, err
	}
	ready, err := controller.waitReady(ctx, 5*time.Minute)
	if err != nil {
		return nil, 0, err
	}
	var last time.Time
	err = o.waitForMany(ctx, 20*time.Minute, "the first roll-out", func() bool {
		n := 0
		for key, slice := range o.slices {
			if key.manager == byZenLead && len(slice.ready) == 1 {
				n++
				last = latest(last, slice.since)
			}
		}
		return n == services
	})
	if err != nil {
		return nil, 0, err
	}
	if err := b.quiet(ctx, userZenLead); err != nil {
		return nil, 0, err
	}
	counts, err := b.plane.writes(userZenLead, since)
	if err != nil {
		return nil, 0, err
	}
	b.say("writes: %v", counts)
	b.number("writes per Service at the first roll-out, Events included", float64(sum(counts))/float64(services), "")
	return controller, last.Sub(controller.started.Add(ready)), nil
}

// quiet returns when a user has written nothing for a while.
func (b *bench) quiet(ctx context.Context, user string) error {
	since, err := b.plane.mark()
	if err != nil {
		return err
	}
	written := -1
	return poll(ctx, 10*time.Minute, 2*time.Second, func() (bool, error) {
		counts, err := b.plane.writes(user, since)
		if err != nil {
			return false, err
		}
		done := sum(counts) == written
		written = sum(counts)
		return done, nil
	})
}

// restart measures a start at which there is nothing to do.
func (b *bench) restart(ctx context.Context, services int) error {
	since, err := b.plane.mark()
	if err != nil {
		return err
	}
	controller, err := b.plane.startController()
	if err != nil {
		return err
	}
	ready, err := controller.waitReady(ctx, 5*time.Minute)
	if err != nil {
		return err
	}
	err = poll(ctx, 5*time.Minute, 20*time.Millisecond, func() (bool, error) {
		looks, err := controller.counter("controller_runtime_reconcile_total", `result="success"`)
		return looks >= float64(services), err
	})
	if err != nil {
		return err
	}
	looked := time.Since(controller.started)
	pause(ctx, 3*time.Second)
	counts, err := b.plane.writes(userZenLead, since)
	if err != nil {
		return err
	}
	cpu, err := controller.cpu()
	if err != nil {
		return err
	}
	delete(counts, "create events") // controller-runtime's own, of the Lease
	b.number("start with everything routed: ready after", ready.Seconds(), "s")
	b.number("start with everything routed: every Service looked at after", looked.Seconds(), "s")
	b.number("start with everything routed: CPU time", cpu.Seconds(), "s")
	b.check(ready < 10*time.Second && sum(counts) == 0, fmt.Sprintf("start with %d Services routed", services), "ready in seconds (here: 10), zero writes",
		"ready after %.1f s, all looked at after %.1f s, %d writes", ready.Seconds(), looked.Seconds(), sum(counts))
	return controller.terminate()
}

// bareRollout creates what zen-lead creates, one Service and one slice for each source, and returns how long it took.
func (b *bench) bareRollout(ctx context.Context, f *fleet, name string, services int) (time.Duration, error) {
	sources := f.spread(services, perNamespace, shape{namespace: nsBare + "-" + name, prefix: "svc", pods: 1})
	var namespaces []object
	for _, o := range objects(sources) {
		if _, ok := o.(*corev1.Namespace); ok {
			namespaces = append(namespaces, o)
		}
	}
	if err := b.plane.store.put(ctx, namespaces...); err != nil {
		return 0, err
	}
	config := rest.CopyConfig(b.plane.configs[userBare])
	config.QPS, config.ContentType = -1, b.plane.admin.ContentType
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, fmt.Errorf("failed to build a client: %w", err)
	}
	pause(ctx, time.Second) // the API server learns of the namespaces by a watch
	begun := time.Now()
	work, failures := make(chan *workload), make(chan error, creators)
	var group sync.WaitGroup
	for range creators {
		group.Go(func() {
			for w := range work {
				if err := createPair(ctx, client, w); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	err = feed(work, sources, failures)
	group.Wait()
	return time.Since(begun), err
}

func feed(work chan<- *workload, sources []*workload, failures <-chan error) error {
	defer close(work)
	for _, w := range sources {
		select {
		case work <- w:
		case err := <-failures:
			return err
		}
	}
	return nil
}

func createPair(ctx context.Context, client kubernetes.Interface, w *workload) error {
	slice := bareSlice(w.service.Name, w.pods[0])
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: slice.Namespace, Name: w.service.Name + "-leader", OwnerReferences: slice.OwnerReferences, Annotations: slice.Annotations,
			Labels: map[string]string{"app.kubernetes.io/managed-by": byBare, "zen-lead.io/source-service": w.service.Name},
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: w.service.Spec.Ports},
	}
	_, serviceErr := client.CoreV1().Services(slice.Namespace).Create(ctx, service, metav1.CreateOptions{})
	var sliceErr error
	if serviceErr == nil {
		_, sliceErr = client.DiscoveryV1().EndpointSlices(slice.Namespace).Create(ctx, slice, metav1.CreateOptions{})
	}
	if err := errors.Join(serviceErr, sliceErr); err != nil {
		return fmt.Errorf("failed to create the leader Service of %s/%s: %w", slice.Namespace, w.service.Name, err)
	}
	return nil
}
