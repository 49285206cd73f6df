package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

func TestDrift_WhatSomebodyChangesIsPutRight(t *testing.T) {
	slice := func(change func(*discoveryv1.EndpointSlice)) func(*harness.World) {
		return func(w *harness.World) { w.UpdateSlice("web-leader-ipv4", change) }
	}
	service := func(change func(*corev1.Service)) func(*harness.World) {
		return func(w *harness.World) { w.UpdateService("web-leader", change) }
	}
	for name, damage := range map[string]func(*harness.World){
		"SliceDeleted": func(w *harness.World) { w.DeleteSlice("web-leader-ipv4") },
		"SliceAddress": slice(func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"192.0.2.1"} }),
		"SlicePorts":   slice(func(s *discoveryv1.EndpointSlice) { s.Ports[0].Port = ptr.To[int32](1) }),
		"SliceNotReady": slice(func(s *discoveryv1.EndpointSlice) {
			s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
		}),
		"SliceServiceName":   slice(func(s *discoveryv1.EndpointSlice) { delete(s.Labels, discoveryv1.LabelServiceName) }),
		"SliceManagedBy":     slice(func(s *discoveryv1.EndpointSlice) { delete(s.Labels, discoveryv1.LabelManagedBy) }),
		"SliceSwitchTime":    slice(func(s *discoveryv1.EndpointSlice) { delete(s.Annotations, api.AnnotationLastSwitchTime) }),
		"ServiceDeleted":     func(w *harness.World) { w.DeleteService("web-leader") },
		"ServicePorts":       service(func(s *corev1.Service) { s.Spec.Ports[0].Port = 99 }),
		"ServiceSelector":    service(func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "web"} }),
		"ServiceType":        service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }),
		"ServiceAffinity":    service(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }),
		"ServiceLabels":      service(func(s *corev1.Service) { s.Labels = nil }),
		"ServiceMirror":      service(func(s *corev1.Service) { s.Annotations[api.AnnotationLeaderPodName] = "nobody" }),
		"ServiceAnnotations": service(func(s *corev1.Service) { s.Annotations = nil }),
	} {
		t.Run(name, func(t *testing.T) { testDriftRepair(t, damage) })
	}
}

func testDriftRepair(t *testing.T, damage func(*harness.World)) {
	w := newWorld(t)
	w.Invariants.AllowUserEdits()
	controller := w.StartController()
	source, _ := routed(w, web(), pod("m"))
	w.Pod(pod("a").Cost("100")) // would be elected, were the leader forgotten
	w.Quiet()
	before := w.ExpectLeader("web-leader", "m")
	mark := w.Requests.Mark()
	damage(w)
	w.Eventually("everything to be as it was", func() error { return expectRepaired(w, source, before) })
	w.ExpectLeader("web-leader", "m")
	w.EventuallyWithin(harness.LongPatience, "no slices of others to route the leader Service",
		func() error { return onlyOurSlices(w, "web-leader") })
	w.Eventually("the repair to be counted", func() error {
		metrics, err := controller.Metrics()
		if err == nil && metrics.Sum("zen_lead_drift_repairs_total", nil) < 1 {
			err = fmt.Errorf("no repair: %v", metrics.Series("zen_lead_drift_repairs_total", nil))
		}
		return err
	})
	w.Quiet()
	assert.Less(t, len(w.Requests.Since(mark).Writes()), 10, "no fight:\n%s", w.Requests.Since(mark))
}

// onlyOurSlices returns an error if a slice of a leader Service is not ours. Kubernetes makes some for a Service that is
// given a selector, and leaves them when it is taken away: they would go on routing to every pod.
func onlyOurSlices(w *harness.World, leaderService string) error {
	list := &discoveryv1.EndpointSliceList{}
	if err := w.Client.List(w.Context(), list, clientIn(w), clientLabels(discoveryv1.LabelServiceName, leaderService)); err != nil {
		return err
	}
	for i := range list.Items {
		if list.Items[i].Labels[discoveryv1.LabelManagedBy] != api.ManagedBy {
			return fmt.Errorf("slice %s is managed by %s", list.Items[i].Name, list.Items[i].Labels[discoveryv1.LabelManagedBy])
		}
	}
	return nil
}

