package director

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/election"
	"github.com/kube-zen/zen-lead/src/routing"
)

// trustUnseen is how long a write is believed that the cache has not shown. After that the cache decides again: at worst
// it is behind, and the next write is refused.
const trustUnseen = 10 * time.Second

// ledger remembers, for each object of ours, the version that was last known to be right. It bridges the moment
// between a write and its arrival in the cache, tells the echo of our own write from a change by somebody else, and so
// saves looks, conflicts and repairs of what is already right. It may be empty at any time.
type ledger struct {
	clock clock.PassiveClock

	mu sync.Mutex
	// sources has what is known of each source's objects, of which there are two or three. A list takes a third of a map's memory.
	sources map[types.NamespacedName][]record
}

// record is what is known of one object.
type record struct {
	objectKey
	entry
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
	// missed is set if the object as written is no longer believed and the cache has not shown it: somebody may have looked
	// without it since, so that its arrival is news.
	missed bool
	// doubtful is set after a write of which it is not known whether it was made.
	doubtful bool
}

func newLedger(c clock.PassiveClock) *ledger {
	return &ledger{clock: c, sources: make(map[types.NamespacedName][]record)}
}

// wrote notes an object as the API server returned it from a write.
func (l *ledger) wrote(source types.NamespacedName, object client.Object) {
	l.set(source, object, entry{resourceVersion: object.GetResourceVersion(), ahead: object, written: l.clock.Now()})
}

// right notes that an object needs no change.
func (l *ledger) right(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.find(source, object); ok && have.resourceVersion == object.GetResourceVersion() {
		return
	}
	l.put(source, object, entry{resourceVersion: object.GetResourceVersion()})
}

// changedByOthers tells whether an object was right once and has been changed since, not by us.
func (l *ledger) changedByOthers(source types.NamespacedName, current client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.find(source, current)
	return ok && have.resourceVersion != current.GetResourceVersion()
}

// agreed tells whether an object still is as it was when it was last right, be it that we wrote it or found it so.
func (l *ledger) agreed(source types.NamespacedName, current client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.find(source, current)
	return ok && have.resourceVersion == current.GetResourceVersion()
}

// known tells whether an object was right once and has not been deleted by us.
func (l *ledger) known(source types.NamespacedName, object client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.find(source, object)
	return ok
}

// echo tells whether an event only brings what we wrote ourselves and have reckoned with ever since.
func (l *ledger) echo(source types.NamespacedName, object client.Object) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.find(source, object)
	if !ok || have.resourceVersion != object.GetResourceVersion() {
		return false
	}
	missed := have.missed || have.ahead != nil && l.trust(have) <= 0
	l.put(source, object, entry{resourceVersion: have.resourceVersion, doubtful: have.doubtful}) // of a later write
	return !missed
}

// doubt notes that nobody knows whether the object was written.
func (l *ledger) doubt(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, _ := l.find(source, object)
	l.put(source, object, entry{resourceVersion: have.resourceVersion, doubtful: true})
}

// doubts are the names of the slices of which it is not known whether they were written.
func (l *ledger) doubts(source types.NamespacedName) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for _, r := range l.sources[source] {
		if r.doubtful {
			names = append(names, r.name)
		}
	}
	slices.Sort(names)
	return names
}

// lookedUp ends the doubt about an object by what the API server says, which the cache may not show yet.
func (l *ledger) lookedUp(source types.NamespacedName, object client.Object, found bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, _ := l.find(source, object)
	known := entry{resourceVersion: have.resourceVersion}
	switch {
	case found:
		known.ahead, known.written = object, l.clock.Now()
	case known.resourceVersion == "":
		l.remove(source, object)
		return
	}
	l.put(source, object, known)
}

// vanished notes that the API server no longer has the object, or no longer as we wrote it.
func (l *ledger) vanished(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.find(source, object); ok {
		l.put(source, object, entry{resourceVersion: have.resourceVersion, doubtful: have.doubtful, missed: have.missed || have.ahead != nil})
	}
}

// deleted notes that we deleted the object.
func (l *ledger) deleted(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(source, object)
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

// find returns what is known of an object; l.mu is held.
func (l *ledger) find(source types.NamespacedName, object client.Object) (entry, bool) {
	if i := l.index(source, object); i >= 0 {
		return l.sources[source][i].entry, true
	}
	return entry{}, false
}

// put stores an entry; l.mu is held.
func (l *ledger) put(source types.NamespacedName, object client.Object, e entry) {
	if i := l.index(source, object); i >= 0 {
		l.sources[source][i].entry = e
		return
	}
	l.sources[source] = append(l.sources[source], record{objectKey: keyOf(object), entry: e})
}

// remove drops an entry; l.mu is held.
func (l *ledger) remove(source types.NamespacedName, object client.Object) {
	if i := l.index(source, object); i >= 0 {
		l.sources[source] = slices.Delete(l.sources[source], i, i+1)
	}
}

func (l *ledger) index(source types.NamespacedName, object client.Object) int {
	key := keyOf(object)
	return slices.IndexFunc(l.sources[source], func(r record) bool { return r.objectKey == key })
}

// ahead are the objects made for the source that the cache may not show yet. Those of a source of the same name that is
// gone do not count.
func (l *ledger) ahead(source types.NamespacedName, uid types.UID) []client.Object {
	l.mu.Lock()
	defer l.mu.Unlock()
	var objects []client.Object
	for _, r := range l.sources[source] {
		if r.ahead == nil || l.trust(r.entry) <= 0 {
			continue
		}
		if owner := routing.OwnerService(r.ahead); owner != nil && owner.UID == uid {
			objects = append(objects, r.ahead)
		}
	}
	return objects
}

// unseen is how long until the first write that the cache has not shown is no longer believed, 0 if it has shown all.
func (l *ledger) unseen(source types.NamespacedName) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var unseen time.Duration
	for _, r := range l.sources[source] {
		if left := l.trust(r.entry); r.ahead != nil && left > 0 {
			unseen = election.Shorter(unseen, left)
		}
	}
	return unseen
}

func (l *ledger) trust(e entry) time.Duration { return trustUnseen - l.clock.Since(e.written) }

// merge puts what was written in the place of what the cache does not show yet. What the cache does show is seen, and
// is not kept any longer.
func merge[T client.Object](l *ledger, source types.NamespacedName, cached []T, written []client.Object) []T {
	merged := slices.Clone(cached)
	for _, object := range written {
		ahead, ok := object.(T)
		if !ok {
			continue
		}
		i := slices.IndexFunc(cached, func(c T) bool { return c.GetName() == ahead.GetName() })
		switch {
		case i < 0:
			merged = append(merged, ahead)
		case cached[i].GetUID() == ahead.GetUID() && older(cached[i].GetResourceVersion(), ahead.GetResourceVersion()):
			merged[i] = ahead
		default:
			l.seen(source, ahead)
		}
	}
	return merged
}

// older compares the resourceVersions of two objects of one kind, whose order Kubernetes has defined since 1.35 and kept
// before (KEP-5504).
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// seen notes that the cache shows an object as written, or later.
func (l *ledger) seen(source types.NamespacedName, object client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have, ok := l.find(source, object); ok && have.ahead == object {
		l.put(source, object, entry{resourceVersion: have.resourceVersion})
	}
}

func keyOf(object client.Object) objectKey {
	return objectKey{kind: kindOf(object), name: object.GetName()}
}
