package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/director"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/metrics"
)

// process is one controller process: the real reconciler with its real event handlers, on a cache that lags behind in
// each kind by itself, and a queue that hands out what is ready in any order.
type process struct {
	*world
	name     string
	skew     time.Duration
	clock    *clocktesting.FakePassiveClock
	director *director.ServiceDirectorReconciler
	handlers [kinds]handler.EventHandler
	indexes  [kinds]map[string]client.IndexerFunc
	views    [kinds]view
	elected  chan struct{}
	leading  bool
	dead     bool
	lists    int

	// queue holds for each Service when it may be looked at, as controller-runtime's queue does: one entry for a key,
	// the earliest time counts.
	queue    map[string]time.Time
	failures map[string]int
	passes   map[string]*pass
	// noted are the Services with a pod event since the last look.
	noted      map[string]bool
	delivering kind
	initial    bool
}

// view is what a process has seen of one kind.
type view struct {
	items    map[string]item
	position int // in the server's log
}

type item struct {
	object client.Object
	keys   map[string][]string // by index
}

// pass is one reconciliation under way.
type pass struct {
	*process
	key    string
	seen   seen
	ended  bool
	result reconcile.Result
	err    error
	wrote  map[string]int
	// decided is set once it writes.
	decided bool
	// moved is the slice whose write began a term in this pass.
	moved string
}

// seen is what the cache held when the pass began.
type seen struct {
	source *corev1.Service
	named  *corev1.Service
	pods   []*corev1.Pod
	now    time.Time
	noted  bool
}

// Between failures, as director.SetupWithManager sets it.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

func (w *world) newProcess(name string, skew time.Duration) *process {
	p := &process{world: w, name: name, skew: skew, clock: clocktesting.NewFakePassiveClock(w.now.Add(skew)), elected: make(chan struct{}),
		queue: map[string]time.Time{}, failures: map[string]int{}, passes: map[string]*pass{}, noted: map[string]bool{}}
	for k := range p.views {
		p.views[k].items = make(map[string]item)
		p.indexes[k] = make(map[string]client.IndexerFunc)
	}
	p.director = director.New(director.Config{
		Client: cacheClient{process: p}, APIReader: apiReader{process: p}, Events: silence{}, Clock: p.clock,
		Metrics: metrics.NewRecorder(p.clock, "simulation"), Elected: p.elected,
	})
	handlers := p.director.Handlers()
	p.handlers = [kinds]handler.EventHandler{handlers.Pod, handlers.Service, handlers.Slice}
	if err := p.director.AddIndexes(p.context(), indexer{p}); err != nil {
		panic(err)
	}
	return p
}

func (p *process) context() context.Context {
	return log.IntoContext(context.Background(), logr.Discard())
}

// indexer collects the indexes that the cache is to have.
type indexer struct{ *process }

func (i indexer) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.indexes[kindOf(object)][field] = extract
	return nil
}

// silence drops Events.
type silence struct{}

func (silence) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// queue is what the handlers put Services into. What they do not use is nil.
type queue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	*process
}

func (q queue) Add(request reconcile.Request) {
	q.enqueue(request.Name, 0)
	if q.delivering == pods && q.leading && !q.initial {
		q.noted[request.Name] = true
	}
}

func (p *process) enqueue(key string, after time.Duration) {
	at := p.now.Add(after)
	if have, ok := p.queue[key]; !ok || at.Before(have) {
		p.queue[key] = at
	}
}

// ready are the Services that a worker could take now.
func (p *process) ready() []string {
	if !p.leading || p.dead {
		return nil
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(p.queue)) {
		if p.passes[key] == nil && !p.queue[key].After(p.now) {
			keys = append(keys, key)
		}
	}
	return keys
}

// deliver shows the next events of a kind.
func (p *process) deliver(k kind, count int) {
	for ; count > 0 && p.views[k].position < len(p.server.log[k]); count-- {
		c := p.server.log[k][p.views[k].position]
		p.views[k].position++
		p.tell("  %s sees %s", p.name, describe(c))
		p.show(k, c)
	}
}

func (p *process) behind(k kind) int { return len(p.server.log[k]) - p.views[k].position }

func (p *process) show(k kind, c change) {
	name := c.object.GetName()
	have, known := p.views[k].items[name]
	p.delivering = k
	switch {
	case !c.deleted && watched(c.object):
		slim := slimmed(c.object)
		p.views[k].items[name] = p.indexed(k, slim)
		if known {
			p.handlers[k].Update(p.context(), event.UpdateEvent{ObjectOld: have.object, ObjectNew: slim}, queue{process: p})
		} else {
			p.handlers[k].Create(p.context(), event.CreateEvent{Object: slim, IsInInitialList: p.initial}, queue{process: p})
		}
	case known:
		delete(p.views[k].items, name)
		p.handlers[k].Delete(p.context(), event.DeleteEvent{Object: slimmed(c.object)}, queue{process: p})
	}
}

