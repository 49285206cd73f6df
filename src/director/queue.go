package director

import (
	"container/heap"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// priorityQueue is client-go's queue with an order of its own: the highest priority first, and who came first among equals.
// An event goes from its handler to a worker in one step; controller-runtime's own priority queue takes three, and in each
// a failover waits for a CPU.
//
// A Service that is added again before its turn comes keeps the higher of its priorities.
type priorityQueue struct {
	queue
	order *order
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = (*priorityQueue)(nil)

func newQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) queue {
	o := &order{wanted: make(map[reconcile.Request]int), places: make(map[reconcile.Request]*place), taken: make(map[reconcile.Request]int)}
	return &priorityQueue{order: o, queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
		DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{
			Name:  name,
			Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: o}),
		}),
	})}
}

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q *priorityQueue) AddWithOpts(options priorityqueue.AddOpts, requests ...reconcile.Request) {
	for _, request := range requests {
		if options.Priority != nil {
			q.order.want(request, *options.Priority)
		} else {
			q.order.want(request, 0)
		}
		switch {
		case options.RateLimited:
			q.queue.AddRateLimited(request)
		case options.After > 0:
			q.queue.AddAfter(request, options.After)
		default:
			q.queue.Add(request)
		}
	}
}

// Add implements workqueue.TypedInterface.
func (q *priorityQueue) Add(request reconcile.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{}, request)
}

// GetWithPriority implements priorityqueue.PriorityQueue. What still waits when the queue is shut down is not handed out:
// this process has no say any more.
func (q *priorityQueue) GetWithPriority() (reconcile.Request, int, bool) {
	request, shutdown := q.Get()
	if shutdown || q.ShuttingDown() {
		return reconcile.Request{}, 0, true
	}
	return request, q.order.priority(request), false
}

// Done implements workqueue.TypedInterface.
func (q *priorityQueue) Done(request reconcile.Request) {
	q.order.done(request)
	q.queue.Done(request)
}

// order holds the Services that wait, by priority and time.
type order struct {
	mu sync.Mutex
	// wanted is the highest priority that a Service was added with since it was handed out last.
	wanted map[reconcile.Request]int
	places map[reconcile.Request]*place
	heap   places
	// counter numbers the places.
	counter uint64
	// taken are the priorities of those that are being worked on.
	taken map[reconcile.Request]int
}

func (o *order) want(request reconcile.Request, priority int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if have, ok := o.wanted[request]; !ok || have < priority {
		o.wanted[request] = priority
	}
}

func (o *order) priority(request reconcile.Request) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken[request]
}

func (o *order) done(request reconcile.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.taken, request)
}

// Push implements workqueue.Queue.
func (o *order) Push(request reconcile.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := &place{request: request, priority: o.wanted[request], number: o.counter}
	o.counter++
	o.places[request] = p
	heap.Push(&o.heap, p)
}

// Touch implements workqueue.Queue: who is added once more may move ahead.
func (o *order) Touch(request reconcile.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.places[request]
	if !ok || o.wanted[request] <= p.priority {
		return
	}
	p.priority, p.number = o.wanted[request], o.counter
	o.counter++
	heap.Fix(&o.heap, p.index)
}

// Len implements workqueue.Queue.
func (o *order) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.heap)
}

// Pop implements workqueue.Queue.
func (o *order) Pop() reconcile.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := heap.Pop(&o.heap).(*place)
	delete(o.places, p.request)
	delete(o.wanted, p.request)
	o.taken[p.request] = p.priority
	return p.request
}

// place is where a Service waits.
type place struct {
	request  reconcile.Request
	priority int
	// number grows with each place that is taken.
	number uint64
	// index is the position in the heap.
	index int
}

// places are a heap.
type places []*place

// Len implements sort.Interface.
func (p places) Len() int { return len(p) }

// Less implements sort.Interface.
func (p places) Less(i, j int) bool {
	if p[i].priority != p[j].priority {
		return p[i].priority > p[j].priority
	}
	return p[i].number < p[j].number
}

// Swap implements sort.Interface.
func (p places) Swap(i, j int) {
	p[i], p[j] = p[j], p[i]
	p[i].index, p[j].index = i, j
}

// Push implements heap.Interface.
func (p *places) Push(x any) {
	added := x.(*place)
	added.index = len(*p)
	*p = append(*p, added)
}

// Pop implements heap.Interface.
func (p *places) Pop() any {
	last := len(*p) - 1
	removed := (*p)[last]
	(*p)[last] = nil
	*p = (*p)[:last]
	return removed
}
