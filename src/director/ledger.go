package director

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// trustUnseen is how long a write is believed that the cache has not shown. A watch that is broken for longer starts
// over with a list, and what that does not show is gone.
const trustUnseen = time.Minute

// ledger remembers, for each object of ours, the version that was last known to be right. It bridges the moment
// between a write and its arrival in the cache, tells the echo of our own write from a change by somebody else, and so
// saves looks, conflicts and repairs of what is already right. It may be empty at any time.
type ledger struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	sources map[types.NamespacedName]map[objectKey]entry
}

// objectKey identifies an object of ours within the namespace of its source.
type objectKey struct {
	kind string
	name string
}

type entry struct {
	resourceVersion string
	// ahead is the object as written, until the cache has it.
	ahead   client.Object
	written time.Time
}

func newLedger(c clock.PassiveClock) *ledger {
	return &ledger{clock: c, sources: make(map[types.NamespacedName]map[objectKey]entry)}
}

// wrote notes an object as the API server returned it from a write.
func (l *ledger) wrote(source types.NamespacedName, object client.Object) {
	l.set(source, object, entry{resourceVersion: object.GetResourceVersion(), ahead: object, written: l.clock.Now()})
}

// right notes that an object needs no change.
func (l *ledger) right(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.sources[source][keyOf(object)]; ok && have.resourceVersion == object.GetResourceVersion() {
		return
	}
	l.put(source, object, entry{resourceVersion: object.GetResourceVersion()})
}

// changedByOthers tells whether an object was right once and has been changed since, not by us.
func (l *ledger) changedByOthers(source types.NamespacedName, current client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.sources[source][keyOf(current)]
	return ok && have.resourceVersion != current.GetResourceVersion()
}

// known tells whether an object was right once and has not been deleted by us.
func (l *ledger) known(source types.NamespacedName, object client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.sources[source][keyOf(object)]
	return ok
}

// echo tells whether an event only brings what we wrote ourselves.
func (l *ledger) echo(source types.NamespacedName, object client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.sources[source][keyOf(object)]
	if !ok || have.resourceVersion != object.GetResourceVersion() {
		return false
	}
	l.put(source, object, entry{resourceVersion: have.resourceVersion})
	return true
}

// vanished notes that the API server no longer has the object, or no longer as we wrote it.
func (l *ledger) vanished(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.sources[source][keyOf(object)]; ok {
		l.put(source, object, entry{resourceVersion: have.resourceVersion})
	}
}

// deleted notes that we deleted the object.
func (l *ledger) deleted(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources[source], keyOf(object))
}

// forget drops all that is known about a source's objects.
func (l *ledger) forget(source types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, source)
}

func (l *ledger) set(source types.NamespacedName, object client.Object, e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(source, object, e)
}

// put stores an entry; l.mu is held.
func (l *ledger) put(source types.NamespacedName, object client.Object, e entry) {
	if l.sources[source] == nil {
		l.sources[source] = make(map[objectKey]entry, 3)
	}
	l.sources[source][keyOf(object)] = e
}

// latest are the source's objects of one kind with what we wrote in place of what the cache does not show yet.
func latest[T client.Object](l *ledger, source types.NamespacedName, cached []T) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	merged := make([]T, 0, len(cached))
	for _, object := range cached {
		if ahead, ok := l.sources[source][keyOf(object)].newer(l.clock, object); ok {
			object = ahead.(T)
		}
		merged = append(merged, object)
	}
	for key, e := range l.sources[source] {
		object, ok := e.ahead.(T)
		if ok && !e.expired(l.clock) && !contains(cached, key.name) {
			merged = append(merged, object)
		}
	}
	return merged
}

// newer returns the object as written if that is later than what the cache shows.
func (e entry) newer(c clock.PassiveClock, cached client.Object) (client.Object, bool) {
	if e.ahead == nil || e.expired(c) || e.ahead.GetUID() != cached.GetUID() {
		return nil, false
	}
	order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), e.ahead.GetResourceVersion())
	return e.ahead, err == nil && order < 0
}

func (e entry) expired(c clock.PassiveClock) bool { return c.Since(e.written) > trustUnseen }

func contains[T client.Object](objects []T, name string) bool {
	for _, object := range objects {
		if object.GetName() == name {
			return true
		}
	}
	return false
}

func keyOf(object client.Object) objectKey {
	return objectKey{kind: kindOf(object), name: object.GetName()}
}