// relist is a watch that broke: what happened since is lost, what there is comes once more.
func (p *process) relist(k kind) {
	p.tell("  %s lists the %s anew", p.name, k)
	p.delivering = k
	p.views[k].position = len(p.server.log[k])
	for _, name := range sortedNames(p.server.objects[k]) {
		if object := p.server.objects[k][name]; watched(object) {
			p.show(k, change{object: clone(object)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.views[k].items)) {
		if object := p.server.objects[k][name]; object == nil || !watched(object) {
			p.show(k, change{object: p.views[k].items[name].object, deleted: true})
		}
	}
}

// list fills an empty view with the state at a position of the log.
func (p *process) list(k kind, position int) {
	state := make(map[string]client.Object)
	for _, c := range p.server.log[k][:position] {
		if c.deleted {
			delete(state, c.object.GetName())
		} else {
			state[c.object.GetName()] = c.object
		}
	}
	p.initial = true
	p.views[k].position = position
	for _, name := range sortedNames(state) {
		p.show(k, change{object: state[name]})
	}
	p.initial = false
}

// watched tells whether the cache's watches show the object.
func watched(object client.Object) bool {
	return kindOf(object) != endpointSlices || object.GetLabels()[discoveryv1.LabelManagedBy] == api.ManagedBy
}

func slimmed(object client.Object) client.Object {
	switch pod := object.(type) {
	case *corev1.Pod:
		return informers.NewPod(pod)
	case *informers.Pod:
		return pod
	}
	slim, err := map[kind]func(any) (any, error){services: informers.SlimService, endpointSlices: informers.SlimSlice}[kindOf(object)](object.DeepCopyObject())
	if err != nil {
		panic(err)
	}
	return slim.(client.Object)
}

func (p *process) indexed(k kind, object client.Object) item {
	i := item{object: object, keys: make(map[string][]string, len(p.indexes[k]))}
	for field, extract := range p.indexes[k] {
		i.keys[field] = extract(object)
	}
	return i
}

// begin starts to look at a Service. It goes on until its first request to the API server, or to its end.
func (p *process) begin(key string) *pass {
	delete(p.queue, key)
	ps := &pass{process: p, key: key, wrote: map[string]int{}, seen: p.lookAt(key)}
	p.passes[key] = ps
	p.tell("  %s looks at %s", p.name, key)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				p.violate(noPanic, "%s looks at %s: %v", p.name, key, r)
			}
			ps.ended = true
		}()
		ps.result, ps.err = p.director.Reconcile(context.WithValue(p.context(), passKey{}, ps), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: key}})
	}()
	p.wait()
	return ps
}

// lookAt is what a pass that begins now sees.
func (p *process) lookAt(key string) seen {
	source, _ := p.views[services].items[key].object.(*corev1.Service)
	noted := p.noted[key]
	delete(p.noted, key)
	return p.look(key, source, noted)
}

func (p *process) look(key string, source *corev1.Service, noted bool) seen {
	s := seen{now: p.clock.Now(), source: source, noted: noted}
	for _, name := range slices.Sorted(maps.Keys(p.views[pods].items)) {
		s.pods = append(s.pods, p.views[pods].items[name].object.(*informers.Pod).Full())
	}
	if s.source != nil {
		settings, _ := api.ParseSettings(key, s.source.Annotations, api.Defaults{})
		s.named, _ = p.views[services].items[settings.LeaderServiceName].object.(*corev1.Service)
	}
	return s
}

// finish does with the end of a pass what controller-runtime does.
func (ps *pass) finish() {
	p := ps.process
	delete(p.passes, ps.key)
	switch {
	case p.dead:
	case ps.err != nil:
		p.tell("  %s: %v", p.name, ps.err)
		p.enqueue(ps.key, min(lastRetry, firstRetry<<min(p.failures[ps.key], 20)))
		p.failures[ps.key]++
	default:
		p.failures[ps.key] = 0
		if ps.result.RequeueAfter > 0 {
			p.enqueue(ps.key, ps.result.RequeueAfter)
		}
	}
}

// complete looks at a Service with nothing going wrong.
func (p *process) complete(key string) {
	ps := p.begin(key)
	for !ps.ended && p.violation == nil {
		r := p.requestOf(ps)
		if r == nil {
			p.violate(noPanic, "%s is stuck looking at %s", p.name, key)
			return
		}
		p.arrive(r)
		p.answer(r)
	}
}

// request is one on its way to the API server.
type request struct {
	*pass
	verb    string
	object  client.Object
	data    []byte
	uid     *types.UID
	arrived bool
	reply   client.Object
	err     error
	done    chan struct{}
}

