package director

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: name}}
}

func testQueue() *priorityQueue {
	return newQueue("", workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry)).(*priorityQueue)
}

func with(priority int) priorityqueue.AddOpts {
	return priorityqueue.AddOpts{Priority: ptr.To(priority)}
}

// get is the next in the queue.
func get(t require.TestingT, q *priorityQueue) (string, int) {
	r, priority, shutdown := q.GetWithPriority()
	require.False(t, shutdown)
	return r.Name, priority
}

// A Service is handed out by one worker at a time, the most urgent first, then who came first; who is added again keeps
// the higher priority.
func TestTheQueueIsInOrder(t *testing.T) {
	type waiting struct {
		name             string
		priority, number int
	}
	rapid.Check(t, func(t *rapid.T) {
		q := testQueue()
		defer q.ShutDown()
		names := []string{"a", "b", "c", "d", "e"}
		queued, later := map[string]waiting{}, map[string]waiting{}
		busy := map[string]bool{}
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				name, priority := rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom([]int{-100, -10, 0, failoverPriority}).Draw(t, "priority")
				q.AddWithOpts(with(priority), request(name))
				into := queued
				if busy[name] {
					into = later
				}
				have, ok := into[name]
				if !ok || have.priority < priority {
					number++
					into[name] = waiting{name, priority, number}
				}
			},
			"get": func(t *rapid.T) {
				assert.Equal(t, len(queued), q.Len())
				if len(queued) == 0 {
					return
				}
				var list []waiting
				for _, w := range queued {
					list = append(list, w)
				}
				want := slices.MinFunc(list, func(a, b waiting) int {
					return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.number, b.number))
				})
				name, priority := get(t, q)
				assert.Equal(t, want.name, name)
				assert.Equal(t, want.priority, priority)
				delete(queued, name)
				busy[name] = true
			},
			"done": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				if !busy[name] {
					return
				}
				q.Done(request(name))
				delete(busy, name)
				if again, ok := later[name]; ok { // its time counts from now
					number++
					queued[name] = waiting{name, again.priority, number}
					delete(later, name)
				}
			},
		})
	})
}

func TestTheQueueKeepsThePriorityOfWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := testQueue()
		defer q.ShutDown()
		q.AddWithOpts(priorityqueue.AddOpts{After: time.Second, Priority: ptr.To(restPriority)}, request("rest"))
		q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true, Priority: ptr.To(failoverPriority)}, request("retry"))
		assert.Zero(t, q.Len(), "both are for later")
		<-time.After(2 * time.Second) // of the bubble's clock
		synctest.Wait()
		q.Add(request("change"))
		for _, want := range []struct {
			name     string
			priority int
		}{{"retry", failoverPriority}, {"change", 0}, {"rest", restPriority}} {
			name, priority := get(t, q)
			assert.Equal(t, want.name, name)
			assert.Equal(t, want.priority, priority)
			q.Done(request(name))
		}
		assert.Empty(t, q.order.wanted, "who is not waiting takes no memory")
		assert.Empty(t, q.order.places)
		assert.Empty(t, q.order.heap)
		assert.Empty(t, q.order.taken)
	})
}

// Handlers and workers do not wait for one another; nobody is forgotten.
func TestTheQueueServesManyWorkers(t *testing.T) {
	q := testQueue()
	var workers sync.WaitGroup
	var mu sync.Mutex
	passes := map[string]int{}
	for range 4 {
		workers.Go(func() {
			for {
				r, _, shutdown := q.GetWithPriority()
				if shutdown {
					return
				}
				mu.Lock()
				passes[r.Name]++
				mu.Unlock()
				q.Done(r)
			}
		})
	}
	var handlers sync.WaitGroup
	for handler := range 4 {
		handlers.Go(func() {
			for n := range 500 {
				q.AddWithOpts(with(handler*10), request(strconv.Itoa(n%50)))
			}
		})
	}
	handlers.Wait()
	assert.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		q.order.mu.Lock()
		defer q.order.mu.Unlock()
		return len(passes) == 50 && len(q.order.heap) == 0 && len(q.order.taken) == 0
	}, 10*time.Second, time.Millisecond)
	q.ShutDown()
	workers.Wait()
}

// Who is no longer the active replica must not go on with what waits.
func TestTheQueueHandsNothingOutAfterItsEnd(t *testing.T) {
	q := testQueue()
	q.Add(request("a"))
	q.ShutDown()
	_, _, shutdown := q.GetWithPriority()
	assert.True(t, shutdown)
}
