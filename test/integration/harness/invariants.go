package harness

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
)

// Observation is one state of a leader slice, as every proxy in a cluster would have seen it.
type Observation struct {
	Time  time.Time
	Slice string
	// Leader is the UID and Name the name of the published pod, empty if there is none.
	Leader types.UID
	Name   string
	Ready  bool
	Epoch  int64
}

// Invariants watches one namespace from before the controller starts until the test ends, and keeps what must never
// happen and did.
type Invariants struct {
	mu         sync.Mutex
	history    []Observation
	last       map[string]*discoveryv1.EndpointSlice
	epochs     map[string]int64
	copies     map[types.UID]int64 // the epoch that the leader Service of a source tells
	lost       int                 // terms that only the deleted slice told of
	terms      map[string]Observation
	violations []string
	// userEdits is true for tests that spoil our objects themselves: what they write is not the controller's fault.
	userEdits bool
}

func newInvariants() *Invariants {
	return &Invariants{last: map[string]*discoveryv1.EndpointSlice{}, epochs: map[string]int64{}, copies: map[types.UID]int64{}, terms: map[string]Observation{}}
}

// start returns once the watches are open. They end with ctx.
func (i *Invariants) start(ctx context.Context, c client.WithWatch, namespace string) error {
	for _, list := range []client.ObjectList{&discoveryv1.EndpointSliceList{}, &corev1.ServiceList{}} {
		w, err := c.Watch(ctx, list, client.InNamespace(namespace))
		if err != nil {
			return fmt.Errorf("failed to watch %T in %s: %w", list, namespace, err)
		}
		go i.consume(w)
	}
	return nil
}

func (i *Invariants) consume(w watch.Interface) {
	for event := range w.ResultChan() {
		i.mu.Lock()
		switch object := event.Object.(type) {
		case *discoveryv1.EndpointSlice:
			if object.Labels[discoveryv1.LabelManagedBy] == api.ManagedBy {
				i.slice(event.Type, object)
			}
		case *corev1.Service:
			if object.Labels[api.LabelManagedBy] == api.ManagedBy && event.Type != watch.Deleted {
				i.leaderService(object)
			}
		}
		i.mu.Unlock()
	}
}

func (i *Invariants) violate(format string, args ...any) {
	i.violations = append(i.violations, fmt.Sprintf(format, args...))
}

func (i *Invariants) slice(event watch.EventType, slice *discoveryv1.EndpointSlice) {
	if event == watch.Deleted {
		delete(i.last, slice.Name)
		i.forgetLost(slice)
		return
	}
	if event != watch.Added && event != watch.Modified {
		return
	}
	now := observe(slice)
	i.history = append(i.history, now)
	if len(slice.Endpoints) > 1 {
		i.violate("slice %s has %d endpoints", slice.Name, len(slice.Endpoints))
	}
	for _, endpoint := range slice.Endpoints {
		i.endpoint(slice.Name, endpoint)
	}
	previous := i.last[slice.Name]
	i.last[slice.Name] = slice
	if previous != nil && previous.UID == slice.UID && previous.AddressType != slice.AddressType {
		i.violate("slice %s changed from %s to %s", slice.Name, previous.AddressType, slice.AddressType)
	}
	i.epoch(slice, previous, now)
}

func (i *Invariants) endpoint(slice string, endpoint discoveryv1.Endpoint) {
	c := endpoint.Conditions
	if c.Ready == nil || c.Serving == nil || c.Terminating == nil {
		i.violate("slice %s: an endpoint has a condition that is not set: %+v", slice, c)
		return
	}
	switch {
	case !*c.Ready && !*c.Serving:
		i.violate("slice %s: an endpoint is neither ready nor serving", slice)
	case *c.Ready && (!*c.Serving || *c.Terminating):
		i.violate("slice %s: a ready endpoint has serving=%t terminating=%t", slice, *c.Serving, *c.Terminating)
	case !*c.Ready && !*c.Terminating:
		i.violate("slice %s: an endpoint is published that is neither ready nor terminating", slice)
	}
	if len(endpoint.Addresses) != 1 {
		i.violate("slice %s: an endpoint has the addresses %v", slice, endpoint.Addresses)
	}
	if endpoint.TargetRef == nil || endpoint.TargetRef.Kind != "Pod" || endpoint.TargetRef.UID == "" || endpoint.TargetRef.Name == "" {
		i.violate("slice %s: an endpoint does not name its pod: %+v", slice, endpoint.TargetRef)
	}
}

// epoch checks that the term grows with each change of leader, stays for as long as one leads, and never falls.
func (i *Invariants) epoch(slice, previous *discoveryv1.EndpointSlice, now Observation) {
	owner := string(ownerUID(slice))
	key := slice.Name + " of " + owner
	highest, known := i.epochs[key]
	switch {
	case known && now.Epoch < highest:
		i.violate("slice %s: the epoch fell from %d to %d", slice.Name, highest, now.Epoch)
	case now.Leader != "" && now.Epoch < 1:
		i.violate("slice %s: %s leads without an epoch", slice.Name, now.Name)
	case previous != nil && previous.UID == slice.UID:
		before := observe(previous)
		jumped := i.userEdits && now.Epoch > before.Epoch // a user wrote a higher one into the copy
		if before.Leader != "" && before.Leader == now.Leader && before.Epoch != now.Epoch && !jumped {
			i.violate("slice %s: the epoch went from %d to %d while %s led on", slice.Name, before.Epoch, now.Epoch, now.Name)
		}
		if now.Leader != "" && before.Leader != now.Leader && before.Epoch >= now.Epoch && !i.ledOn(slice, before, now) {
			i.violate("slice %s: %s took over from %q within epoch %d", slice.Name, now.Name, before.Name, now.Epoch)
		}
	}
	i.epochs[key] = max(highest, now.Epoch)
	i.term(slice, owner, now)
}

