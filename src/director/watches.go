package director

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/routing"
)

// failoverPriority lets a Service whose pod may not lead any more overtake everything else in the queue: 0 is the
// default, and controller-runtime gives -100 to what the initial list brings.
const failoverPriority = 100

// The pause after a failed reconciliation grows from the first to the second.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// SetupWithManager registers the controller, and the indexes with the indexer.
func (r *ServiceDirectorReconciler) SetupWithManager(ctx context.Context, manager ctrl.Manager, indexer client.FieldIndexer, concurrency int) error {
	if err := r.AddIndexes(ctx, indexer); err != nil {
		return err
	}
	handlers := r.Handlers()
	return ctrl.NewControllerManagedBy(manager).
		Named("service-director").
		Watches(&corev1.Service{}, handlers.Service).
		Watches(&discoveryv1.EndpointSlice{}, handlers.Slice).
		Watches(&informers.Pod{}, handlers.Pod).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
			NewQueue:                newQueue,
			// A standby keeps its caches and its queue warm: when it takes over, it looks at everything once, and writes
			// nothing where nothing is wrong.
			EnableWarmup: ptr.To(true),
			// The name is unique in a process that runs one manager; tests run several, one after the other.
			SkipNameValidation: ptr.To(true),
		}).
		Complete(r)
}

// Handlers bring in the Services that an event of a kind concerns.
type Handlers struct {
	Service, Slice, Pod handler.EventHandler
}

// Handlers are those that SetupWithManager registers; a simulation calls them by itself.
func (r *ServiceDirectorReconciler) Handlers() Handlers {
	return Handlers{Service: r.serviceHandler(), Slice: r.sliceHandler(), Pod: r.podHandler()}
}

// AddIndexes registers the indexes by which the reconciler and its handlers look things up.
func (r *ServiceDirectorReconciler) AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	return informers.AddIndexes(ctx, indexer, r.selectors)
}

// podHandler brings in the Services that select a pod or did before the event.
func (r *ServiceDirectorReconciler) podHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			pod := e.Object.(*informers.Pod)
			for _, key := range r.selecting(ctx, pod) {
				r.members.joined(key, pod.Name)
				if !e.IsInInitialList {
					r.arrivals.note(key)
				}
				q.Add(reconcile.Request{NamespacedName: key})
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*informers.Pod), e.ObjectNew.(*informers.Pod)
			if before.Same(after) {
				return
			}
			keys := r.selecting(ctx, after)
			if !before.SameLabels(after) {
				keys = append(keys, r.selecting(ctx, before)...)
			}
			for _, key := range keys {
				r.members.joined(key, after.Name)
			}
			r.add(q, keys, demoted(before, after))
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			pod := e.Object.(*informers.Pod)
			keys := r.selecting(ctx, pod)
			for _, key := range keys {
				r.members.left(key, pod.Name)
			}
			r.add(q, keys, true)
		},
	}
}

// add brings Services in whose pods changed, to the head of the queue if that may have cost them their leader.
func (r *ServiceDirectorReconciler) add(q queue, keys []types.NamespacedName, urgent bool) {
	for _, key := range keys {
		r.arrivals.note(key)
		request := reconcile.Request{NamespacedName: key}
		if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok && urgent {
			pq.AddWithOpts(priorityqueue.AddOpts{Priority: ptr.To(failoverPriority)}, request)
		} else {
			q.Add(request)
		}
	}
}

// demoted tells whether a pod that may have led before may not any more.
func demoted(before, after *informers.Pod) bool {
	if !before.IsReady() {
		return false
	}
	return !after.IsReady() || before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		before.UID != after.UID || !before.SamePhase(after) || !before.SameLabels(after)
}

func (r *ServiceDirectorReconciler) selecting(ctx context.Context, pod *informers.Pod) []types.NamespacedName {
	services, err := r.selectors.Selecting(ctx, r.Client, pod.Namespace, pod.GetLabels())
	if err != nil { // a cache that is running does not fail
		log.FromContext(ctx).Error(err, "failed to map a pod to its Services", "namespace", pod.Namespace)
	}
	return keysOf(services)
}

// serviceHandler brings in a Service that speaks of zen-lead, the source of a leader Service, and Services that wait for
// a name. What we wrote ourselves brings in nothing.
func (r *ServiceDirectorReconciler) serviceHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if service := e.Object.(*corev1.Service); !r.echo(service) {
				r.members.reselected(client.ObjectKeyFromObject(service))
				r.addService(ctx, q, service)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, after := e.ObjectOld.(*corev1.Service), e.ObjectNew.(*corev1.Service)
			if r.echo(after) {
				return
			}
			if !maps.Equal(before.Spec.Selector, after.Spec.Selector) || api.Mentioned(before.Annotations) != api.Mentioned(after.Annotations) {
				r.members.reselected(client.ObjectKeyFromObject(after))
			}
			r.addService(ctx, q, after)
			if api.Mentioned(before.Annotations) {
				q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(before)})
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			service := e.Object.(*corev1.Service)
			if source, ok := sourceKey(service); ok {
				r.ledger.vanished(source, service)
			}
			r.addService(ctx, q, service)
		},
	}
}

// echo tells whether an event brings only what we wrote ourselves.
func (r *ServiceDirectorReconciler) echo(object client.Object) bool {
	source, ok := sourceKey(object)
	return ok && r.ledger.echo(source, object)
}

func (r *ServiceDirectorReconciler) addService(ctx context.Context, q queue, service *corev1.Service) {
	if source, ok := sourceKey(service); ok {
		q.Add(reconcile.Request{NamespacedName: source})
	}
	if api.Mentioned(service.Annotations) {
		q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(service)})
	}
	r.addWanting(ctx, q, service.Namespace, service.Name)
}

// addWanting brings in the Services whose leader Service is to have the name.
func (r *ServiceDirectorReconciler) addWanting(ctx context.Context, q queue, namespace, name string) {
	waiting, err := informers.ServicesWanting(ctx, r.Client, namespace, name)
	if err != nil { // a cache that is running does not fail
		log.FromContext(ctx).Error(err, "failed to map a name to the Services that want it", "namespace", namespace)
	}
	for _, key := range keysOf(waiting) {
		q.Add(reconcile.Request{NamespacedName: key})
	}
}

// sliceHandler brings in the source of a leader slice, unless the event brings what we wrote ourselves.
func (r *ServiceDirectorReconciler) sliceHandler() handler.EventHandler {
	add := func(q queue, object client.Object) {
		if source, ok := sourceKey(object); ok && !r.echo(object) {
			q.Add(reconcile.Request{NamespacedName: source})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(q, e.Object) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			add(q, e.ObjectNew)
			if source, ok := sourceKey(e.ObjectOld); ok && routing.OwnerService(e.ObjectNew) == nil {
				q.Add(reconcile.Request{NamespacedName: source})
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			if source, ok := sourceKey(e.Object); ok {
				r.ledger.vanished(source, e.Object)
				q.Add(reconcile.Request{NamespacedName: source})
			}
			// Its name is free: another Service may have been waiting for it.
			r.addWanting(ctx, q, e.Object.GetNamespace(), e.Object.GetLabels()[discoveryv1.LabelServiceName])
		},
	}
}

func keysOf(services []*corev1.Service) []types.NamespacedName {
	keys := make([]types.NamespacedName, len(services))
	for i, service := range services {
		keys[i] = client.ObjectKeyFromObject(service)
	}
	return keys
}
