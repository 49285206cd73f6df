package informers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
)

// informer is client-go's reflector in front of a store and handlers, with nothing in between: what it reads from the
// watch is stored and handled before it reads on. client-go's own informer hands each event on three times, through a
// queue of deltas, a buffer and a channel for each handler, so that a slow handler holds nobody up; ours only put names
// into a queue, and each time that a failover is handed on it waits for a CPU. docs/performance.md has what that is worth.
//
// The store holds an object before its handlers hear of it.
type informer struct {
	source  toolscache.ListerWatcher
	example runtime.Object
	// resync is the time after which handlers hear of each object again.
	resync    time.Duration
	indexer   toolscache.Indexer
	transform toolscache.TransformFunc
	// filled is closed when all handlers have heard of the first list.
	filled chan struct{}

	// mu is held while the store changes and the handlers hear of it; so they cannot add or remove handlers.
	mu            sync.Mutex
	registrations []*registration

	// reflector is there once the informer runs.
	reflector atomic.Pointer[toolscache.Reflector]
	stopped   atomic.Bool
}

var _ toolscache.SharedIndexInformer = (*informer)(nil)

// registration is one handler. It has heard of everything when the informer is filled: a later one hears of it when it
// is added.
type registration struct {
	toolscache.ResourceEventHandler
	informer *informer
}

// HasSynced implements toolscache.ResourceEventHandlerRegistration.
func (r *registration) HasSynced() bool { return r.informer.HasSynced() }

// HasSyncedChecker implements toolscache.ResourceEventHandlerRegistration.
func (r *registration) HasSyncedChecker() toolscache.DoneChecker {
	return r.informer.HasSyncedChecker()
}

func newInformer(source toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) *informer {
	return &informer{
		source: newSource(source), example: example, resync: resync, filled: make(chan struct{}),
		indexer:   toolscache.NewIndexer(toolscache.DeletionHandlingMetaNamespaceKeyFunc, indexers),
		transform: func(object any) (any, error) { return object, nil },
	}
}

// backoff is how long the reflector waits between tries while the API server is away: at first 0.1 to 0.2 s, then up to
// 2 to 4 s. client-go's own would be up to 30 to 60 s, in which no failure is seen although the Lease, which is tried
// several times a second, is held again. A try that is refused costs nobody much; for those that are answered and lead
// nowhere, see source.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 1, Cap: 2 * time.Second, Steps: 10}
}

// RunWithContext implements toolscache.SharedInformer.
func (i *informer) RunWithContext(ctx context.Context) {
	reflector := toolscache.NewReflectorWithOptions(i.source, i.example, sink{i}, toolscache.ReflectorOptions{
		Logger: ptr.To(klog.FromContext(ctx)), Name: "zen-lead", TypeDescription: fmt.Sprintf("%T", i.example),
		ResyncPeriod: i.resync, Backoff: backoff(),
	})
	i.reflector.Store(reflector)
	reflector.RunWithContext(ctx)
	i.stopped.Store(true)
}

// Run implements toolscache.SharedInformer.
func (i *informer) Run(stop <-chan struct{}) { i.RunWithContext(wait.ContextForChannel(stop)) }

// AddEventHandlerWithOptions implements toolscache.SharedInformer. The handler hears at once of what is stored. It must
// return soon; how often it hears of what has not changed is the informer's to say.
func (i *informer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped.Load() {
		return nil, fmt.Errorf("failed to add a handler to the informer of %T: it has stopped", i.example)
	}
	r := &registration{ResourceEventHandler: handler, informer: i}
	for _, object := range i.indexer.List() {
		r.OnAdd(object, true)
	}
	i.registrations = append(i.registrations, r)
	return r, nil
}

// AddEventHandler implements toolscache.SharedInformer.
func (i *informer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod implements toolscache.SharedInformer.
func (i *informer) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, period time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandlerWithOptions(handler, toolscache.HandlerOptions{ResyncPeriod: &period})
}

// RemoveEventHandler implements toolscache.SharedInformer.
func (i *informer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.registrations = slices.DeleteFunc(i.registrations, func(r *registration) bool { return r == handle })
	return nil
}

// SetTransform implements toolscache.SharedInformer.
func (i *informer) SetTransform(transform toolscache.TransformFunc) error {
	if transform != nil {
		i.transform = transform
	}
	return nil
}

// SetWatchErrorHandlerWithContext implements toolscache.SharedInformer: client-go lets nobody else set it.
func (i *informer) SetWatchErrorHandlerWithContext(toolscache.WatchErrorHandlerWithContext) error {
	return errors.ErrUnsupported
}

