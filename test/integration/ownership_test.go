package integration

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// foreign is a Service that somebody else made and uses.
func foreign(name string) *harness.ServiceBuilder {
	return harness.MakeService(name).App("foreign").Label("owner", "somebody-else").
		Ports(harness.Port("other", 4444, intstr.FromInt32(5555), corev1.ProtocolTCP))
}

// expectUntouched fails the test if an object was written since it was read.
func expectUntouched(w *harness.World, before *corev1.Service) {
	w.Helper()
	after, err := w.GetService(before.Name)
	if err != nil || after.UID != before.UID || after.ResourceVersion != before.ResourceVersion {
		w.Errorf("service %s was %s at %s, and is %s at %s (%v)\n%s", before.Name, before.UID, before.ResourceVersion,
			after.UID, after.ResourceVersion, err, w.Dump())
	}
}

func TestTrap02_InstallingTheControllerTouchesNothing(t *testing.T) {
	w := newWorld(t)
	plain, other := w.Service(harness.MakeService("web")), w.Service(foreign("web-leader"))
	off := w.Service(harness.MakeService("off").Annotate(api.AnnotationEnabled, "false"))
	third := w.Service(foreign("off-leader"))
	w.Pods(pod("a"), pod("b"))
	w.StartController()
	w.Fence()
	w.UpdatePod("a", func(p *corev1.Pod) { p.Labels["touched"] = "1" })
	w.KillPod("b")
	w.Fence()
	for _, service := range []*corev1.Service{plain, other, off, third} {
		expectUntouched(w, service)
	}
	assert.Empty(t, w.SinceFenced(0).Where(harness.Request.IsWrite))
	events, err := w.Events("web", "")
	require.NoError(t, err)
	assert.Empty(t, events)
}

func TestTrap02_OptingOutLeavesAForeignServiceOfThatNameAlone(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a"))
	other := w.Service(foreign("web-leader"))
	w.Service(web())
	w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceConflict")
	w.Annotate("web", api.AnnotationEnabled, "")
	w.Fence()
	w.DeleteService("web")
	w.Fence()
	expectUntouched(w, other)
}

func TestTrap03_AForeignServiceOfThatNameIsNeverTakenOver(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Pods(pod("a"), pod("b"))
	other := w.Service(foreign("web-leader"))
	w.Service(web())
	w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceConflict", "web-leader")
	w.SetReady("a", false)
	w.SetReady("a", true)
	w.Fence()
	expectUntouched(w, other)
	assert.Equal(t, 1, w.CountEvents("web", "LeaderServiceConflict"))
	slices, err := w.Slices("web-leader")
	require.NoError(t, err)
	assert.Empty(t, slices, "a slice with the foreign Service's name would send its clients to our leader")
	w.Eventually("the conflict to be counted", func() error {
		return expectMetric(controller, "zen_lead_services", harness.Labels{"state": "conflict"}, 1)
	})

	// The name becomes free: no other event is needed.
	w.Unprotect("web-leader")
	w.DeleteService("web-leader")
	w.ExpectLeader("web-leader", "b") // a has just become Ready again
	w.Eventually("the conflict to be over", func() error {
		return expectMetric(controller, "zen_lead_services", harness.Labels{"state": "conflict"}, 0)
	})
}

func TestTrap03_AForeignServiceThatAppearsLater(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	controller.Stop()
	w.DeleteService("web-leader")
	other := w.Service(foreign("web-leader"))
	w.StartController()
	w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceConflict", "web-leader")
	w.KillPod("a")
	w.Fence()
	expectUntouched(w, other)
	w.Eventually("no slice of ours to route the foreign Service", func() error {
		slices, err := w.Slices("web-leader")
		for i := range slices {
			if len(slices[i].Endpoints) > 0 {
				return fmt.Errorf("slice %s has %+v", slices[i].Name, slices[i].Endpoints)
			}
		}
		return err
	})
}

func TestTrap03_AForeignServiceThatWinsTheRaceForTheName(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a"))
	var other *corev1.Service
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if r.Verb == "create" && r.Resource == "services" && other == nil {
			other = w.Service(foreign("web-leader")) // after the controller has looked, and before it writes
		}
		return nil, nil
	})
	w.Service(web())
	w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceConflict", "web-leader")
	w.Requests.Intercept(nil)
	w.Fence()
	expectUntouched(w, other)
}

func TestTrap03_TheCustomNameOfTheSourceItself(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a"))
	source := w.Service(web().Annotate(api.AnnotationLeaderServiceName, "web"))
	w.ExpectEvent("web", corev1.EventTypeWarning, "InvalidAnnotation", "web")
	w.ExpectLeader("web-leader", "a")
	expectUntouched(w, source)
}

