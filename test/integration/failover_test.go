package integration

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// The ways in which a leader can stop being one while standbys are Ready.
func losses() map[string]func(*harness.World) {
	return map[string]func(*harness.World){
		"Terminating": func(w *harness.World) { w.TerminatePod("a") },
		"Deleted":     func(w *harness.World) { w.KillPod("a") },
		"NotReady":    func(w *harness.World) { w.SetReady("a", false) },
		"Failed": func(w *harness.World) {
			w.UpdatePodStatus("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
		},
		"Relabelled": func(w *harness.World) { w.UpdatePod("a", func(p *corev1.Pod) { p.Labels["app"] = "other" }) },
	}
}

func TestTrap15_FailoverIsOneWritePerFamilyBeforeAnythingElse(t *testing.T) {
	for name, policy := range map[string]corev1.IPFamilyPolicy{
		"SingleStack": corev1.IPFamilyPolicySingleStack, "DualStack": corev1.IPFamilyPolicyRequireDualStack,
	} {
		for loss, lose := range losses() {
			t.Run(name+"/"+loss, func(t *testing.T) {
				w := newWorld(t)
				w.StartController()
				routed(w, web().Families(policy), pod("a"), pod("b"), pod("c"))
				mark := w.Requests.Mark()
				lose(w)
				state := w.ExpectLeader("web-leader", "b")
				w.Quiet()

				requests := w.Requests.Since(mark)
				families := len(state.Service.Spec.IPFamilies)
				require.GreaterOrEqual(t, len(requests), families)
				var want []string
				for _, family := range state.Service.Spec.IPFamilies {
					want = append(want, "update endpointslices "+harness.SliceName("web-leader", family))
				}
				assert.ElementsMatch(t, want, requests[:families].Lines(), "the first requests of a failover")
				rest := requests[families:]
				assert.Equal(t, []string{"patch services web-leader"}, rest.Writes().Lines(), "after the slices: the mirror, once")
				assert.Len(t, rest.Events(), 1, "and one Event:\n%s", rest)
				assert.Len(t, rest, 2, "and nothing else:\n%s", rest)
				assert.EqualValues(t, 2, state.Epoch)
				assert.Equal(t, []string{"a", "b"}, leaders(w, "web-leader-ipv4"))
				assert.Zero(t, gaps(w, "web-leader-ipv4"))
				for _, family := range state.Service.Spec.IPFamilies {
					slice, err := w.GetSlice(harness.SliceName("web-leader", family))
					require.NoError(t, err)
					assert.Empty(t, slice.ManagedFields, "the API server keeps account of them in the next write")
				}
			})
		}
	}
}

func TestTrap05_ATerminatingLeaderIsReplacedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"), pod("c"))
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
	a, err := w.GetPod("a")
	require.NoError(t, err, "the former leader is still there, Ready, and terminating")
	require.NotNil(t, a.DeletionTimestamp)
	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderChanged", "pod a", "pod b", "terminating")

	// Its end is no news, and neither is its readiness on the way there.
	mark := w.Requests.Mark()
	w.SetReady("a", false)
	w.SetReady("a", true)
	w.KillPod("a")
	w.Fence()
	assert.Empty(t, w.SinceFenced(mark))
	assert.Equal(t, []string{"a", "b"}, leaders(w, "web-leader-ipv4"), "a terminating pod is never elected again")
}

func TestTrap05_OneReplicaIsServedWhileItTerminates(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"))
	before := w.ExpectLeader("web-leader", "a")
	w.TerminatePod("a")
	serving := w.ExpectServing("web-leader", "a")
	assert.Equal(t, before.Epoch, serving.Epoch, "the same pod, the same term")
	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderServing", "a", "terminating")

	w.Pod(pod("b").NotReady())
	w.Fence()
	w.ExpectServing("web-leader", "a")
	w.SetReady("b", true)
	after := w.ExpectLeader("web-leader", "b")
	assert.Equal(t, before.Epoch+1, after.Epoch)
	w.KillPod("a")
	w.Quiet()
	assert.Equal(t, []string{"a", "b"}, leaders(w, "web-leader-ipv4"))
	assert.Zero(t, gaps(w, "web-leader-ipv4"), "a rollout of one replica has no gap")
}

func TestTrap05_ATerminatingPodThatIsNotReadyIsNotPublished(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"))
	w.TerminatePod("a")
	w.ExpectServing("web-leader", "a")
	w.SetReady("a", false)
	w.ExpectNobody("web-leader")
}

