// Package director brings leader Services and their slices in line with what the election decides. It is the only place
// that writes.
//
// One reconciliation serves one source Service:
//
//	gather   the source, what was made for it, its pods         from the cache
//	decide   api.ParseSettings, routing.Candidates, election.Decide, desired objects   pure: see plan
//	apply    slices first, then the rest; nothing that is already so
//	report   metrics and Events, after success
//
// Who leads is read back from the slices each time. What the reconciler keeps in memory only saves work: losing it
// costs a conflict or a repeated Event, never a wrong leader.
package director

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/metrics"
	"github.com/kube-zen/zen-lead/src/routing"
)

// FieldManager is the name under which the API server records zen-lead's writes.
const FieldManager = "zen-lead"

// The rest of a pass that has written slices comes soon, but after every failover that waits.
const (
	restDelay    = time.Millisecond
	restPriority = -10
)

// The pause before another look after a write was refused because the cache was behind grows from the first to the
// second. Usually the cache catches up within the first, and its event has then brought the Service back already.
const (
	firstStaleRetry = 10 * time.Millisecond
	lastStaleRetry  = 5 * time.Second
)

// Config is what a ServiceDirectorReconciler works with.
type Config struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// APIReader reads from the API server. It is asked only about an object that the cache cannot show.
	APIReader client.Reader
	Events    events.EventRecorder
	Metrics   *metrics.Recorder
	Clock     clock.PassiveClock
	Defaults  api.Defaults
	// Elected is closed once this process is the active one.
	Elected <-chan struct{}
}

// ServiceDirectorReconciler reconciles source Services.
type ServiceDirectorReconciler struct {
	Config
	selectors     *informers.Selectors
	ledger        *ledger
	members       *members
	arrivals      *arrivals
	announcements *announcements
	staleRetries  workqueue.TypedRateLimiter[types.NamespacedName]
}

// New returns a reconciler.
func New(config Config) *ServiceDirectorReconciler {
	return &ServiceDirectorReconciler{
		Config:        config,
		selectors:     informers.NewSelectors(),
		ledger:        newLedger(config.Clock),
		members:       newMembers(),
		arrivals:      newArrivals(config.Clock, config.Elected),
		announcements: newAnnouncements(config.Events),
		staleRetries: workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](
			firstStaleRetry, lastStaleRetry),
	}
}

// Reconcile implements reconcile.Reconciler.
func (r *ServiceDirectorReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	key := request.NamespacedName
	arrived := r.arrivals.take(key)
	result, err := r.reconcile(ctx, key, arrived)
	switch {
	case err == nil:
		r.staleRetries.Forget(key)
		return result, nil
	case isStale(err):
		if !errors.Is(err, errUnseen) {
			r.Metrics.Conflict()
		}
		r.arrivals.putBack(key, arrived)
		log.FromContext(ctx).V(1).Info("the cache was behind, looking again", "cause", err.Error())
		return reconcile.Result{RequeueAfter: r.staleRetries.When(key)}, nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return reconcile.Result{}, nil
	default:
		r.arrivals.putBack(key, arrived)
		return reconcile.Result{}, err
	}
}