// SetWatchErrorHandler implements toolscache.SharedInformer, as SetWatchErrorHandlerWithContext does.
func (i *informer) SetWatchErrorHandler(toolscache.WatchErrorHandler) error {
	return errors.ErrUnsupported
}

// AddIndexers implements toolscache.SharedIndexInformer.
func (i *informer) AddIndexers(indexers toolscache.Indexers) error {
	return i.indexer.AddIndexers(indexers)
}

// GetIndexer implements toolscache.SharedIndexInformer.
func (i *informer) GetIndexer() toolscache.Indexer { return i.indexer }

// GetStore implements toolscache.SharedInformer.
func (i *informer) GetStore() toolscache.Store { return i.indexer }

// GetController implements toolscache.SharedInformer.
func (i *informer) GetController() toolscache.Controller { return i }

// HasSynced implements toolscache.SharedInformer.
func (i *informer) HasSynced() bool { return toolscache.IsDone(i) }

// HasSyncedChecker implements toolscache.SharedInformer.
func (i *informer) HasSyncedChecker() toolscache.DoneChecker { return i }

// Name implements toolscache.DoneChecker.
func (i *informer) Name() string { return fmt.Sprintf("informer of %T", i.example) }

// Done implements toolscache.DoneChecker.
func (i *informer) Done() <-chan struct{} { return i.filled }

// LastSyncResourceVersion implements toolscache.SharedInformer.
func (i *informer) LastSyncResourceVersion() string {
	if reflector := i.reflector.Load(); reflector != nil {
		return reflector.LastSyncResourceVersion()
	}
	return ""
}

// IsStopped implements toolscache.SharedInformer.
func (i *informer) IsStopped() bool { return i.stopped.Load() }

// sink is what the reflector writes to.
type sink struct{ *informer }

var _ toolscache.TransformingStore = sink{}

// Transformer implements toolscache.TransformingStore.
func (s sink) Transformer() toolscache.TransformFunc { return s.transform }

// Add implements toolscache.ReflectorStore.
func (s sink) Add(object any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.put(object, false)
	return err
}

// Update implements toolscache.ReflectorStore.
func (s sink) Update(object any) error { return s.Add(object) }

// put stores an object and tells of it, if it is another than before: a list brings what has not changed, too. It returns
// the object's key.
func (s sink) put(object any, initially bool) (string, error) {
	object, err := s.transform(object)
	if err != nil {
		return "", err
	}
	key, err := toolscache.MetaNamespaceKeyFunc(object)
	if err != nil {
		return "", err
	}
	before, known, err := s.indexer.GetByKey(key)
	if err != nil {
		return "", err
	}
	if err := s.indexer.Update(object); err != nil {
		return "", err
	}
	if known && identity(before) == identity(object) {
		return key, nil
	}
	for _, handler := range s.registrations {
		if known {
			handler.OnUpdate(before, object)
		} else {
			handler.OnAdd(object, initially)
		}
	}
	return key, nil
}

// identity is UID and version: after etcd was restored, versions are given out once more.
func identity(object any) [2]string {
	accessor, err := meta.Accessor(object)
	if err != nil { // it has a key, and so has these
		return [2]string{}
	}
	return [2]string{string(accessor.GetUID()), accessor.GetResourceVersion()}
}

// Delete implements toolscache.ReflectorStore.
func (s sink) Delete(object any) error {
	object, err := s.transform(object)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known, err := s.indexer.Get(object); err != nil || !known {
		return err
	}
	return s.drop(object)
}

// drop removes an object and tells of it.
func (s sink) drop(object any) error {
	if err := s.indexer.Delete(object); err != nil {
		return err
	}
	for _, handler := range s.registrations {
		handler.OnDelete(object)
	}
	return nil
}

// Replace implements toolscache.ReflectorStore: it brings a whole list. What is gone was deleted while nobody watched,
// and its last state is not known.
func (s sink) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.HasSynced()
	listed := sets.New[string]()
	for _, object := range list {
		key, err := s.put(object, first)
		if err != nil {
			return err
		}
		listed.Insert(key)
	}
	for _, key := range s.indexer.ListKeys() {
		if listed.Has(key) {
			continue
		}
		last, _, err := s.indexer.GetByKey(key)
		if err != nil {
			return err
		}
		if err := s.drop(toolscache.DeletedFinalStateUnknown{Key: key, Obj: last}); err != nil {
			return err
		}
	}
	if first {
		close(s.filled)
	}
	return nil
}

// Resync implements toolscache.ReflectorStore: handlers look at everything again.
func (s sink) Resync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, object := range s.indexer.List() {
		for _, handler := range s.registrations {
			handler.OnUpdate(object, object)
		}
	}
	return nil
}
