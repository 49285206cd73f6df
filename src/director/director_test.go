package director

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/metrics"
	"github.com/kube-zen/zen-lead/src/routing"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	web  = types.NamespacedName{Namespace: "ns", Name: "web"}
)

// world is a reconciler on a fake API server. What the fake accepts proves nothing about a real one (test/integration
// does); here it fails on request.
type world struct {
	*ServiceDirectorReconciler
	client client.WithWatch
	events chan string
	mu     sync.Mutex
	writes []string
	fail   func(verb string, object client.Object) error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{fail: func(string, client.Object) error { return nil }}
	builder := fake.NewClientBuilder().WithObjects(objects...)
	require.NoError(t, informers.AddIndexes(t.Context(), indexers{builder}, informers.NewSelectors()))
	w.client = interceptor.NewClient(builder.Build(), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return w.write("create", o, func() error { o.SetUID(types.UID("uid-" + o.GetName())); return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return w.write("update", o, func() error { return c.Update(ctx, o, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			return w.write("patch", o, func() error { return c.Patch(ctx, o, p, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return w.write("delete", o, func() error { return c.Delete(ctx, o, opts...) })
		},
	})
	clock := clocktesting.NewFakePassiveClock(noon)
	recorder := events.NewFakeRecorder(100)
	w.events = recorder.Events
	elected := make(chan struct{})
	close(elected)
	w.ServiceDirectorReconciler = New(Config{
		Client: w.client, APIReader: w.client, Events: recorder, Metrics: metrics.NewRecorder(clock, "test"), Clock: clock, Elected: elected,
	})
	return w
}

func (w *world) write(verb string, object client.Object, do func() error) error {
	w.mu.Lock() // two families are written at the same time
	w.writes = append(w.writes, verb+" "+object.GetName())
	w.mu.Unlock()
	if err := w.fail(verb, object); err != nil {
		return err
	}
	return do()
}

func (w *world) reconcile(t *testing.T) (reconcile.Result, error) {
	t.Helper()
	w.writes = nil
	w.members.forget(web) // no handler tells it of the pods that a test makes
	return w.Reconcile(t.Context(), reconcile.Request{NamespacedName: web})
}

func (w *world) mustReconcile(t *testing.T) reconcile.Result {
	t.Helper()
	result, err := w.reconcile(t)
	require.NoError(t, err)
	return result
}

func (w *world) said() []string {
	var said []string
	for len(w.events) > 0 {
		said = append(said, <-w.events)
	}
	return said
}

func (w *world) slice(t *testing.T) *discoveryv1.EndpointSlice {
	t.Helper()
	var slice discoveryv1.EndpointSlice
	require.NoError(t, w.client.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "web-leader-ipv4"}, &slice))
	return &slice
}

// indexers adds indexes to a fake client as AddIndexes adds them to a cache.
type indexers struct{ builder *fake.ClientBuilder }

func (i indexers) IndexField(_ context.Context, object client.Object, field string, extract client.IndexerFunc) error {
	i.builder.WithIndex(object, field, extract)
	return nil
}

func makeSource() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "source", Annotations: map[string]string{api.AnnotationEnabled: "true"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "web"},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicySingleStack),
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

func makePod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID("uid-" + name), Labels: map[string]string{"app": "web"}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Minute))}},
		},
	}
}

func TestFailoverWritesTheSliceFirst(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
	w.mustReconcile(t)
	assert.Equal(t, []string{"create web-leader", "create web-leader-ipv4"}, w.writes)
	assert.Equal(t, []string{"Normal LeaderElected pod a leads: Service web-leader routes to it alone"}, w.said())

	require.NoError(t, w.client.Delete(t.Context(), makePod("a")))
	w.arrivals.note(web)
	result := w.mustReconcile(t)
	assert.Equal(t, []string{"update web-leader-ipv4"}, w.writes)
	assert.Equal(t, reconcile.Result{RequeueAfter: restDelay, Priority: ptr.To(restPriority)}, result, "the rest gives way to other failovers")
	assert.Equal(t, []string{"Normal LeaderChanged leader moved from pod a to pod b, because the former was deleted"}, w.said())

	w.mustReconcile(t)
	assert.Equal(t, []string{"patch web-leader"}, w.writes)
	assert.Empty(t, w.said())

	assert.Zero(t, w.mustReconcile(t))
	assert.Empty(t, w.writes, "another look writes nothing")
}

