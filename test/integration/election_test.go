package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/options"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

func TestSticky_ABetterCandidateChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("m"), pod("z"))
	mark := w.Requests.Mark()
	w.Pod(pod("a").Cost("1000").Ready(time.Now().Add(-24 * time.Hour)))
	w.Fence()
	assert.Empty(t, w.SinceFenced(mark))
	w.ExpectLeader("web-leader", "m")
}

func TestSticky_ALeaderThatCameBackDoesNotTakeOver(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.SetReady("a", false)
	w.ExpectLeader("web-leader", "b")
	w.SetReady("a", true)
	w.Fence()
	w.ExpectLeader("web-leader", "b")
}

// A node that dies takes its pods along one after the other, as Kubernetes marks them.
func TestNodeLoss_MovesTheLeaderOnce(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"), pod("z").Node("node-b").Ready(time.Now().Add(-time.Minute)))
	w.SetReady("a", false)
	state := w.ExpectLeader("web-leader", "z")
	w.SetReady("b", false)
	w.Fence()
	assert.Equal(t, state.Epoch, w.ExpectLeader("web-leader", "z").Epoch)
}

func TestSticky_False_TheBestCandidateTakesOver(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Annotate(api.AnnotationSticky, "false"), pod("m"), pod("z"))
	w.Pod(pod("a").Cost("1000"))
	w.ExpectLeader("web-leader", "a")
	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderChanged", "pod m", "pod a")

	// From true to false is a change that has an effect of its own.
	w.Annotate("web", api.AnnotationSticky, "true")
	w.Pod(pod("b").Cost("2000"))
	w.Fence()
	w.ExpectLeader("web-leader", "a")
	w.Annotate("web", api.AnnotationSticky, "false")
	w.ExpectLeader("web-leader", "b")
}

// TestOrder kills the leader and sees who is next, one rule of the order at a time.
func TestOrder(t *testing.T) {
	hour := func(n int) time.Time { return time.Now().Add(-time.Duration(n) * time.Hour) }
	dual := corev1.IPFamilyPolicyRequireDualStack
	for name, row := range map[string]struct {
		next, other *harness.PodBuilder
	}{
		"AnAddressInEveryFamilyBeforeCost": {pod("next"), pod("another").Cost("100").IP("10.244.250.1")},
		"HigherDeletionCostBeforeAge":      {pod("next").Cost("5").Ready(hour(1)), pod("another").Cost("-5").Ready(hour(9))},
		"CostThatIsNoNumberCountsAsZero":   {pod("next").Cost("1").Ready(hour(1)), pod("another").Ready(hour(9)).Cost("0")},
		"ReadyForLongest":                  {pod("next").Ready(hour(9)), pod("another").Ready(hour(1))},
		"ThenByName":                       {pod("n").Ready(hour(2).Truncate(time.Second)), pod("o").Ready(hour(2).Truncate(time.Second))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			w.Pod(row.other)
			next := w.Pod(row.next)
			w.Pod(pod("first").Cost("2147483647"))
			w.Fence()
			w.Service(web().Families(dual))
			w.ExpectLeader("web-leader", "first")
			w.KillPod("first")
			w.ExpectLeader("web-leader", next.Name)
		})
	}
}

// replicaSet makes the object alone: no controller acts on it, but the garbage collector wants pods' owners to exist.
func replicaSet(w *harness.World, name string) *appsv1.ReplicaSet {
	w.Helper()
	labels := map[string]string{"replicaset": name}
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
			},
		},
	}
	w.Create(set)
	return set
}

func ofReplicaSet(b *harness.PodBuilder, set *appsv1.ReplicaSet, hash string) *harness.PodBuilder {
	return b.OwnedBy(set, "ReplicaSet", appsv1.DefaultDeploymentUniqueLabelKey, hash)
}

// nextSecond returns once a pod that is created gets a later creation time: those count in whole seconds.
func nextSecond(w *harness.World) {
	w.Helper()
	now := time.Now().Unix()
	w.Eventually("the next second", func() error {
		if time.Now().Unix() == now {
			return fmt.Errorf("still %d", now)
		}
		return nil
	})
}

