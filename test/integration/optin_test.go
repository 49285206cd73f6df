package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// routed starts with a controller and a Service web that the first pod leads; the others are standbys.
func routed(w *harness.World, service *harness.ServiceBuilder, pods ...*harness.PodBuilder) (*corev1.Service, []*corev1.Pod) {
	w.Helper()
	created := []*corev1.Pod{w.Pod(pods[0])}
	source := w.Service(service)
	w.ExpectLeader(leaderNameOf(source), created[0].Name)
	created = append(created, w.Pods(pods[1:]...)...)
	w.Quiet()
	return source, created
}

func leaderNameOf(source *corev1.Service) string {
	if name, ok := source.Annotations[api.AnnotationLeaderServiceName]; ok {
		return name
	}
	return source.Name + api.LeaderSuffix
}

// web is the usual source Service.
func web() *harness.ServiceBuilder { return harness.MakeService("web").Enabled() }

func pod(name string) *harness.PodBuilder { return harness.MakePod(name) }

// expectRemoved waits until nothing of a leader Service is left, and sees that the source is.
func expectRemoved(w *harness.World, leaderService string) {
	w.Helper()
	w.Gone(&corev1.Service{}, leaderService)
	w.Gone(&discoveryv1.EndpointSlice{}, leaderService+"-ipv4")
	w.Gone(&discoveryv1.EndpointSlice{}, leaderService+"-ipv6")
}

func TestOptIn_WritesTheLeaderServiceAndItsSlice(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	source, _ := routed(w, web(), pod("a").Node("node-b"), pod("b"))

	state := w.ExpectLeader("web-leader", "a")
	service, slice := state.Service, state.Primary
	assert.NoError(t, harness.OwnedBy(service, source))
	assert.NoError(t, harness.OwnedBy(slice, source))
	assert.Empty(t, service.Spec.Selector)
	assert.Equal(t, corev1.ServiceTypeClusterIP, service.Spec.Type)
	assert.NotEqual(t, corev1.ClusterIPNone, service.Spec.ClusterIP)
	assert.Equal(t, source.Spec.Ports, service.Spec.Ports)
	assert.Equal(t, map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelSourceService: "web"}, service.Labels)
	assert.Equal(t, api.ManagedBy, slice.Labels[discoveryv1.LabelManagedBy])
	assert.Equal(t, "web-leader", slice.Labels[discoveryv1.LabelServiceName])
	assert.Len(t, slice.Ports, 1)
	assert.Equal(t, "http", *slice.Ports[0].Name)
	assert.EqualValues(t, 8080, *slice.Ports[0].Port)
	assert.EqualValues(t, 1, state.Epoch)

	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderElected", "a", "web-leader")
}

func TestOptIn_LaterByAnnotation(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a"))
	w.Service(harness.MakeService("web"))
	w.Fence()
	w.Absent(&corev1.Service{}, "web-leader")
	w.Annotate("web", api.AnnotationEnabled, "true")
	w.ExpectLeader("web-leader", "a")
}

func TestOptOut_RemovesWhatIsOurs(t *testing.T) {
	for name, out := range map[string]string{"AnnotationRemoved": "", "AnnotationFalse": "false"} {
		for _, offline := range []bool{false, true} {
			t.Run(name+when(offline), func(t *testing.T) {
				w := newWorld(t)
				controller := w.StartController()
				routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"))
				if offline {
					controller.Stop()
				}
				w.Annotate("web", api.AnnotationEnabled, out)
				if offline {
					w.StartController()
				}
				expectRemoved(w, "web-leader")
				_, err := w.GetService("web")
				assert.NoError(t, err)

				w.Invariants.Forget()
				w.Annotate("web", api.AnnotationEnabled, "true")
				w.ExpectLeader("web-leader", "a")
			})
		}
	}
}

// when names the two circumstances in which clean-up has to work.
func when(offline bool) string {
	if offline {
		return "/WhileNoControllerRuns"
	}
	return "/Live"
}

func TestEnabledWithAnUnclearValue_SwitchesNothing(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.Service(harness.MakeService("other").Annotate(api.AnnotationEnabled, "True"))
	w.Annotate("web", api.AnnotationEnabled, "yes")
	w.ExpectEvent("other", corev1.EventTypeWarning, "InvalidAnnotation", api.AnnotationEnabled, "True", "true", "false")
	w.ExpectEvent("web", corev1.EventTypeWarning, "InvalidAnnotation", api.AnnotationEnabled, "yes")
	w.Fence()
	w.Absent(&corev1.Service{}, "other-leader")
	w.ExpectLeader("web-leader", "a")
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
}