// Something between us and etcd that changes every slice must not make us write in a loop: only now and then.
func TestSlicesThatAreChangedOnTheWayInDoNotMakeALoop(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
	w.mustReconcile(t)
	w.fail = func(verb string, object client.Object) error {
		if slice, ok := object.(*discoveryv1.EndpointSlice); ok && verb == "update" {
			slice.Endpoints = nil
		}
		return nil
	}
	require.NoError(t, w.client.Delete(t.Context(), makePod("a")))
	w.arrivals.note(web)
	assert.NotZero(t, w.mustReconcile(t))
	assert.Equal(t, reconcile.Result{RequeueAfter: trustUnseen}, w.mustReconcile(t), "the rest of the pass is the last, but for a look at what became of it")
}

func (w *world) annotate(t *testing.T, key, value string) {
	t.Helper()
	var s corev1.Service
	require.NoError(t, w.client.Get(t.Context(), web, &s))
	s.Annotations[key] = value
	require.NoError(t, w.client.Update(t.Context(), &s))
}

func TestASliceThatIsTakenDoesNotHideAFailure(t *testing.T) {
	down := apierrors.NewServiceUnavailable("down")
	taken := &takenError{name: "x"}
	assert.ErrorIs(t, worst([]error{taken, down}), down)
	var got *takenError
	assert.False(t, errors.As(worst([]error{taken, down}), &got))
	assert.ErrorAs(t, worst([]error{nil, taken}), &got)
	assert.NoError(t, worst([]error{nil, nil}))
}

func TestASliceOfTheFormerSourceIsNoConflict(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"))
	w.mustReconcile(t)
	w.said()
	var s corev1.Service
	require.NoError(t, w.client.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "web-leader"}, &s))
	require.NoError(t, w.client.Delete(t.Context(), &s)) // collected already
	require.NoError(t, w.client.Delete(t.Context(), makeSource()))
	reborn := makeSource()
	reborn.UID = "reborn"
	require.NoError(t, w.client.Create(t.Context(), reborn))
	reborn.UID = "reborn" // the test's create gives a UID of its own
	require.NoError(t, w.client.Update(t.Context(), reborn))

	result := w.mustReconcile(t)
	assert.NotZero(t, result.RequeueAfter)
	assert.NotContains(t, w.writes, "update web-leader-ipv4", "never adopted")
	assert.Empty(t, w.said(), "nothing that a user should do")
	require.NoError(t, w.client.Delete(t.Context(), w.slice(t)))
	w.mustReconcile(t)
	assert.Len(t, w.slice(t).Endpoints, 1)
}

func TestDemotionIsUrgentAndPromotionIsNot(t *testing.T) {
	ready, notReady := makePod("a"), makePod("a")
	notReady.Status.Conditions[0].Status = corev1.ConditionFalse
	deleted := makePod("a")
	deleted.DeletionTimestamp = ptr.To(metav1.Now())
	relabelled := makePod("a")
	relabelled.Labels = nil
	assert.True(t, demoted(informers.NewPod(ready), informers.NewPod(notReady)))
	assert.True(t, demoted(informers.NewPod(ready), informers.NewPod(deleted)))
	assert.True(t, demoted(informers.NewPod(ready), informers.NewPod(relabelled)))
	assert.False(t, demoted(informers.NewPod(notReady), informers.NewPod(ready)))
	assert.False(t, demoted(informers.NewPod(ready), informers.NewPod(makePod("a"))))
}