// forgetLost lowers what is known of epochs to what the API server still tells after a user has deleted a slice: a term
// that was written there alone, because the controller was killed before it wrote the other family and the copy, is gone.
func (i *Invariants) forgetLost(slice *discoveryv1.EndpointSlice) {
	owner := ownerUID(slice)
	key := slice.Name + " of " + string(owner)
	told := i.copies[owner]
	for _, other := range i.last {
		if ownerUID(other) == owner {
			told = max(told, observe(other).Epoch)
		}
	}
	if i.userEdits && told > 0 && told < i.epochs[key] {
		i.epochs[key] = told
		i.lost++
	}
}

// Lost is how many terms a user has taken with the only object that told of them.
func (i *Invariants) Lost() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.lost
}

func ownerUID(object metav1.Object) types.UID {
	if controller := metav1.GetControllerOf(object); controller != nil {
		return controller.UID
	}
	return ""
}

// ledOn tells whether the pod that a slice publishes again was published in another IP family all the while: the write
// that was to end its term had failed there, and so the term had not ended.
func (i *Invariants) ledOn(slice *discoveryv1.EndpointSlice, before, now Observation) bool {
	if before.Leader != "" || before.Epoch != now.Epoch {
		return false
	}
	for _, other := range i.last {
		o := observe(other)
		if other.Name != slice.Name && other.Labels[discoveryv1.LabelServiceName] == slice.Labels[discoveryv1.LabelServiceName] &&
			o.Leader == now.Leader && o.Epoch == now.Epoch {
			return true
		}
	}
	return false
}

// term checks that no two pods lead in one term, whatever the IP family.
func (i *Invariants) term(slice *discoveryv1.EndpointSlice, owner string, now Observation) {
	if now.Leader == "" || i.userEdits {
		return
	}
	key := fmt.Sprintf("%s of %s in %d", slice.Labels[discoveryv1.LabelServiceName], owner, now.Epoch)
	if first, ok := i.terms[key]; ok && first.Leader != now.Leader {
		i.violate("slice %s: %s leads in epoch %d, as did %s in slice %s", slice.Name, now.Name, now.Epoch, first.Name, first.Slice)
		return
	}
	i.terms[key] = now
}

func (i *Invariants) leaderService(service *corev1.Service) {
	if metav1.GetControllerOf(service) == nil {
		return // a user has stripped it; repairing that is another matter
	}
	i.copies[ownerUID(service)], _ = strconv.ParseInt(service.Annotations[api.AnnotationEpoch], 10, 64)
	if len(service.Spec.Selector) > 0 && !i.userEdits {
		i.violate("leader service %s has the selector %v", service.Name, service.Spec.Selector)
	}
}

// Forget drops what is known of epochs: after an opt-out everything is gone, and terms begin anew.
func (i *Invariants) Forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.epochs)
	clear(i.terms)
}

// History is every state of one slice so far, repetitions left out.
func (i *Invariants) History(slice string) []Observation {
	i.mu.Lock()
	defer i.mu.Unlock()
	var history []Observation
	for _, o := range i.history {
		if o.Slice != slice {
			continue
		}
		if n := len(history); n == 0 || history[n-1].Leader != o.Leader || history[n-1].Ready != o.Ready || history[n-1].Epoch != o.Epoch {
			history = append(history, o)
		}
	}
	return history
}

// AllowUserEdits leaves unchecked what a test spoils that changes or deletes our objects: the selector of the leader
// Service, and that a term has one leader, since a term that was written in one IP family alone is lost with that slice.
func (i *Invariants) AllowUserEdits() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.userEdits = true
}

// Violations is what happened that must never happen.
func (i *Invariants) Violations() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.violations)
}

func observe(slice *discoveryv1.EndpointSlice) Observation {
	o := Observation{Time: time.Now(), Slice: slice.Name}
	o.Epoch, _ = strconv.ParseInt(slice.Annotations[api.AnnotationEpoch], 10, 64)
	if len(slice.Endpoints) > 0 {
		endpoint := slice.Endpoints[0]
		o.Ready = endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready
		if endpoint.TargetRef != nil {
			o.Leader, o.Name = endpoint.TargetRef.UID, endpoint.TargetRef.Name
		}
	}
	return o
}

// forbidden lists the requests that zen-lead must never send: only Services, EndpointSlices, Events and its Lease are
// written, nothing outside its namespaces, and of Services none of those that the test made.
func forbidden(requests Requests, namespace string, protected map[string]bool) []string {
	var found []string
	for _, r := range requests {
		if !r.IsWrite() || r.aboutLease {
			continue // client-go puts Events about a Lease that is gone where it likes
		}
		switch {
		case r.Namespace != namespace:
			found = append(found, "a write outside the namespace: "+r.String())
		case r.Resource == "services" && r.Verb != "create" && protected[r.Name]:
			found = append(found, "a write to a Service that is not ours: "+r.String())
		case r.Resource == "endpointslices" && r.Verb != "create" && protected["endpointslice/"+r.Name]:
			found = append(found, "a write to a slice that is not ours: "+r.String())
		case r.Subresource != "", !slices.Contains([]string{"services", "endpointslices", "events", "leases"}, r.Resource):
			found = append(found, "a write to a resource that is none of ours: "+r.String())
		}
	}
	return found
}

// strangers lists the field managers of objects other than those allowed.
func strangers(objects []client.Object, allowed ...string) []string {
	found := map[string]bool{}
	for _, object := range objects {
		for _, entry := range object.GetManagedFields() {
			if !slices.Contains(allowed, entry.Manager) {
				found[fmt.Sprintf("%T %s was written by %s", object, object.GetName(), entry.Manager)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