func (r *request) id() string { return r.name + r.key + r.object.GetName() + r.verb }

// errDead is what the requests of a process that is gone end with.
var errDead = errors.New("the process is gone")

// passKey is where the context of a reconciliation has its pass.
type passKey struct{}

// send hands a request over to the simulation, and returns once that answers.
func (p *process) send(ctx context.Context, r *request) (client.Object, error) {
	r.pass, r.done = ctx.Value(passKey{}).(*pass), make(chan struct{})
	p.mu.Lock()
	dead := p.dead
	r.decided = r.decided || r.verb != "get"
	if !dead {
		p.incoming = append(p.incoming, r)
	}
	p.mu.Unlock()
	if dead {
		return nil, errDead
	}
	<-r.done
	return r.reply, r.err
}

// cacheClient reads from the cache and writes to the API server. What the director does not use is nil.
type cacheClient struct {
	client.Client
	*process
}

func (c cacheClient) Get(_ context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	k := kindOf(object)
	have, ok := c.views[k].items[key.Name]
	if !ok || key.Namespace != namespace {
		return apierrors.NewNotFound(k.resource(), key.Name)
	}
	fill(object, have.object)
	return nil
}

// List gives the objects in turns forwards and backwards: a cache promises no order.
func (c cacheClient) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var options client.ListOptions
	options.ApplyOptions(opts)
	k := kindOf(list)
	names := slices.Sorted(maps.Keys(c.views[k].items))
	if c.lists++; c.lists%2 == 0 {
		slices.Reverse(names)
	}
	for _, name := range names {
		have := c.views[k].items[name]
		if options.LabelSelector != nil && !options.LabelSelector.Matches(labelsOf(have.object)) || !c.indexedUnder(k, have, options) {
			continue
		}
		switch list := list.(type) {
		case *corev1.PodList:
			list.Items = append(list.Items, *have.object.(*informers.Pod).Full())
		case *corev1.ServiceList:
			list.Items = append(list.Items, *have.object.(*corev1.Service))
		case *discoveryv1.EndpointSliceList:
			list.Items = append(list.Items, *have.object.(*discoveryv1.EndpointSlice))
		}
	}
	return nil
}

func (c cacheClient) indexedUnder(k kind, have item, options client.ListOptions) bool {
	if options.FieldSelector == nil {
		return true
	}
	for _, requirement := range options.FieldSelector.Requirements() {
		if c.indexes[k][requirement.Field] == nil {
			panic("there is no index " + requirement.Field)
		}
		if !slices.Contains(have.keys[requirement.Field], requirement.Value) {
			return false
		}
	}
	return true
}

func (c cacheClient) Create(ctx context.Context, object client.Object, _ ...client.CreateOption) error {
	return c.write(ctx, &request{verb: "create", object: clone(object)}, object)
}

func (c cacheClient) Update(ctx context.Context, object client.Object, _ ...client.UpdateOption) error {
	return c.write(ctx, &request{verb: "update", object: clone(object)}, object)
}

func (c cacheClient) Patch(ctx context.Context, object client.Object, patch client.Patch, _ ...client.PatchOption) error {
	data, err := patch.Data(object)
	if err != nil {
		return err
	}
	if patch.Type() != types.MergePatchType || kindOf(object) != services {
		return fmt.Errorf("the simulation knows no %s of %T", patch.Type(), object)
	}
	return c.write(ctx, &request{verb: "patch", object: clone(object), data: data}, object)
}

func (c cacheClient) Delete(ctx context.Context, object client.Object, opts ...client.DeleteOption) error {
	var options client.DeleteOptions
	options.ApplyOptions(opts)
	r := &request{verb: "delete", object: clone(object)}
	if options.Preconditions != nil {
		r.uid = options.Preconditions.UID
	}
	return c.write(ctx, r, nil)
}

func (c cacheClient) write(ctx context.Context, r *request, into client.Object) error {
	reply, err := c.send(ctx, r)
	if err == nil && into != nil {
		fill(into, clone(reply))
	}
	return err
}

// apiReader reads from the API server.
type apiReader struct {
	client.Reader
	*process
}

func (a apiReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	asked := clone(object)
	asked.SetName(key.Name)
	reply, err := a.send(ctx, &request{verb: "get", object: asked})
	if err == nil {
		fill(object, clone(reply))
	}
	return err
}

func fill(into, from client.Object) {
	switch into := into.(type) {
	case *corev1.Pod:
		if cached, ok := from.(*informers.Pod); ok {
			from = cached.Full()
		}
		*into = *from.(*corev1.Pod)
	case *corev1.Service:
		*into = *from.(*corev1.Service)
	case *discoveryv1.EndpointSlice:
		*into = *from.(*discoveryv1.EndpointSlice)
	}
}