func TestWhileANewNameIsRefusedTheOldOneFollowsTheLeader(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
	w.mustReconcile(t)
	w.annotate(t, api.AnnotationLeaderServiceName, "other")
	w.fail = func(verb string, object client.Object) error {
		if verb == "create" && object.GetName() == "other" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "other", fmt.Errorf("exceeded quota"))
		}
		return nil
	}
	_, err := w.reconcile(t)
	require.Error(t, err)
	require.NoError(t, w.client.Delete(t.Context(), makePod("a")))
	_, err = w.reconcile(t)
	require.Error(t, err)
	assert.Equal(t, "b", w.slice(t).Endpoints[0].TargetRef.Name)

	w.fail = func(string, client.Object) error { return nil }
	w.mustReconcile(t)
	assert.Equal(t, []string{"create other", "create other-ipv4", "delete web-leader-ipv4", "delete web-leader"}, w.writes)
	assert.Contains(t, strings.Join(w.said(), "\n"), "LeaderChanged leader moved from pod a to pod b")
}

func TestAChangeIsToldAlsoIfALaterWriteFails(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
	w.fail = func(verb string, object client.Object) error {
		if _, ok := object.(*discoveryv1.EndpointSlice); ok {
			return apierrors.NewServiceUnavailable("down")
		}
		return nil
	}
	_, err := w.reconcile(t)
	require.Error(t, err)
	assert.Empty(t, w.said())
	w.fail = func(string, client.Object) error { return nil }
	w.mustReconcile(t)
	assert.Contains(t, strings.Join(w.said(), "\n"), "LeaderElected pod a leads")

	require.NoError(t, w.client.Delete(t.Context(), makePod("a")))
	w.fail = func(verb string, _ client.Object) error {
		if verb == "patch" {
			return apierrors.NewServiceUnavailable("down")
		}
		return nil
	}
	_, err = w.reconcile(t)
	require.Error(t, err)
	w.fail = func(string, client.Object) error { return nil }
	w.mustReconcile(t)
	assert.Contains(t, strings.Join(w.said(), "\n"), "LeaderChanged leader moved from pod a to pod b, because the former was deleted")
	w.mustReconcile(t)
	assert.Empty(t, w.said(), "once")
}

func TestOtherServicesThatTheSourceOwnsAreNotOurs(t *testing.T) {
	sibling := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web-metrics", Namespace: "ns", UID: "sibling",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "web", UID: "source", Controller: ptr.To(true)}}}}
	w := newWorld(t, makeSource(), makePod("a"), sibling)
	w.mustReconcile(t)
	w.annotate(t, api.AnnotationEnabled, "false")
	w.mustReconcile(t)
	assert.Equal(t, []string{"delete web-leader-ipv4", "delete web-leader"}, w.writes)
}

func TestDeselectedLeaderIsNamedAsSuch(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
	w.mustReconcile(t)
	relabelled := makePod("a")
	relabelled.Labels = map[string]string{"app": "quarantine"}
	require.NoError(t, w.client.Update(t.Context(), relabelled))
	w.said()
	w.mustReconcile(t)
	assert.Contains(t, strings.Join(w.said(), "\n"), "because the Service's selector does not match the former any more")
}

