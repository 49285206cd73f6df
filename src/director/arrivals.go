package director

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// arrivals remembers when the first event since the last look at a Service reached the controller. It feeds the
// failover duration and the trigger time of slices; the decision does not depend on it.
type arrivals struct {
	clock   clock.PassiveClock
	elected <-chan struct{}

	mu    sync.Mutex
	first map[types.NamespacedName]time.Time
}

func newArrivals(c clock.PassiveClock, elected <-chan struct{}) *arrivals {
	return &arrivals{clock: c, elected: elected, first: make(map[types.NamespacedName]time.Time)}
}

// note marks the arrival of an event, unless an earlier one still waits. A standby notes nothing: nobody answers its
// events, and when it takes over they would count from long ago.
func (a *arrivals) note(key types.NamespacedName) {
	select {
	case <-a.elected:
	default:
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.first[key]; !ok {
		a.first[key] = a.clock.Now()
	}
}

// take returns the mark and removes it; zero if there is none.
func (a *arrivals) take(key types.NamespacedName) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	arrived := a.first[key]
	delete(a.first, key)
	return arrived
}

// putBack restores a mark whose look failed: the event has not been answered.
func (a *arrivals) putBack(key types.NamespacedName, arrived time.Time) {
	if arrived.IsZero() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.first[key] = arrived
}
