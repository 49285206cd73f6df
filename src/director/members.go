package director

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/informers"
)

// members remembers the names of the pods that a Service selects. The cache finds pods by namespace alone, and so each
// look at one of thousands of Services would go through all of their pods.
//
// A name too many costs a look at that pod, once: pods are read from the cache, and their labels are compared. A name too
// few must not be. The cache holds a pod before its event is handled; so a list of the namespace misses only
// pods whose events come after it, and those are added. Each event and each change of what the Service selects begins a
// new generation, and a list that one overtook is used but not kept.
type members struct {
	mu      sync.Mutex
	counter uint64
	rosters map[types.NamespacedName]*roster
}

// roster is what is known of one Service's pods.
type roster struct {
	generation uint64
	// selector is what the names were collected by, nil if there are none yet.
	selector map[string]string
	names    map[string]struct{}
}

func newMembers() *members { return &members{rosters: make(map[types.NamespacedName]*roster)} }

// joined notes a pod that a Service selects, or did before the event.
func (m *members) joined(key types.NamespacedName, pod string) {
	m.change(key, func(r *roster) { r.names[pod] = struct{}{} })
}

// left notes that a pod is gone.
func (m *members) left(key types.NamespacedName, pod string) {
	m.change(key, func(r *roster) { delete(r.names, pod) })
}

// reselected drops what is known: the Service selects others now, or did for a moment, in which events were not for it.
func (m *members) reselected(key types.NamespacedName) {
	m.change(key, func(r *roster) { r.selector, r.names = nil, nil })
}

// forget drops a Service.
func (m *members) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rosters, key)
}

// change begins a new generation of what somebody has asked for, and changes what is kept.
func (m *members) change(key types.NamespacedName, how func(*roster)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rosters[key]
	if !ok {
		return
	}
	m.counter++
	r.generation = m.counter
	if r.selector != nil {
		how(r)
	}
}

// of are the pods that the source selects.
func (m *members) of(ctx context.Context, reader client.Reader, source *corev1.Service) ([]*corev1.Pod, error) {
	key := client.ObjectKeyFromObject(source)
	names, generation, known := m.known(key, source.Spec.Selector)
	if known {
		pods, strangers, err := read(ctx, reader, source, names)
		if err == nil {
			m.drop(key, generation, strangers)
		}
		return pods, err
	}
	pods, err := informers.SelectedPods(ctx, reader, source)
	if err != nil {
		return nil, err
	}
	m.keep(key, generation, source.Spec.Selector, pods)
	return pods, nil
}

// known returns the names of the pods, if they were collected by this selector. Otherwise the generation is what keep
// wants to see again.
func (m *members) known(key types.NamespacedName, selector map[string]string) (names []string, generation uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rosters[key]
	if !ok {
		m.counter++
		r = &roster{generation: m.counter}
		m.rosters[key] = r
	}
	if r.selector == nil || !maps.Equal(r.selector, selector) {
		return nil, r.generation, false
	}
	return slices.Collect(maps.Keys(r.names)), r.generation, true
}

// keep keeps what a list brought, unless an event has come since the generation.
func (m *members) keep(key types.NamespacedName, generation uint64, selector map[string]string, pods []*corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rosters[key]
	if !ok || r.generation != generation || len(selector) == 0 {
		return
	}
	r.selector, r.names = selector, make(map[string]struct{}, len(pods))
	for _, pod := range pods {
		r.names[pod.Name] = struct{}{}
	}
}

// drop forgets names that are none of the Service's pods, unless an event has come since the generation: it may have been
// theirs.
func (m *members) drop(key types.NamespacedName, generation uint64, names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rosters[key]
	if !ok || r.generation != generation {
		return
	}
	for _, name := range names {
		delete(r.names, name)
	}
}

// read returns those pods of the names that the source selects, and the names of the others.
func read(ctx context.Context, reader client.Reader, source *corev1.Service, names []string) (pods []*corev1.Pod, strangers []string, err error) {
	selector := labels.SelectorFromSet(source.Spec.Selector)
	pods = make([]*corev1.Pod, 0, len(names))
	for _, name := range names {
		var pod corev1.Pod
		err := reader.Get(ctx, types.NamespacedName{Namespace: source.Namespace, Name: name}, &pod)
		switch {
		case client.IgnoreNotFound(err) != nil:
			return nil, nil, fmt.Errorf("failed to get pod %s/%s: %w", source.Namespace, name, err)
		case err == nil && selector.Matches(labels.Set(pod.Labels)):
			pods = append(pods, &pod)
		default:
			strangers = append(strangers, name)
		}
	}
	return pods, strangers, nil
}
