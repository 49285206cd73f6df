package integration

import (
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// scraped is whatever serves metrics: a controller inside the test or a process.
type scraped interface {
	Metrics() (harness.Metrics, error)
}

// expectMetric returns an error unless the series with the labels add up to want.
func expectMetric(c scraped, name string, labels harness.Labels, want float64) error {
	metrics, err := c.Metrics()
	if err != nil {
		return err
	}
	if have := metrics.Sum(name, labels); have != want {
		return fmt.Errorf("%s%v is %v, not %v: %v", name, labels, have, want, metrics.Series(name, nil))
	}
	return nil
}

func expectPort(w *harness.World, service string, port int32) error {
	s, err := w.GetService(service)
	if err == nil && s.Spec.Ports[0].Port != port {
		err = fmt.Errorf("service %s has port %d", service, s.Spec.Ports[0].Port)
	}
	return err
}

// leaders are the names of the pods that a slice published as ready, in the order in which it did, without gaps.
func leaders(w *harness.World, slice string) []string {
	var names []string
	for _, o := range w.Invariants.History(slice) {
		if o.Ready && (len(names) == 0 || names[len(names)-1] != o.Name) {
			names = append(names, o.Name)
		}
	}
	return names
}

// gaps is how often a slice lost its only endpoint.
func gaps(w *harness.World, slice string) int {
	n := 0
	history := w.Invariants.History(slice)
	for i := 1; i < len(history); i++ {
		if history[i].Leader == "" && history[i-1].Leader != "" {
			n++
		}
	}
	return n
}

func clientIn(w *harness.World) client.ListOption { return client.InNamespace(w.Namespace) }

func clientLabels(key, value string) client.ListOption { return client.MatchingLabels{key: value} }

func sortedKeys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