// expectRepaired compares what is there with what was there before the damage, apart from identities and addresses.
func expectRepaired(w *harness.World, source *corev1.Service, before harness.State) error {
	state, err := w.State("web-leader")
	if err != nil {
		return err
	}
	if err := harness.OwnedBy(state.Service, source); err != nil {
		return err
	}
	if err := harness.OwnedBy(state.Primary, source); err != nil {
		return err
	}
	for _, pair := range []struct {
		what       string
		have, want any
	}{
		{"labels of the leader Service", state.Service.Labels, before.Service.Labels},
		{"annotations of the leader Service", state.Service.Annotations, before.Service.Annotations},
		{"ports of the leader Service", state.Service.Spec.Ports, before.Service.Spec.Ports},
		{"selector of the leader Service", len(state.Service.Spec.Selector), 0},
		{"type of the leader Service", state.Service.Spec.Type, before.Service.Spec.Type},
		{"affinity of the leader Service", state.Service.Spec.SessionAffinity, before.Service.Spec.SessionAffinity},
		{"labels of the slice", state.Primary.Labels, before.Primary.Labels},
		{"endpoints of the slice", state.Primary.Endpoints, before.Primary.Endpoints},
		{"ports of the slice", state.Primary.Ports, before.Primary.Ports},
		{"epoch", state.Epoch, before.Epoch},
		{"switch time", state.Primary.Annotations[api.AnnotationLastSwitchTime], before.Primary.Annotations[api.AnnotationLastSwitchTime]},
	} {
		if !assert.ObjectsAreEqual(pair.want, pair.have) {
			return fmt.Errorf("%s: %v, not %v", pair.what, pair.have, pair.want)
		}
	}
	return nil
}

func TestDrift_ServiceAndSliceDeletedTogether(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	source, _ := routed(w, web(), pod("a"))
	w.Invariants.Forget() // nothing is left that could tell the epoch
	w.DeleteService("web-leader")
	w.DeleteSlice("web-leader-ipv4")
	w.Eventually("everything to be there again", func() error {
		state, err := w.State("web-leader")
		if err != nil {
			return err
		}
		return harness.OwnedBy(state.Service, source)
	})
	w.ExpectLeader("web-leader", "a")
}

func TestDrift_AnEmptiedSliceIsATermThatEnded(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.UpdateSlice("web-leader-ipv4", func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
	state := w.ExpectLeader("web-leader", "a")
	assert.EqualValues(t, 2, state.Epoch, "the slice is the truth, and it said that nobody led")
}

func TestDrift_WhatHappenedWhileNoControllerRanIsPutRight(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	source, _ := routed(w, web(), pod("m"), pod("z"))
	w.Pod(pod("a").Cost("100"))
	w.Fence()
	before := w.ExpectLeader("web-leader", "m")
	controller.Stop()
	w.DeleteSlice("web-leader-ipv4")
	w.UpdateService("web-leader", func(s *corev1.Service) { s.Spec.Ports[0].Port = 99 })
	w.StartController()
	w.Eventually("everything to be as it was", func() error { return expectRepaired(w, source, before) })
	w.ExpectLeader("web-leader", "m")
}

func TestRestart_ChangesNothingAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("m"), pod("z"))
	w.Pod(pod("a").Cost("1000"))
	w.Service(harness.MakeService("empty").App("nothing").Enabled())
	w.Service(harness.MakeService("headless").Enabled().Ports().Spec(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }))
	w.ExpectNobody("empty-leader")
	w.ExpectLeader("headless-leader", "a")
	w.Fence()
	controller.Stop()
	mark := w.Requests.Mark()
	w.StartController()
	w.QuietFor(time.Second)
	assert.Empty(t, w.Requests.Since(mark).Where(harness.Request.IsWrite), "an incumbent and everything about it survive a restart")
	w.ExpectLeader("web-leader", "m")
}

func TestRestart_TheLeaderThatWentInBetweenIsReplaced(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"), pod("c"))
	controller.Stop()
	w.TerminatePod("a")
	w.StartController()
	state := w.ExpectLeader("web-leader", "b")
	assert.EqualValues(t, 2, state.Epoch)
	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderChanged", "pod a", "pod b")
}