func (r *ServiceDirectorReconciler) reconcile(ctx context.Context, key types.NamespacedName, arrived time.Time) (reconcile.Result, error) {
	source, err := r.source(ctx, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if source == nil { // Kubernetes collects what it owned
		r.forget(key)
		return reconcile.Result{}, nil
	}

	settings, problems := api.ParseSettings(source.Name, source.Annotations, r.Defaults)
	made, err := r.made(ctx, source, settings.LeaderServiceName)
	if err != nil {
		return reconcile.Result{}, err
	}
	if !wanted(settings.OptIn, made) {
		err := r.release(ctx, source, settings, made, problems)
		if err != nil {
			r.announcements.rejected(source, err)
		}
		return reconcile.Result{}, err
	}

	o, err := r.gather(ctx, source, settings, made)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := newPlan(r.Clock.Now(), arrived, o, problems)
	if err := r.confirm(ctx, p); err != nil {
		r.announcements.rejected(source, err)
		return reconcile.Result{}, err
	}
	if err := r.apply(ctx, p); err != nil {
		var taken *takenError
		if !errors.As(err, &taken) {
			r.failed(p)
			r.announcements.rejected(source, err)
			return reconcile.Result{}, err
		}
		p.refuse(taken.problem())
	}
	r.report(ctx, p)
	return p.result(r.ledger.unseen(key)), nil
}

// wanted tells whether the Service is to be routed. Where it does not say so clearly, what there is goes on.
func wanted(optIn api.OptIn, made madeObjects) bool {
	return optIn == api.OptedIn || optIn == api.OptInUnclear && len(made.services)+len(made.slices) > 0
}

// release removes what was made for a Service that does not want it (any more). A Service that never wanted anything
// costs nothing here.
func (r *ServiceDirectorReconciler) release(ctx context.Context, source *corev1.Service, settings api.Settings,
	made madeObjects, problems []api.Problem) error {
	if err := r.deleteAll(ctx, source, made, func(client.Object) bool { return true }); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(source)
	for _, service := range made.services {
		if service.DeletionTimestamp == nil {
			r.announcements.released(source, service)
			log.FromContext(ctx).Info("removed the leader Service", "leaderService", service.Name, "reason", "not opted in")
		}
	}
	r.ledger.forget(key)
	r.members.forget(key)
	if settings.OptIn == api.OptInUnclear {
		r.Metrics.Observe(key, metrics.Status{State: metrics.Unclear, Problems: reasons(problems)})
		r.announcements.problems(source, problems)
		return nil
	}
	r.Metrics.Forget(key)
	r.announcements.forget(key)
	return nil
}

func (r *ServiceDirectorReconciler) forget(key types.NamespacedName) {
	r.ledger.forget(key)
	r.members.forget(key)
	r.Metrics.Forget(key)
	r.announcements.forget(key)
	r.staleRetries.Forget(key)
}

// apply brings the API server in line with the plan.
//
// If the leader Service is there, the slices come first: they move traffic, everything else only tells of it. When they
// had to be written because of a pod, the rest waits for a pass of its own, which gives way to the failovers of other
// Services; that pass is not brought about by a pod, and so is the last. If the leader Service is not there, it must come
// first, because slices under a name that somebody else may take would route that Service's traffic.
func (r *ServiceDirectorReconciler) apply(ctx context.Context, p *plan) error {
	if p.refused() {
		return r.suspend(ctx, p)
	}
	if _, err := r.ensureSlices(ctx, p, p.oldSlices); err != nil {
		return err
	}
	switch {
	case p.currentService == nil:
		if err := r.ensureLeaderService(ctx, p); err != nil {
			return err
		}
		if _, err := r.ensureSlices(ctx, p, p.desiredSlices); err != nil {
			return err
		}
	default:
		wrote, err := r.ensureSlices(ctx, p, p.desiredSlices)
		partly := isTaken(err) && p.routes()
		switch {
		case err != nil && !partly:
			return err
		case wrote && !p.arrived.IsZero():
			p.unfinished = true
			return err
		}
		if failed := r.ensureLeaderService(ctx, p); failed != nil {
			return failed
		}
		if partly { // what was there before may be all that routes the family whose slice is taken
			return err
		}
	}
	return r.removeSuperseded(ctx, p)
}

// isStale tells whether a write was refused because it was based on an old state.
func isStale(err error) bool {
	return apierrors.IsConflict(err) || errors.Is(err, errStale)
}

// errStale marks a write that could not be made because the object is not what the cache says.
var errStale = errors.New("the cache is behind")

// errUnseen marks a look that ended before anything was written.
var errUnseen = fmt.Errorf("%w: not seen yet", errStale)

// observed is what the cache holds about one source Service.
type observed struct {
	source   *corev1.Service
	settings api.Settings
	made     madeObjects
	// named is the Service that has the leader Service's name, ours or not; nil if the name is free.
	named      *corev1.Service
	pods       []*corev1.Pod
	leadership routing.Leadership
	// incumbent is the pod that leads, whether the source selects it or not; nil if there is none in the cache.
	incumbent *corev1.Pod
}

// madeObjects are the objects that zen-lead made for one source Service, under whatever name.
type madeObjects struct {
	services []*corev1.Service
	slices   []*discoveryv1.EndpointSlice
}