// A refused write must leave everything for the next try: nothing is announced, no term is counted.
func TestRefusedWrites(t *testing.T) {
	services := schema.GroupResource{Resource: "services"}
	slices := schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	terminating := apierrors.NewForbidden(services, "web-leader", fmt.Errorf("namespace is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	tests := map[string]struct {
		err   error
		stale bool
		fails bool
		says  string
	}{
		"conflict":              {err: apierrors.NewConflict(slices, "x", nil), stale: true},
		"gone":                  {err: apierrors.NewNotFound(slices, "x"), stale: true},
		"namespace terminating": {err: terminating},
		"forbidden":             {err: apierrors.NewForbidden(slices, "x", fmt.Errorf("exceeded quota")), fails: true, says: "exceeded quota"},
		"unavailable":           {err: apierrors.NewServiceUnavailable("down"), fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
			w.mustReconcile(t)
			w.said()
			require.NoError(t, w.client.Delete(t.Context(), makePod("a")))
			w.fail = func(verb string, _ client.Object) error {
				if verb == "update" {
					return test.err
				}
				return nil
			}
			for range 3 {
				result, err := w.reconcile(t)
				assert.Equal(t, test.fails, err != nil)
				assert.Equal(t, test.stale, result.RequeueAfter > 0)
				assert.LessOrEqual(t, result.RequeueAfter, lastStaleRetry)
				assert.NotContains(t, w.writes, "patch web-leader", "the copy must not run ahead of the slice")
			}
			said := strings.Join(w.said(), "\n")
			assert.NotContains(t, said, "LeaderChanged")
			if test.says == "" {
				assert.Empty(t, said)
			} else {
				assert.Equal(t, 1, strings.Count(said, test.says), "said once: %s", said)
			}

			w.fail = func(string, client.Object) error { return nil }
			w.mustReconcile(t)
			assert.Equal(t, "b", w.slice(t).Endpoints[0].TargetRef.Name)
			assert.Equal(t, "2", w.slice(t).Annotations[api.AnnotationEpoch])
			assert.Contains(t, strings.Join(w.said(), "\n"), "LeaderChanged")
		})
	}
}

func TestForeignSliceOfOurNameIsLeftAlone(t *testing.T) {
	foreign := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "web-leader-ipv4", Namespace: "ns"}, AddressType: discoveryv1.AddressTypeIPv4}
	w := newWorld(t, makeSource(), makePod("a"), foreign)
	w.mustReconcile(t)
	assert.Contains(t, strings.Join(w.said(), "\n"), "LeaderSliceConflict")
	assert.Empty(t, w.slice(t).Endpoints)
	assert.Equal(t, takenRetry, w.mustReconcile(t).RequeueAfter)
	assert.Empty(t, w.said(), "said once")

	require.NoError(t, w.client.Delete(t.Context(), foreign))
	w.mustReconcile(t)
	assert.Len(t, w.slice(t).Endpoints, 1)
}

// The slice of one family is somebody else's: the other family is routed, and told of, as ever.
func TestForeignSliceOfOneFamilyLeavesTheOtherAsItWas(t *testing.T) {
	source := makeSource()
	source.Annotations[api.AnnotationMinReadyDuration] = "65s"
	source.Spec.IPFamilies, source.Spec.IPFamilyPolicy = append(source.Spec.IPFamilies, corev1.IPv6Protocol), ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	both := func(name string) *corev1.Pod {
		pod := makePod(name)
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: "fd00::1"})
		return pod
	}
	leader := both("a")
	leader.Status.Conditions[0].LastTransitionTime = metav1.NewTime(noon.Add(-time.Hour))
	foreign := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "web-leader-ipv6", Namespace: "ns"}, AddressType: discoveryv1.AddressTypeIPv6}
	w := newWorld(t, source, leader, both("b"), foreign)
	w.mustReconcile(t)
	w.mustReconcile(t)
	assert.Contains(t, strings.Join(w.said(), "\n"), "LeaderSliceConflict")

	var changed corev1.Service
	require.NoError(t, w.client.Get(t.Context(), web, &changed))
	changed.Spec.Ports[0].Port = 81
	require.NoError(t, w.client.Update(t.Context(), &changed))
	w.mustReconcile(t)
	var made corev1.Service
	require.NoError(t, w.client.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "web-leader"}, &made))
	assert.EqualValues(t, 81, made.Spec.Ports[0].Port, "slices and Service agree about ports")

	require.NoError(t, w.client.Delete(t.Context(), leader))
	w.arrivals.note(web)
	assert.Equal(t, restDelay, w.mustReconcile(t).RequeueAfter)
	assert.Empty(t, w.slice(t).Endpoints)
	said := strings.Join(w.said(), "\n")
	assert.Contains(t, said, "NoLeader")
	assert.NotContains(t, said, "LeaderSliceConflict", "said once")
	w.mustReconcile(t)
	assert.Equal(t, 5*time.Second, w.mustReconcile(t).RequeueAfter, "min-ready-duration ends before the next try for the name")
}