func TestTrap03_TheCustomNameOfAnotherService(t *testing.T) {
	for name, other := range map[string]*harness.ServiceBuilder{
		"Plain":    foreign("target"),
		"OptedIn":  harness.MakeService("target").Enabled(),
		"Headless": foreign("target").Spec(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }),
		"SelectorLessWithOurLabels": foreign("target").Label(api.LabelManagedBy, api.ManagedBy).Label(api.LabelSourceService, "web").
			Spec(func(s *corev1.ServiceSpec) { s.Selector = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			w.Pod(pod("a"))
			target := w.Service(other)
			w.Service(web().Annotate(api.AnnotationLeaderServiceName, "target"))
			w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceConflict", "target")
			w.Fence()
			expectUntouched(w, target)
			slices, err := w.Slices("target")
			require.NoError(t, err)
			assert.Empty(t, slices)
			w.Annotate("web", api.AnnotationLeaderServiceName, "free")
			w.ExpectLeader("free", "a")
		})
	}
}

func TestTrap03_AForeignSliceOfOurName(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"Plain":         {"owner": "somebody-else"},
		"WithOurLabels": {discoveryv1.LabelManagedBy: api.ManagedBy, discoveryv1.LabelServiceName: "web-leader"},
	} {
		watched := labels[discoveryv1.LabelManagedBy] == api.ManagedBy
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			w.Pod(pod("a"))
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Name: "web-leader-ipv4", Labels: labels}, AddressType: discoveryv1.AddressTypeIPv4,
			}
			w.Create(slice)
			w.Service(web())
			w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderSliceConflict", "web-leader-ipv4")
			w.Fence()
			after, err := w.GetSlice("web-leader-ipv4")
			require.NoError(t, err)
			assert.Equal(t, slice.UID, after.UID)
			assert.Equal(t, slice.ResourceVersion, after.ResourceVersion)
			w.DeleteSlice("web-leader-ipv4")
			w.Invariants.Forget()
			w.ReleaseSlice("web-leader-ipv4")
			if !watched { // nothing tells the controller, which looks again from time to time or when something else happens
				w.Pod(pod("nudge").NotReady())
			}
			w.ExpectLeader("web-leader", "a")
		})
	}
}

func TestTrap16_Rename(t *testing.T) {
	for _, offline := range []bool{false, true} {
		t.Run(when(offline)[1:], func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			source, _ := routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"))
			rename := func(name string) {
				if offline {
					controller.Stop()
				}
				w.Annotate("web", api.AnnotationLeaderServiceName, name)
				if offline {
					controller = w.StartController()
				}
			}
			rename("primary")
			state := w.ExpectLeader("primary", "a")
			expectRemoved(w, "web-leader")
			assert.NoError(t, harness.OwnedBy(state.Service, source))
			rename("")
			w.ExpectLeader("web-leader", "a")
			expectRemoved(w, "primary")
		})
	}
}

func TestTrap16_RenameKeepsTheLeaderAndItsTerm(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("m"), pod("z"))
	w.Pod(pod("a").Cost("9"))
	w.Fence()
	w.KillPod("z")
	before := w.ExpectLeader("web-leader", "m")
	w.Annotate("web", api.AnnotationLeaderServiceName, "primary")
	after := w.ExpectLeader("primary", "m")
	assert.GreaterOrEqual(t, after.Epoch, before.Epoch, "the same pod goes on; its term must not begin anew")
	expectRemoved(w, "web-leader")
}

func TestTrap16_RenamedToANameThatIsTaken_TheOldOneGoesOn(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	other := w.Service(foreign("taken"))
	w.Annotate("web", api.AnnotationLeaderServiceName, "taken")
	w.ExpectEvent("web", corev1.EventTypeWarning, "LeaderServiceConflict", "taken")
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	expectUntouched(w, other)

	w.Unprotect("taken")
	w.DeleteService("taken")
	w.ExpectLeader("taken", "b")
	expectRemoved(w, "web-leader")
}

func TestSourceDeleted(t *testing.T) {
	for _, offline := range []bool{false, true} {
		t.Run(when(offline)[1:], func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"))
			if offline {
				controller.Stop()
			}
			w.DeleteService("web")
			expectRemoved(w, "web-leader") // by the garbage collector, if nobody else is there
			if !offline {
				w.KillPod("a")
				w.Fence()
				w.Absent(&corev1.Service{}, "web-leader")
			}
		})
	}
}