func TestServingFallback_AnotherTerminatingPodStepsInForALostLeader(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.TerminatePod("b")
	w.Fence()
	w.ExpectLeader("web-leader", "a")
	w.KillPod("a")
	state := w.ExpectServing("web-leader", "b")
	assert.EqualValues(t, 2, state.Epoch)
}

func TestTrap14_ARelabelledLeaderMoves(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.UpdatePod("a", func(p *corev1.Pod) { delete(p.Labels, "app") })
	w.ExpectLeader("web-leader", "b")
	w.UpdatePod("b", func(p *corev1.Pod) { p.Labels["app"] = "elsewhere" })
	w.ExpectNobody("web-leader")
	w.UpdatePod("a", func(p *corev1.Pod) { p.Labels["app"] = "web" })
	w.ExpectLeader("web-leader", "a")
}

func TestTrap14_AChangedSelectorMovesTheLeader(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a").Label("track", "blue"), pod("b").Label("track", "green"))
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Selector["track"] = "green" })
	w.ExpectLeader("web-leader", "b")
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Selector["track"] = "none" })
	w.ExpectNobody("web-leader")
}

func TestTrap23_ASecondReconcileMakesNoAPICall(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"), pod("c").NotReady())
	const longEnoughForADelayedQueue = 1500 * time.Millisecond
	w.QuietFor(longEnoughForADelayedQueue)

	mark, before := w.Requests.Mark(), reconciles(t, controller)
	for range 10 {
		w.SetReady("c", true)
		w.SetReady("c", false)
	}
	w.UpdateService("web", func(s *corev1.Service) { s.Annotations["example.org/touched"] = "1" })
	w.UpdateService("web", func(s *corev1.Service) { s.Labels["touched"] = "1" })
	w.UpdatePod("a", func(p *corev1.Pod) { p.Annotations["touched"] = "1" })
	w.UpdatePod("a", func(p *corev1.Pod) { p.Labels["touched"] = "1" })
	w.UpdatePodStatus("a", func(p *corev1.Pod) { p.Status.Message = "touched" })
	w.Fence()
	assert.Empty(t, w.SinceFenced(mark), "nothing changes, so nothing is requested")
	assert.Greater(t, reconciles(t, controller), before, "the test means something only if the controller looked again")
}

func reconciles(t *testing.T, c scraped) float64 {
	t.Helper()
	metrics, err := c.Metrics()
	require.NoError(t, err)
	return metrics.Sum("controller_runtime_reconcile_total", nil)
}

func TestTrap22_PodsOfServicesThatDidNotOptInCostNothing(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Service(harness.MakeService("plain"))
	w.Pods(pod("a"), pod("b"))
	w.Fence() // from now on only the fence's own reconciliations are counted
	before := reconciles(t, controller)
	w.Fence()
	perFence := reconciles(t, controller) - before

	mark, before := w.Requests.Mark(), reconciles(t, controller)
	const churn = 30
	for range churn {
		w.SetReady("a", false)
		w.SetReady("a", true)
	}
	w.Fence()
	assert.Empty(t, w.SinceFenced(mark))
	assert.Less(t, reconciles(t, controller)-before, perFence+churn/2, "pods that nobody opted in must not cause reconciliations")
}

func TestTrap24_EventsOnTransitionOnly(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"), pod("c").NotReady())
	w.Service(harness.MakeService("broken").Enabled().Spec(func(s *corev1.ServiceSpec) { s.Selector = nil }))
	w.Service(harness.MakeService("empty").Enabled().App("nothing"))
	w.ExpectEvent("broken", corev1.EventTypeWarning, "UnsupportedService")
	w.ExpectEvent("empty", corev1.EventTypeWarning, "NoLeader")
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
	for i := range 10 {
		w.SetReady("c", i%2 == 0)
		w.Annotate("broken", "touched", fmt.Sprint(i))
		w.Annotate("empty", "touched", fmt.Sprint(i))
	}
	w.Fence()
	for _, row := range []struct{ service, reason string }{
		{"web", "LeaderElected"}, {"web", "LeaderChanged"}, {"broken", "UnsupportedService"}, {"empty", "NoLeader"},
	} {
		assert.Equal(t, 1, w.CountEvents(row.service, row.reason), "%s of %s", row.reason, row.service)
	}
	all, err := w.Events("web", "")
	require.NoError(t, err)
	assert.Len(t, all, 2)
	for _, e := range all {
		source, err := w.GetService("web")
		require.NoError(t, err)
		assert.Equal(t, source.UID, e.InvolvedObject.UID, "kubectl describe finds Events by UID")
		assert.Equal(t, w.Namespace, e.Namespace)
	}
}