func TestRefusedWritesAreNotInDoubt(t *testing.T) {
	resource := schema.GroupResource{Resource: "endpointslices"}
	for _, err := range []error{apierrors.NewForbidden(resource, "s", nil), apierrors.NewTooManyRequests("later", 1), fmt.Errorf("wrapped: %w", apierrors.NewBadRequest("no"))} {
		assert.True(t, refused(err), "%v", err)
	}
	for _, err := range []error{errors.New("connection reset"), apierrors.NewInternalError(errors.New("etcd")), apierrors.NewTimeoutError("slow", 1), context.DeadlineExceeded} {
		assert.False(t, refused(err), "%v", err)
	}
}

// What was written and then no longer believed is news when the cache shows it: a look without it may have found
// nothing to do.
func TestLedgerAWriteThatWasGivenUpIsNewsWhenItComes(t *testing.T) {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s", ResourceVersion: "10"}}
	clock := clocktesting.NewFakePassiveClock(noon)
	l := newLedger(clock)
	l.wrote(web, slice)
	l.vanished(web, slice)
	assert.False(t, l.echo(web, slice), "a later write failed")
	assert.True(t, l.echo(web, slice), "it has been seen")

	l.wrote(web, slice)
	clock.SetTime(noon.Add(trustUnseen))
	assert.False(t, l.echo(web, slice), "it came too late")
}

// The echo of an earlier write says nothing about a later one.
func TestLedgerKeepsDoubtsUntilTheyAreLookedUp(t *testing.T) {
	l := newLedger(clocktesting.NewFakePassiveClock(noon))
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s", ResourceVersion: "10"}}
	l.right(web, slice)
	l.doubt(web, slice)
	assert.Equal(t, []string{"s"}, l.doubts(web))
	assert.True(t, l.echo(web, slice))
	l.vanished(web, slice)
	assert.Equal(t, []string{"s"}, l.doubts(web))

	later := slice.DeepCopy()
	later.ResourceVersion = "12"
	l.lookedUp(web, later, true)
	assert.Empty(t, l.doubts(web))
	assert.Len(t, l.ahead(web, ""), 0, "nobody owns it")
	assert.False(t, l.agreed(web, later), "that it is there does not make it right")
	l.lookedUp(web, later, false)
	assert.True(t, l.changedByOthers(web, later))
}

func TestSliceWhoseLabelsWereRemovedIsTakenBack(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"))
	w.mustReconcile(t)
	slice := w.slice(t)
	// The cache finds slices by this label, and the fake does not: taking the owner index away comes to the same.
	stripped := slice.DeepCopy()
	delete(stripped.Labels, discoveryv1.LabelManagedBy)
	require.NoError(t, w.client.Update(t.Context(), stripped))
	p := &plan{observed: &observed{source: makeSource()}, now: noon}
	desired := slice.DeepCopy()
	desired.ResourceVersion, desired.UID = "", ""
	desired.Annotations[api.AnnotationEpoch] = "7"
	require.ErrorIs(t, w.createSlice(t.Context(), p, desired), errStale, "nothing was decided on what the slice says")
	assert.Equal(t, slice.Labels, w.slice(t).Labels)
	assert.Equal(t, slice.Annotations, w.slice(t).Annotations, "who leads stands in the slice, not in what was to be made anew")
}