func TestTrap11_ARolloutOfFiveMovesTheLeaderOnce(t *testing.T) {
	for name, goes := range map[string][]int{"LeaderGoesFirst": {0, 1, 2, 3, 4}, "LeaderGoesInTheMiddle": {3, 4, 0, 2, 1}, "LeaderGoesLast": {4, 3, 2, 1, 0}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			blue, green := replicaSet(w, "web-6b7f"), replicaSet(w, "web-9c4d")
			var old []*harness.PodBuilder
			for i := range 5 {
				old = append(old, ofReplicaSet(pod(fmt.Sprintf("old-%d", i)), blue, "6b7f"))
			}
			routed(w, web(), old...)
			nextSecond(w)
			for i, out := range goes {
				created := fmt.Sprintf("new-%d", i)
				w.Pod(ofReplicaSet(pod(created).NotReady(), green, "9c4d"))
				w.SetReady(created, true)
				w.Barrier()
				w.TerminatePod(fmt.Sprintf("old-%d", out))
				w.Barrier()
				w.KillPod(fmt.Sprintf("old-%d", out))
			}
			w.Fence()
			moves := leaders(w, "web-leader-ipv4")
			require.Len(t, moves, 2, "one move, not %v", moves)
			assert.Equal(t, "old-0", moves[0])
			assert.Contains(t, moves[1], "new-")
			assert.Zero(t, gaps(w, "web-leader-ipv4"))
			state, err := w.State("web-leader")
			require.NoError(t, err)
			assert.EqualValues(t, 2, state.Epoch)
		})
	}
}

func TestTrap11_RevisionsOfStatefulSetsAreCompared(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	labels := map[string]string{"statefulset": "db"}
	stateful := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](0), ServiceName: "web", Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
			},
		},
	}
	w.Create(stateful)
	member := func(name, revision string) *harness.PodBuilder {
		return pod(name).OwnedBy(stateful, "StatefulSet", appsv1.ControllerRevisionHashLabelKey, revision)
	}
	routed(w, web(), member("db-0", "db-1111"), member("db-1", "db-1111"))
	nextSecond(w)
	w.Pod(member("db-2", "db-2222").Ready(time.Now()))
	w.Fence()
	w.TerminatePod("db-0")
	w.ExpectLeader("web-leader", "db-2")
}

func TestOrder_TwoWorkloadsBehindOneServiceAreNotCompared(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	one, two := replicaSet(w, "one-1111"), replicaSet(w, "two-2222")
	routed(w, web(), ofReplicaSet(pod("one-a"), one, "1111"), ofReplicaSet(pod("one-b"), one, "1111"))
	nextSecond(w)
	w.Pod(ofReplicaSet(pod("two-a"), two, "2222").Ready(time.Now()))
	w.Fence()
	w.KillPod("one-a")
	w.ExpectLeader("web-leader", "one-b")
}

func TestTrap12_MinReadyDurationWakesExactly(t *testing.T) {
	const minReady = 3 * time.Second
	for name, start := range map[string]struct {
		annotate func(*harness.ServiceBuilder) *harness.ServiceBuilder
		flags    func(*options.Options)
	}{
		"Annotation": {func(b *harness.ServiceBuilder) *harness.ServiceBuilder {
			return b.Annotate(api.AnnotationMinReadyDuration, "3s")
		}, func(*options.Options) {}},
		"FleetDefault": {func(b *harness.ServiceBuilder) *harness.ServiceBuilder { return b }, func(o *options.Options) { o.DefaultMinReadyDuration = minReady }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController(start.flags)
			since := time.Now()
			w.Pod(pod("a").Ready(since))
			w.Service(start.annotate(web()))
			w.ExpectNobody("web-leader")
			w.ExpectEvent("web", corev1.EventTypeWarning, "NoLeader", "not Ready for long enough")
			w.ExpectLeader("web-leader", "a")
			history := w.Invariants.History("web-leader-ipv4")
			woke := history[len(history)-1].Time
			due := since.Truncate(time.Second).Add(minReady) // conditions count in whole seconds
			assert.WithinRange(t, woke, due, due.Add(time.Second), "nothing but the clock could have woken the controller")
		})
	}
}

func TestTrap12_TheFirstToRipenLeads_AndTheIncumbentIsExempt(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	since := time.Now()
	// a is an hour old and so ripe; b has just become Ready.
	routed(w, web().Annotate(api.AnnotationMinReadyDuration, "2s"), pod("a"))
	w.Pods(pod("b").Ready(since.Add(time.Second)), pod("c").Ready(since))
	w.KillPod("a")
	w.ExpectLeader("web-leader", "c")
	due := since.Truncate(time.Second).Add(2 * time.Second)
	assert.False(t, time.Now().Before(due))

	// The annotation grows beyond the leader's age: it stays.
	mark := w.Requests.Mark()
	w.Annotate("web", api.AnnotationMinReadyDuration, "1h")
	w.Fence()
	assert.Empty(t, w.SinceFenced(mark).Where(func(r harness.Request) bool { return r.Name != "web" }))
	w.ExpectLeader("web-leader", "c")
	// Once it is gone nobody is ripe; what waits is not lost when the annotation goes away.
	w.KillPod("c")
	w.ExpectNobody("web-leader")
	w.Annotate("web", api.AnnotationMinReadyDuration, "")
	w.ExpectLeader("web-leader", "b")
}

