package informers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
)

// Selectors finds the Services that select a pod by exact lookups: each Service is filed under its whole selector, and
// the sets of label keys by which any Service selects are remembered, of which a cluster has a handful. The cost of a
// pod's event grows with the sets of keys that the pod has, not with the Services.
type Selectors struct {
	mu sync.RWMutex
	// byFirst are the sets of keys, sorted, under their first key.
	byFirst map[string][][]string
}

// NewSelectors returns Selectors that know of no Service yet. AddIndexes makes the cache tell them.
func NewSelectors() *Selectors { return &Selectors{byFirst: make(map[string][][]string)} }

// keys is the index function. It sees a Service before anybody who asks for it.
func (s *Selectors) keys(object client.Object) []string {
	service, ok := object.(*corev1.Service)
	if !ok || !api.Mentioned(service.Annotations) || len(service.Spec.Selector) == 0 {
		return nil
	}
	keys := make([]string, 0, len(service.Spec.Selector))
	for key := range service.Spec.Selector {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	s.remember(keys)
	value, _ := canonical(keys, service.Spec.Selector)
	return []string{value}
}

func (s *Selectors) remember(keys []string) {
	known := func() bool {
		return slices.ContainsFunc(s.byFirst[keys[0]], func(have []string) bool { return slices.Equal(have, keys) })
	}
	s.mu.RLock()
	found := known()
	s.mu.RUnlock()
	if found {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !known() {
		s.byFirst[keys[0]] = append(s.byFirst[keys[0]], keys)
	}
}

// Selecting are the Services that mention zen-lead and whose selector matches the labels.
func (s *Selectors) Selecting(ctx context.Context, reader client.Reader, namespace string, podLabels labels.Set) ([]*corev1.Service, error) {
	var values []string
	s.mu.RLock()
	for key := range podLabels {
		for _, keys := range s.byFirst[key] {
			if value, ok := canonical(keys, podLabels); ok {
				values = append(values, value)
			}
		}
	}
	s.mu.RUnlock()
	var matching []*corev1.Service
	for _, value := range values {
		var list corev1.ServiceList
		if err := reader.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{indexSelector: value}); err != nil {
			return nil, fmt.Errorf("failed to look up Services of namespace %s by selector: %w", namespace, err)
		}
		matching = append(matching, pointers(list.Items)...)
	}
	return matching, nil
}

// canonical writes the pairs of the given keys in one string; false if a key is missing.
func canonical(keys []string, set map[string]string) (string, bool) {
	var b strings.Builder
	for _, key := range keys {
		value, ok := set[key]
		if !ok {
			return "", false
		}
		b.WriteString(key)
		b.WriteByte('=')
		b.WriteString(value)
		b.WriteByte(',')
	}
	return b.String(), true
}