func TestTrap12WaitingAsksToBeWoken(t *testing.T) {
	source := makeSource()
	source.Annotations[api.AnnotationMinReadyDuration] = "90s"
	w := newWorld(t, source, makePod("a"))
	w.mustReconcile(t) // creates the slice
	assert.Equal(t, 30*time.Second, w.mustReconcile(t).RequeueAfter)
	assert.Equal(t, 30*time.Second, w.mustReconcile(t).RequeueAfter, "each time")
}

func TestProblemsAreAnnouncedOnceAndAgainWhenTheyChange(t *testing.T) {
	source := makeSource()
	source.Annotations[api.AnnotationSticky] = "maybe"
	w := newWorld(t, source, makePod("a"))
	count := func() int { return strings.Count(strings.Join(w.said(), "\n"), "InvalidAnnotation") }
	set := func(value string) {
		var s corev1.Service
		require.NoError(t, w.client.Get(t.Context(), web, &s))
		s.Annotations[api.AnnotationSticky] = value
		require.NoError(t, w.client.Update(t.Context(), &s))
		w.mustReconcile(t)
	}
	w.mustReconcile(t)
	assert.Equal(t, 1, count())
	w.mustReconcile(t)
	assert.Equal(t, 0, count())
	set("perhaps")
	assert.Equal(t, 1, count())
	set("true")
	assert.Equal(t, 0, count())
	set("maybe")
	assert.Equal(t, 1, count())
}

func TestNotesFitIntoAnEvent(t *testing.T) {
	w := newWorld(t)
	w.announcements.warn(makeSource(), api.Problem{Reason: "x", Message: strings.Repeat("ü", 2000)})
	note := w.said()[0]
	assert.LessOrEqual(t, len(note), maxNote+len("Warning InvalidAnnotation "))
	assert.True(t, strings.HasSuffix(note, "ü…"))
}

// What the pod filter lets pass must be all that the decision reads: every field that the slim pod keeps.
func TestTrap14PodFilterSeesEveryInput(t *testing.T) {
	base := func() *corev1.Pod {
		p := makePod("a")
		p.Annotations = map[string]string{corev1.PodDeletionCost: "1"}
		p.ResourceVersion = "1"
		return p
	}
	same := base()
	same.ResourceVersion = "2"
	assert.True(t, informers.NewPod(base()).Same(informers.NewPod(same)))
	for name, mutate := range map[string]func(*corev1.Pod){
		"labels":        func(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} },
		"deletion":      func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) },
		"phase":         func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"readiness":     func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse },
		"ready since":   func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.Now() },
		"addresses":     func(p *corev1.Pod) { p.Status.PodIPs = nil },
		"node":          func(p *corev1.Pod) { p.Spec.NodeName = "n2" },
		"deletion cost": func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "2"} },
		"UID":           func(p *corev1.Pod) { p.UID = "reborn" },
		"created":       func(p *corev1.Pod) { p.CreationTimestamp = metav1.Now() },
		"grace":         func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = ptr.To(int64(1)) },
		"ports": func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "x", ContainerPort: 1}}}}
		},
		"sidecar ports": func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "x", ContainerPort: 1}}}}
		},
		"owner": func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Name: "rs", Controller: ptr.To(true)}}
		},
	} {
		changed := base()
		mutate(changed)
		assert.False(t, informers.NewPod(base()).Same(informers.NewPod(changed)), name)
	}
}