func TestMinReadyDuration_ALeaderThatBlinksLosesItsExemption(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Annotate(api.AnnotationMinReadyDuration, "1h"), pod("a"), pod("b").Ready(time.Now().Add(-2*time.Hour)))
	w.SetReady("a", false)
	w.ExpectLeader("web-leader", "b")
	w.SetReady("a", true)
	w.Fence()
	w.KillPod("b")
	w.ExpectNobody("web-leader")
}

func TestTrap12_WaitingIsNoError(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	failed := metrics.Sum("controller_runtime_reconcile_errors_total", nil) // by earlier tests in this process
	w.Pod(pod("a").Ready(time.Now()))
	w.Service(web().Annotate(api.AnnotationMinReadyDuration, "1h"))
	w.ExpectNobody("web-leader")
	w.Quiet()
	before := reconciles(t, controller)
	w.QuietFor(time.Second)
	assert.InDelta(t, before, reconciles(t, controller), 1, "an hour is not waited for in small steps")
	assert.NoError(t, expectMetric(controller, "controller_runtime_reconcile_errors_total", nil, failed), "waiting is no error")
}

func TestReadiness_ClockOfTheKubeletAhead(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a").Ready(time.Now().Add(24 * time.Hour)))
	w.Service(web().Annotate(api.AnnotationMinReadyDuration, "1s"))
	w.ExpectLeader("web-leader", "a")
}

func TestPublishNotReadyAddresses_DoesNotMakeAPodEligible(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a").NotReady())
	w.Service(web().Spec(func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }))
	state := w.ExpectNobody("web-leader")
	assert.False(t, state.Service.Spec.PublishNotReadyAddresses)
	w.Pod(pod("b"))
	w.ExpectLeader("web-leader", "b")
}

func TestEligibility_PhaseAndAddress(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	for i, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
		w.Pod(pod(fmt.Sprintf("phase-%d", i)).Phase(phase))
	}
	w.Pod(pod("six-only").IP("fd00:10:244::ffff"))
	w.Service(web())
	w.Fence()
	w.ExpectNobody("web-leader")
	w.Pod(pod("ok"))
	w.ExpectLeader("web-leader", "ok")
}

func TestStatefulSetPodRebornUnderItsName(t *testing.T) {
	for _, offline := range []bool{false, true} {
		t.Run(when(offline)[1:], func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			routed(w, web(), pod("db-0").IP("10.244.240.1"))
			before := w.ExpectLeader("web-leader", "db-0")
			if offline {
				controller.Stop()
			}
			w.KillPod("db-0")
			if !offline {
				w.ExpectNobody("web-leader")
			}
			reborn := w.Pod(pod("db-0").IP("10.244.240.1"))
			if offline {
				w.StartController()
			}
			after := w.ExpectLeader("web-leader", "db-0")
			assert.Equal(t, reborn.UID, after.Primary.Endpoints[0].TargetRef.UID)
			assert.Equal(t, before.Epoch+1, after.Epoch, "another pod, another term, whatever its name and address")
		})
	}
}

func TestStatefulSetPodRebornUnderItsName_IsNotTheIncumbent(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("db-0"), pod("db-1").Ready(time.Now().Add(-30*time.Minute)))
	controller.Stop()
	w.KillPod("db-0")
	w.Pod(pod("db-0").Ready(time.Now()))
	w.StartController()
	w.ExpectLeader("web-leader", "db-1")
}

func TestAddressOfTheLeaderChanges(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"))
	before := w.ExpectLeader("web-leader", "a")
	w.UpdatePodStatus("a", func(p *corev1.Pod) {
		p.Status.PodIP, p.Status.PodIPs = "10.244.230.9", []corev1.PodIP{{IP: "10.244.230.9"}}
	})
	after := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, []string{"10.244.230.9"}, after.Primary.Endpoints[0].Addresses)
	assert.Equal(t, before.Epoch, after.Epoch)
}