func TestRefusedWrites_AQuotaIsReportedAndRecoveredFrom(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a"))
	w.Create(&corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "quota"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceServices: resource.MustParse("1")}},
	})
	w.Eventually("the quota to be in force", func() error {
		quota := &corev1.ResourceQuota{}
		err := w.Client.Get(w.Context(), w.Key("quota"), quota)
		if err == nil && quota.Status.Used == nil {
			err = fmt.Errorf("no use is known yet")
		}
		return err
	})
	w.Service(web())
	w.ExpectEvent("web", corev1.EventTypeWarning, "WriteRejected", "quota")
	w.Absent(&corev1.Service{}, "web-leader")
	attempts := func() int {
		return len(w.Requests.Since(0).On("services").Where(func(r harness.Request) bool { return r.Verb == "create" }))
	}
	w.Eventually("several attempts", func() error {
		if n := attempts(); n < 5 {
			return fmt.Errorf("%d attempts", n)
		}
		return nil
	})
	assert.Equal(t, 1, w.CountEvents("web", "WriteRejected"), "said once, not at each attempt")

	quota := &corev1.ResourceQuota{}
	w.Update(quota, "quota", func() { quota.Spec.Hard[corev1.ResourceServices] = resource.MustParse("5") })
	w.EventuallyWithin(harness.LongPatience, "the leader Service to be made once the quota allows it", func() error {
		_, err := w.State("web-leader")
		return err
	})
	w.ExpectLeader("web-leader", "a")
	assert.Less(t, attempts(), 40, "attempts are spaced out")
}

func TestTerminatingNamespaceIsQuiet(t *testing.T) {
	w := newWorld(t)
	controller := w.StartControllerAs(w.Config()) // its own rights must not go with the namespace
	// Pods that were never placed go at once, with no kubelet to ask.
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a").Node(""), pod("b").Node(""))
	w.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hold", Finalizers: []string{"example.org/hold"}}})
	mark := w.Requests.Mark()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}
	require.NoError(t, w.Client.Delete(w.Context(), namespace))
	w.Gone(&corev1.Service{}, "web")
	w.Gone(&corev1.Service{}, "web-leader")
	w.Gone(&discoveryv1.EndpointSlice{}, "web-leader-ipv4")
	const longEnoughForRetries = 1500 * time.Millisecond
	w.QuietFor(longEnoughForRetries)

	requests := w.Requests.Since(mark)
	creates := requests.Where(func(r harness.Request) bool { return r.Verb == "create" && r.Resource != "events" })
	// Each object that goes may bring one try, which is refused; none is repeated, or it would not be quiet now.
	assert.LessOrEqual(t, len(creates), 8, "%s", creates)
	assert.Less(t, len(requests), 20, "%s", requests)
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	assert.Empty(t, metrics.Naming(harness.Labels{"namespace": w.Namespace}), "nothing is left of the Service")
	hold := &corev1.ConfigMap{}
	w.Update(hold, "hold", func() { hold.Finalizers = nil })
}

func TestTrap18_TwoServicesOnTheSamePodsAreIndependent(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b").Ports(harness.Named("admin", 9000, corev1.ProtocolTCP)))
	w.Service(harness.MakeService("admin").Enabled().Ports(harness.Port("admin", 9000, intstr.FromString("admin"), corev1.ProtocolTCP)))
	w.ExpectLeader("admin-leader", "b")
	w.ExpectLeader("web-leader", "a")
}

// A record of who leads that names no pod that could be asked for must not stop the Service.
func TestDrift_ARecordThatNamesNoPodIsPutRight(t *testing.T) {
	for _, name := range []string{"", "a/b", "..", "a%b"} {
		t.Run("Name "+name, func(t *testing.T) {
			w := newWorld(t)
			w.Invariants.AllowUserEdits()
			controller := w.StartController()
			routed(w, web(), pod("a"), pod("b"))
			before := w.ExpectLeader("web-leader", "a")
			controller.Stop()
			// Without a slice, the copy on the leader Service is the record.
			w.DeleteSlice("web-leader-ipv4")
			w.UpdateService("web-leader", func(s *corev1.Service) {
				s.Annotations[api.AnnotationLeaderPodUID], s.Annotations[api.AnnotationLeaderPodName] = "made-up", name
			})
			w.StartController()
			after := w.ExpectLeader("web-leader", "a")
			assert.Equal(t, before.Epoch+1, after.Epoch, "whoever led meanwhile, this is another term")
		})
	}
}