func TestLedgerTellsTheObjectsOfASourceApart(t *testing.T) {
	l := newLedger(clocktesting.NewFakePassiveClock(noon))
	meta := func(name, version string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "ns", ResourceVersion: version,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", UID: "source", Controller: ptr.To(true)}}}
	}
	four, six := &discoveryv1.EndpointSlice{ObjectMeta: meta("a", "1")}, &discoveryv1.EndpointSlice{ObjectMeta: meta("b", "2")}
	service := &corev1.Service{ObjectMeta: meta("a", "3")}
	objects := []client.Object{four, six, service}
	for _, object := range objects {
		l.wrote(web, object)
	}
	other := types.NamespacedName{Namespace: "ns", Name: "other"}
	l.wrote(other, four)
	l.doubt(web, six)
	assert.Equal(t, []string{"b"}, l.doubts(web))
	assert.Empty(t, l.doubts(other))

	l.deleted(web, six)
	l.deleted(web, six)
	assert.Empty(t, l.doubts(web))
	for _, object := range objects {
		assert.Equal(t, object != six, l.known(web, object))
		assert.Equal(t, object != six, l.agreed(web, object))
	}
	assert.ElementsMatch(t, []client.Object{four, service}, l.ahead(web, "source"))

	l.wrote(web, six)
	l.deleted(web, four)
	assert.ElementsMatch(t, []client.Object{six, service}, l.ahead(web, "source"))
	l.forget(web)
	assert.False(t, l.known(web, service))
	assert.True(t, l.known(other, four))
}

func TestLedgerBridgesTheGapToTheCache(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(noon)
	l := newLedger(clock)
	at := func(name, version string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "u", ResourceVersion: version,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", UID: "source", Controller: ptr.To(true)}}}}
	}
	versions := func(cached ...*discoveryv1.EndpointSlice) []string {
		var list []string
		written := l.ahead(web, "source")
		for _, s := range merge(l, web, cached, written) {
			list = append(list, s.Name+"@"+s.ResourceVersion)
		}
		return list
	}
	assert.Equal(t, []string{"a@9"}, versions(at("a", "9")))

	l.wrote(web, at("a", "10"))
	assert.Equal(t, []string{"a@10"}, versions(at("a", "9")), "the cache is behind")
	assert.Equal(t, []string{"a@10"}, versions(), "the cache has nothing yet")
	written := l.ahead(web, "source")
	assert.Equal(t, trustUnseen, l.unseen(web))
	assert.Empty(t, merge[*corev1.Service](l, web, nil, written), "another kind")
	assert.Empty(t, l.ahead(web, "reborn"), "made for a source of the same name that is gone")
	assert.Equal(t, []string{"a@11"}, versions(at("a", "11")), "somebody else wrote later")
	assert.Empty(t, versions(), "what the cache has shown once is not kept")
	assert.Zero(t, l.unseen(web))
	l.wrote(web, at("a", "10"))

	assert.False(t, l.echo(web, at("a", "11")))
	assert.True(t, l.echo(web, at("a", "10")))
	assert.Empty(t, versions(), "once the cache has had it, the cache decides")
	assert.True(t, l.changedByOthers(web, at("a", "11")))
	assert.False(t, l.changedByOthers(web, at("a", "10")))

	l.wrote(web, at("a", "12"))
	clock.SetTime(noon.Add(trustUnseen + time.Second))
	assert.Empty(t, versions(), "what the cache has not shown for so long is not believed")

	l.wrote(web, at("a", "13"))
	l.vanished(web, at("a", "13"))
	assert.Empty(t, versions())
	assert.True(t, l.known(web, at("a", "13")))
	l.deleted(web, at("a", "13"))
	assert.False(t, l.known(web, at("a", "13")))

	reborn := at("a", "14")
	l.wrote(web, reborn)
	other := at("a", "3")
	other.UID = "other"
	assert.Equal(t, []string{"a@3"}, versions(other), "not the same object")
	l.forget(web)
	assert.Empty(t, versions())
}

func TestArrivals(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(noon)
	elected := make(chan struct{})
	a := newArrivals(clock, elected)
	a.note(web)
	assert.True(t, a.take(web).IsZero(), "a standby answers no event")
	close(elected)
	a.note(web)
	clock.SetTime(noon.Add(time.Second))
	a.note(web)
	arrived := a.take(web)
	assert.Equal(t, noon, arrived, "the first event counts")
	a.note(web)
	a.putBack(web, arrived)
	assert.Equal(t, noon, a.take(web), "a failed look has answered nothing")
}

