package informers

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/watchlist"
	"k8s.io/utils/ptr"
)

// A reflector whose watch fails again and again, as without the right to watch, lists everything again each time. After
// so many lists, the next waits until the first of them is so long ago.
const (
	listsAtOnce = 3
	listsWithin = 90 * time.Second
)

// source is where a reflector reads from. It holds back lists that follow one another, where the API server has answered:
// one for which nobody answered costs nobody anything.
type source struct {
	toolscache.ListerWatcherWithContext
	// semantics knows whether watches can bring lists.
	semantics any

	mu sync.Mutex
	// answered are when the last lists were answered, the last first.
	answered []time.Time
}

func newSource(from toolscache.ListerWatcher) *source {
	return &source{ListerWatcherWithContext: toolscache.ToListerWatcherWithContext(from), semantics: from}
}

// ListWithContext implements toolscache.ListerWatcherWithContext.
func (s *source) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	if options.Continue == "" {
		s.wait(ctx)
	}
	list, err := s.ListerWatcherWithContext.ListWithContext(ctx, options)
	if err == nil && options.Continue == "" {
		s.note()
	}
	return list, err
}

// WatchWithContext implements toolscache.ListerWatcherWithContext. A watch may begin with a list.
func (s *source) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	lists := ptr.Deref(options.SendInitialEvents, false)
	if lists {
		s.wait(ctx)
	}
	w, err := s.ListerWatcherWithContext.WatchWithContext(ctx, options)
	if err == nil && lists {
		s.note()
	}
	return w, err
}

// List implements toolscache.ListerWatcher.
func (s *source) List(options metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), options)
}

// Watch implements toolscache.ListerWatcher.
func (s *source) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), options)
}

// IsWatchListSemanticsUnSupported is asked by client-go's reflector.
func (s *source) IsWatchListSemanticsUnSupported() bool {
	return watchlist.DoesClientNotSupportWatchListSemantics(s.semantics)
}

func (s *source) wait(ctx context.Context) {
	s.mu.Lock()
	var pause time.Duration
	if len(s.answered) == listsAtOnce {
		pause = listsWithin - time.Since(s.answered[listsAtOnce-1])
	}
	s.mu.Unlock()
	if pause <= 0 {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

func (s *source) note() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = append([]time.Time{time.Now()}, s.answered[:min(len(s.answered), listsAtOnce-1)]...)
}