func TestTrap13_AnnotationsThatDoNotParse_AreReportedAndTheDefaultIsUsed(t *testing.T) {
	for _, row := range []struct{ key, value, wanted string }{
		{api.AnnotationSticky, "maybe", "true"},
		{api.AnnotationMinReadyDuration, "10", "10s"},
		{api.AnnotationMinReadyDuration, "-1s", "10s"},
		{api.AnnotationLeaderServiceName, "Not_A_Name", "DNS label"},
		{api.AnnotationLeaderServiceName, "web", "other than"},
	} {
		t.Run(row.key[len(api.Prefix):]+"="+row.value, func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			w.Pod(pod("a"))
			w.Service(web().Annotate(row.key, row.value))
			w.ExpectLeader("web-leader", "a")
			w.ExpectEvent("web", corev1.EventTypeWarning, "InvalidAnnotation", row.key, row.value, row.wanted)
			w.Eventually("the config error to be counted", func() error {
				return expectMetric(controller, "zen_lead_config_errors", harness.Labels{"namespace": w.Namespace, "service": "web"}, 1)
			})
			w.Annotate("web", row.key, "")
			w.Eventually("the config error to go away", func() error {
				return expectMetric(controller, "zen_lead_config_errors", harness.Labels{"namespace": w.Namespace, "service": "web"}, 0)
			})
		})
	}
}

func TestTrap17_LeaderServicesAreNoSources(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"))
	leader, err := w.GetService("web-leader")
	assert.NoError(t, err)
	assert.NotContains(t, leader.Annotations, api.AnnotationEnabled)

	w.Annotate("web-leader", api.AnnotationEnabled, "true")
	w.Fence()
	w.Absent(&corev1.Service{}, "web-leader-leader")
	w.ExpectLeader("web-leader", "a")
}

func TestTrap19_LabelsAndAnnotationsOfTheSourceAreNotCopied(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	source := web().
		Label("app.kubernetes.io/managed-by", "Helm").Label("app.kubernetes.io/instance", "gitops").Label("release", "prometheus").
		Annotate("external-dns.alpha.kubernetes.io/hostname", "web.example.org").Annotate("prometheus.io/scrape", "true").
		Annotate(corev1.LastAppliedConfigAnnotation, "{}").Annotate(api.AnnotationSticky, "false").
		Annotate("service.kubernetes.io/topology-mode", "Auto")
	routed(w, source, pod("a"))

	state := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, map[string]string{api.LabelManagedBy: api.ManagedBy, api.LabelSourceService: "web"}, state.Service.Labels)
	assert.ElementsMatch(t, []string{
		api.AnnotationLeaderPodName, api.AnnotationLeaderPodUID, api.AnnotationEpoch, api.AnnotationLastSwitchTime,
	}, keys(state.Service.Annotations))
	assert.NotContains(t, state.Primary.Labels, "release")
	assert.NotContains(t, state.Primary.Labels, "app.kubernetes.io/instance")
	assert.NotContains(t, state.Primary.Annotations, "prometheus.io/scrape")

	// Nor are they when they change later.
	w.UpdateService("web", func(s *corev1.Service) { s.Labels["team"] = "red"; s.Annotations["note"] = "x" })
	w.Fence()
	state = w.ExpectLeader("web-leader", "a")
	assert.NotContains(t, state.Service.Labels, "team")
	assert.NotContains(t, state.Service.Annotations, "note")
}

func keys(m map[string]string) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	return list
}

func TestTrap09_NamesOver63Characters(t *testing.T) {
	const long = "a123456789-123456789-123456789-123456789-123456789-123456789" // 60 characters, 67 with -leader
	w := newWorld(t)
	controller := w.StartController()
	w.Pod(pod("a"))
	w.Service(harness.MakeService(long).Enabled())
	w.ExpectEvent(long, corev1.EventTypeWarning, "LeaderServiceNameTooLong", "63", api.AnnotationLeaderServiceName)
	w.Fence()
	writes := w.SinceFenced(0).Writes()
	assert.Empty(t, writes, "nothing may be tried for a name that cannot be")
	w.Eventually("the config error to be counted", func() error {
		return expectMetric(controller, "zen_lead_config_errors", harness.Labels{"namespace": w.Namespace, "service": long}, 1)
	})

	w.Annotate(long, api.AnnotationLeaderServiceName, "short")
	w.ExpectLeader("short", "a")
	// Exactly 63 characters are fine; the slices' names are longer, and may be.
	exact := long[:63-len(api.LeaderSuffix)]
	w.Service(harness.MakeService(exact).Enabled().Families(corev1.IPFamilyPolicyRequireDualStack))
	w.ExpectLeader(exact+api.LeaderSuffix, "a")
}

func TestTrap09_ARoutedServiceWithATooLongNewNameIsEmptied(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.Annotate("web", api.AnnotationLeaderServiceName, "n123456789-123456789-123456789-123456789-123456789-123456789-123")
	w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceNameTooLong", "63")
	w.ExpectNobody("web-leader")
	w.Annotate("web", api.AnnotationLeaderServiceName, "")
	w.ExpectLeader("web-leader", "a")
}