func TestFailoverDurationIsObservedAfterTheWrite(t *testing.T) {
	w := newWorld(t, makeSource(), makePod("a"), makePod("b"))
	registry := prometheus.NewPedanticRegistry()
	_, err := w.Metrics.Register(registry)
	require.NoError(t, err)
	count := func() uint64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "zen_lead_failover_duration_seconds" {
				return f.GetMetric()[0].GetHistogram().GetSampleCount()
			}
		}
		return 0
	}
	w.mustReconcile(t)
	assert.Zero(t, count(), "a first election is no failover")
	require.NoError(t, w.client.Delete(t.Context(), makePod("a")))
	w.arrivals.note(web)
	w.fail = func(verb string, _ client.Object) error {
		if verb == "update" {
			return apierrors.NewServiceUnavailable("down")
		}
		return nil
	}
	_, err = w.reconcile(t)
	require.Error(t, err)
	assert.Zero(t, count(), "trap 21: not before the write is acknowledged")
	w.fail = func(string, client.Object) error { return nil }
	w.mustReconcile(t)
	assert.EqualValues(t, 1, count())
}

// The first cause is told at once, another only once it has lasted: after a scaling to zero, that no pod is left.
func TestLeaderlessIsToldAgainWhenTheCauseChanges(t *testing.T) {
	w := newWorld(t)
	plan := func(after time.Duration, leader types.UID, counts map[string]int) *plan {
		return &plan{name: "web-leader", now: noon.Add(after), observed: &observed{source: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}},
			before: routing.Leadership{Epoch: 1}, after: routing.Leadership{Epoch: 1, UID: leader}, decision: election.Decision{Counts: counts}}
	}
	led, none := change{before: routing.Leadership{UID: "a", Epoch: 1}}, change{before: routing.Leadership{Epoch: 1}}
	terminating := map[string]int{string(election.Terminating): 3}

	assert.Zero(t, w.announcements.leaderless(plan(0, "", terminating), led))
	assert.Equal(t, []string{"Warning NoLeader Service web-leader has no endpoint: none of 3 pods can lead: 3 terminating"}, w.said())
	assert.Zero(t, w.announcements.leaderless(plan(time.Second, "", map[string]int{string(election.Terminating): 1}), none), "the same cause")
	assert.Equal(t, 5*time.Second, w.announcements.leaderless(plan(2*time.Second, "", nil), none))
	assert.Equal(t, time.Second, w.announcements.leaderless(plan(6*time.Second, "", nil), none))
	assert.Empty(t, w.said(), "it may pass")
	assert.Zero(t, w.announcements.leaderless(plan(7*time.Second, "", nil), none))
	assert.Equal(t, []string{"Warning NoLeader Service web-leader has no endpoint: its selector matches no pod"}, w.said())
	assert.Zero(t, w.announcements.leaderless(plan(time.Hour, "", nil), none))
	assert.Empty(t, w.said(), "once")

	assert.Equal(t, 5*time.Second, w.announcements.leaderless(plan(time.Hour, "", terminating), none))
	assert.Zero(t, w.announcements.leaderless(plan(time.Hour+time.Second, "", nil), none), "it was so for a moment")
	assert.Zero(t, w.announcements.leaderless(plan(2*time.Hour, "b", nil), none), "somebody leads")
	assert.Zero(t, w.announcements.leaderless(plan(3*time.Hour, "", terminating), none), "a process that has just begun tells nothing anew")
	assert.Empty(t, w.said())

	w.announcements.leaderlessUntold(types.NamespacedName{Namespace: "ns", Name: "web"})
	assert.Equal(t, 5*time.Second, w.announcements.leaderless(plan(4*time.Hour, "", terminating), none), "after a refusal, the cause is news")
	assert.Zero(t, w.announcements.leaderless(plan(4*time.Hour+5*time.Second, "", terminating), none))
	assert.Len(t, w.said(), 1)
}
