package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Who manages slices, by the label that says so.
const (
	byZenLead = "zen-lead"
	byBare    = "bare-loop"
	byManager = "endpointslice-controller.k8s.io"
)

// observer is an outsider who sees what any consumer of the API sees, on watches of its own, and notes when.
type observer struct {
	mu      sync.Mutex
	changed chan struct{}
	pods    map[string]podSight
	slices  map[sliceKey]sliceSight
	err     error
}

type podSight struct {
	ready bool
	since time.Time
}

// sliceKey identifies the slices of one Service and one manager.
type sliceKey struct {
	manager, namespace, service string
}

type sliceSight struct {
	// ready are the names of the pods that the slice says are ready.
	ready []string
	since time.Time
}

// observe starts watching. Without pods, only slices are watched.
func observe(ctx context.Context, client kubernetes.Interface, pods bool) (*observer, error) {
	o := &observer{changed: make(chan struct{}), pods: map[string]podSight{}, slices: map[sliceKey]sliceSight{}}
	if pods {
		list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("failed to list pods: %w", err)
		}
		for i := range list.Items {
			o.seePod(&list.Items[i], time.Now())
		}
		go o.follow(ctx, list.ResourceVersion, client.CoreV1().Pods("").Watch)
	}
	list, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to list slices: %w", err)
	}
	for i := range list.Items {
		o.seeSlice(&list.Items[i], time.Now())
	}
	go o.follow(ctx, list.ResourceVersion, client.DiscoveryV1().EndpointSlices("").Watch)
	return o, nil
}

// follow watches, and takes a watch up again that the API server ended, as it does with watchers that are slow.
func (o *observer) follow(ctx context.Context, version string, open func(context.Context, metav1.ListOptions) (watch.Interface, error)) {
	for ctx.Err() == nil {
		w, err := open(ctx, metav1.ListOptions{ResourceVersion: version})
		if err == nil {
			version, err = o.drain(w, version)
		}
		if err != nil && ctx.Err() == nil {
			o.mu.Lock()
			o.err = err
			o.mu.Unlock()
			return
		}
	}
}

// drain takes in events until the watch ends, and returns the last version seen.
func (o *observer) drain(w watch.Interface, version string) (string, error) {
	defer w.Stop()
	for event := range w.ResultChan() {
		now := time.Now()
		o.mu.Lock()
		switch object := event.Object.(type) {
		case *corev1.Pod:
			o.seePod(object, now)
			version = object.ResourceVersion
		case *discoveryv1.EndpointSlice:
			o.seeSlice(object, now)
			version = object.ResourceVersion
		default:
			o.mu.Unlock()
			return version, fmt.Errorf("a watch of the observer failed: %v", event)
		}
		close(o.changed)
		o.changed = make(chan struct{})
		o.mu.Unlock()
	}
	return version, nil
}

func (o *observer) seePod(pod *corev1.Pod, now time.Time) {
	ready := false
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			ready = pod.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	key := pod.Namespace + "/" + pod.Name
	if have, ok := o.pods[key]; !ok || have.ready != ready {
		o.pods[key] = podSight{ready: ready, since: now}
	}
}

func (o *observer) seeSlice(slice *discoveryv1.EndpointSlice, now time.Time) {
	key := sliceKey{slice.Labels[discoveryv1.LabelManagedBy], slice.Namespace, slice.Labels[discoveryv1.LabelServiceName]}
	var ready []string
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		if e.TargetRef != nil && e.Conditions.Ready != nil && *e.Conditions.Ready {
			ready = append(ready, e.TargetRef.Name)
		}
	}
	slices.Sort(ready)
	if have, ok := o.slices[key]; !ok || !slices.Equal(have.ready, ready) {
		o.slices[key] = sliceSight{ready: ready, since: now}
	}
}

// wait returns once the condition holds, which is asked again after each event with the observer locked.
func (o *observer) wait(ctx context.Context, patience time.Duration, what string, holds func() bool) error {
	timeout := time.After(patience)
	for {
		o.mu.Lock()
		done, changed, err := holds(), o.changed, o.err
		o.mu.Unlock()
		switch {
		case err != nil:
			return err
		case done:
			return nil
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("waited %s in vain for %s", patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitForMany is wait for a condition that takes long to check: it is asked now and then, so that the observer stays free
// to note what it sees.
func (o *observer) waitForMany(ctx context.Context, patience time.Duration, what string, holds func() bool) error {
	err := poll(ctx, patience, 50*time.Millisecond, func() (bool, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.err == nil && holds(), o.err
	})
	if err != nil {
		return fmt.Errorf("failed to see %s: %w", what, err)
	}
	return nil
}

// leader is the pod that a leader slice publishes, "" if it is not exactly one. The observer is locked.
func (o *observer) leader(key sliceKey) string {
	if ready := o.slices[key].ready; len(ready) == 1 {
		return ready[0]
	}
	return ""
}

// publishes tells whether any slice of the Service and manager publishes the pod as ready. The observer is locked.
func (o *observer) publishes(key sliceKey, pod string) bool {
	return slices.Contains(o.slices[key].ready, pod)
}

func (k sliceKey) String() string {
	return strings.Join([]string{k.manager, k.namespace, k.service}, " ")
}