func TestUnsupportedSources_AreReportedAndNothingIsWritten(t *testing.T) {
	for name, service := range map[string]*harness.ServiceBuilder{
		"SelectorLess": web().Spec(func(s *corev1.ServiceSpec) { s.Selector = nil }),
		"ExternalName": web().Spec(func(s *corev1.ServiceSpec) {
			s.Selector, s.Ports, s.Type, s.ExternalName = nil, nil, corev1.ServiceTypeExternalName, "example.org"
		}),
		"ExternalNameWithSelector": web().Spec(func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "example.org"
		}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			w.Pod(pod("a"))
			w.Service(service)
			w.ExpectEvent("web", corev1.EventTypeWarning, "UnsupportedService")
			w.Fence()
			assert.Empty(t, w.SinceFenced(0).Writes())
			w.Eventually("the config error to be counted", func() error {
				return expectMetric(controller, "zen_lead_config_errors", harness.Labels{"namespace": w.Namespace, "service": "web"}, 1)
			})
			assert.Equal(t, 1, w.CountEvents("web", "UnsupportedService"))
		})
	}
}

func TestUnsupportedSources_ARoutedOneIsEmptiedAndComesBack(t *testing.T) {
	for name, change := range map[string]func(*corev1.ServiceSpec){
		"SelectorRemoved": func(s *corev1.ServiceSpec) { s.Selector = nil },
		"MadeExternalName": func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalName, s.ClusterIP, s.ClusterIPs = corev1.ServiceTypeExternalName, "example.org", "", nil
			s.IPFamilies, s.IPFamilyPolicy, s.InternalTrafficPolicy = nil, nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			source, _ := routed(w, web(), pod("a"))
			before := w.ExpectLeader("web-leader", "a")
			w.UpdateService("web", func(s *corev1.Service) { change(&s.Spec) })
			w.ExpectEvent("web", corev1.EventTypeWarning, "UnsupportedService")
			after := w.ExpectNobody("web-leader")
			assert.Equal(t, before.Service.UID, after.Service.UID)
			assert.Equal(t, before.Primary.UID, after.Primary.UID)

			w.UpdateService("web", func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeClusterIP, ""
				s.Spec.Selector, s.Spec.Ports = source.Spec.Selector, source.Spec.Ports
			})
			again := w.ExpectLeader("web-leader", "a")
			assert.Equal(t, before.Epoch+1, again.Epoch)
		})
	}
}

func TestTrap07_NamedTargetPortWithoutALeader(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Service(web().Ports(harness.Port("http", 80, intstr.FromString("http"), corev1.ProtocolTCP)))
	state := w.ExpectNobody("web-leader")
	assert.Equal(t, intstr.FromString("http"), state.Service.Spec.Ports[0].TargetPort)
	w.ExpectEvent("web", corev1.EventTypeWarning, "NoLeader", "selector")

	w.Pod(pod("a").Ports(harness.Named("http", 9999, corev1.ProtocolTCP)))
	state = w.ExpectLeader("web-leader", "a")
	assert.EqualValues(t, 9999, *state.Primary.Ports[0].Port)
}

func TestTrap04_NoLeaderLeavesAnAcceptedEmptySlice(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"))
	before := w.ExpectLeader("web-leader", "a")

	w.SetReady("a", false)
	empty := w.ExpectNobody("web-leader")
	assert.Equal(t, before.Primary.UID, empty.Primary.UID, "the slice stays: it is the placeholder")
	assert.Equal(t, before.Epoch, empty.Epoch)
	w.ExpectEvent("web", corev1.EventTypeWarning, "NoLeader", "not Ready")
	w.Quiet()
	for _, r := range w.Requests.Since(0) {
		assert.Less(t, r.Code, 400, "every request has to be accepted: %s", r)
	}

	w.SetReady("a", true)
	again := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, before.Epoch+1, again.Epoch, "any pod that leads after a time with nobody begins a new term")
	w.KillPod("a")
	w.ExpectNobody("web-leader")
}

func TestDrift_LabelsAndAnnotationsThatAUserAddsAreKept(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.UpdateService("web-leader", func(s *corev1.Service) {
		s.Labels["team"] = "red"
		s.Annotations["example.org/note"] = "keep me"
	})
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	w.Annotate("web", api.AnnotationSticky, "false")
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	w.Eventually("the port to follow", func() error { return expectPort(w, "web-leader", 81) })
	leader, err := w.GetService("web-leader")
	assert.NoError(t, err)
	assert.Equal(t, "red", leader.Labels["team"])
	assert.Equal(t, "keep me", leader.Annotations["example.org/note"])
}