func TestLastChangeTriggerTime_IsThatOfTheChangeThatMovedTheLeader(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	started := time.Now().Truncate(time.Second)
	w.SetReady("a", false)
	state := w.ExpectLeader("web-leader", "b")
	for _, slice := range state.Slices {
		value, ok := slice.Annotations[corev1.EndpointsLastChangeTriggerTime]
		require.True(t, ok, "slice %s lacks the annotation", slice.Name)
		trigger, err := time.Parse(time.RFC3339Nano, value)
		require.NoError(t, err)
		assert.WithinRange(t, trigger, started, time.Now().Add(time.Second))
	}
	assert.WithinRange(t, state.Switched, started, time.Now().Add(time.Second))
}

func TestStaleCache_AConflictIsRetriedAndNeverMakesASecondLeader(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	touched := false
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if r.Verb == "update" && r.Name == "web-leader-ipv4" && !touched {
			touched = true // what the controller has read is old from now on
			w.UpdateSlice(r.Name, func(s *discoveryv1.EndpointSlice) { s.Labels["touched"] = "1" })
		}
		return nil, nil
	})
	w.SetReady("a", false)
	w.ExpectLeader("web-leader", "b")
	w.Requests.Intercept(nil)
	assert.True(t, touched)
	assert.Len(t, w.Requests.Since(0).Where(func(r harness.Request) bool { return r.Code == http.StatusConflict }), 1)
	w.Eventually("the conflict to be counted", func() error {
		return expectMetric(controller, "zen_lead_write_conflicts_total", nil, 1)
	})
	assert.Zero(t, w.CountEvents("web", "WriteRejected"), "a conflict is no news for users")
}

func TestCrashBetweenTwoWrites_TheNextRunGoesOnFromWhatIsThere(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"), pod("c"))
	// The first family's slice is written; everything after that is lost.
	var writes atomic.Int32 // the families may be written at the same time
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if !r.IsWrite() || r.Resource == "leases" {
			return nil, nil
		}
		if writes.Add(1) == 1 {
			return nil, nil
		}
		return harness.Refusal(http.StatusServiceUnavailable, "ServiceUnavailable", "gone"), nil
	})
	w.TerminatePod("a")
	w.Eventually("one slice to name b", func() error {
		for _, slice := range []string{"web-leader-ipv4", "web-leader-ipv6"} {
			if names := leaders(w, slice); names[len(names)-1] == "b" {
				return nil
			}
		}
		return fmt.Errorf("neither does")
	})
	controller.Stop()
	w.Requests.Intercept(nil)
	w.StartController()
	state := w.ExpectLeader("web-leader", "b")
	assert.EqualValues(t, 2, state.Epoch)
	for family, slice := range state.Slices {
		assert.Equal(t, "2", slice.Annotations[api.AnnotationEpoch], "%s", family)
	}
}

// What one family still publishes has not ended: its pod goes on in the other family too, in the same term.
func TestHalfEmptied_ThePodThatOneFamilyStillNamesLeadsOn(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"))
	before := w.ExpectLeader("web-leader", "a")
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if r.IsWrite() && r.Name == "web-leader-ipv6" {
			return harness.Refusal(http.StatusInternalServerError, "InternalError", "made up"), nil
		}
		return nil, nil
	})
	w.SetReady("a", false)
	w.Eventually("one family to publish nobody", func() error {
		slice, err := w.GetSlice("web-leader-ipv4")
		if err == nil && len(slice.Endpoints) > 0 {
			err = fmt.Errorf("it publishes %s", slice.Endpoints[0].TargetRef.Name)
		}
		return err
	})
	w.SetReady("a", true)
	after := w.ExpectLeader("web-leader", "a")
	w.Requests.Intercept(nil)
	assert.Equal(t, before.Epoch, after.Epoch)
	assert.Len(t, w.Invariants.History("web-leader-ipv6"), 1, "nothing changed there")
}

func TestAPIServerErrors_AreRetriedUntilTheyPass(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	failures := 3
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if r.IsWrite() && r.Name == "web-leader-ipv4" && failures > 0 {
			failures--
			return harness.Refusal(http.StatusInternalServerError, "InternalError", "try again"), nil
		}
		return nil, nil
	})
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	assert.Zero(t, failures)
	assert.EqualValues(t, 1, w.CountEvents("web", "LeaderChanged"))
}