func TestTrap10_SourceDeletedAndRecreated(t *testing.T) {
	for _, offline := range []bool{false, true} {
		t.Run(when(offline)[1:], func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			routed(w, web(), pod("a"), pod("b"))
			before := w.ExpectLeader("web-leader", "a")
			if offline {
				controller.Stop()
			}
			w.DeleteService("web")
			source := w.Service(web())
			if offline {
				w.StartController()
			}
			w.EventuallyWithin(harness.LongPatience, "everything to be the new source's", func() error {
				state, err := w.State("web-leader")
				if err != nil {
					return err
				}
				if err := harness.OwnedBy(state.Service, source); err != nil {
					return err
				}
				return harness.OwnedBy(state.Primary, source)
			})
			after := w.ExpectLeader("web-leader", "a")
			assert.NotEqual(t, before.Service.UID, after.Service.UID, "what another source owned is never adopted")
			w.KillPod("a")
			w.ExpectLeader("web-leader", "b")
			w.Quiet()
			w.ExpectLeader("web-leader", "b")
		})
	}
}

func TestTrap10_ManySourcesInQuickSuccession(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pod(pod("a"))
	var source *corev1.Service
	for range 5 {
		source = w.Service(web())
		w.DeleteService("web")
	}
	source = w.Service(web())
	w.EventuallyWithin(harness.LongPatience, "everything to be the last source's", func() error {
		state, err := w.State("web-leader")
		if err != nil {
			return err
		}
		if err := harness.OwnedBy(state.Service, source); err != nil {
			return err
		}
		return harness.OwnedBy(state.Primary, source)
	})
	w.ExpectLeader("web-leader", "a")
}

func TestTwoSourcesWithOneLeaderName(t *testing.T) {
	for name, goes := range map[string]func(*harness.World){
		"FirstIsDeleted": func(w *harness.World) { w.DeleteService("first") },
		"FirstOptsOut":   func(w *harness.World) { w.Annotate("first", api.AnnotationEnabled, "false") },
		"FirstIsRenamed": func(w *harness.World) { w.Annotate("first", api.AnnotationLeaderServiceName, "elsewhere") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			w.Pod(pod("a").App("first"))
			w.Pod(pod("b").App("second"))
			w.Service(harness.MakeService("first").App("first").Enabled().Annotate(api.AnnotationLeaderServiceName, "shared"))
			w.ExpectLeader("shared", "a")
			second := w.Service(harness.MakeService("second").App("second").Enabled().Annotate(api.AnnotationLeaderServiceName, "shared"))
			w.ExpectEvent("second", corev1.EventTypeWarning, "LeaderServiceConflict", "shared")
			w.Fence()
			w.ExpectLeader("shared", "a")
			assert.Equal(t, []string{"a"}, leaders(w, "shared-ipv4"))

			goes(w)
			w.EventuallyWithin(harness.LongPatience, "the second source to have the name", func() error {
				state, err := w.State("shared")
				if err != nil {
					return err
				}
				return harness.OwnedBy(state.Service, second)
			})
			w.ExpectLeader("shared", "b")
		})
	}
}

func TestTwoSourcesWithOneLeaderName_TheFirstKeepsItOverARestart(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Pods(pod("a").App("first"), pod("b").App("second"))
	w.Service(harness.MakeService("zzz").App("first").Enabled().Annotate(api.AnnotationLeaderServiceName, "shared"))
	w.ExpectLeader("shared", "a")
	w.Service(harness.MakeService("aaa").App("second").Enabled().Annotate(api.AnnotationLeaderServiceName, "shared"))
	w.ExpectEvent("aaa", corev1.EventTypeWarning, "LeaderServiceConflict", "shared")
	controller.Stop()
	mark := w.Requests.Mark()
	w.StartController()
	w.Quiet()
	assert.Empty(t, w.Requests.Since(mark).Writes())
	w.ExpectLeader("shared", "a")
}

func TestTerminatingSource_NothingIsCreatedAndSlicesFollow(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Spec(func(*corev1.ServiceSpec) {}), pod("a"), pod("b"))
	w.UpdateService("web", func(s *corev1.Service) { s.Finalizers = []string{"example.org/hold"} })
	w.DeleteService("web")
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	mark := w.Requests.Mark()
	w.DeleteService("web-leader")
	w.DeleteSlice("web-leader-ipv4")
	w.Fence()
	creates := w.SinceFenced(mark).Where(func(r harness.Request) bool { return r.Verb == "create" && r.Resource != "events" })
	assert.Empty(t, creates)
	w.UpdateService("web", func(s *corev1.Service) { s.Finalizers = nil })
	expectRemoved(w, "web-leader")
}
