package simulation

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
)

// TestStories are histories that went wrong once, retold.
func TestStories(t *testing.T) {
	for name, story := range map[string]func(w *world){
		"ForeignSliceOfThePrimaryFamily":  foreignSliceOfThePrimaryFamily,
		"SliceWithoutItsLabelKeepsEpoch":  sliceWithoutItsLabelKeepsEpoch,
		"RenameAfterHalfACleanUp":         renameAfterHalfACleanUp,
		"SuccessorSeesSlicesBeforePods":   successorSeesSlicesBeforePods,
		"SuccessorSeesLeaderAsItWas":      successorSeesLeaderAsItWas,
		"WrittenLookedAtAndDeletedUnseen": writtenLookedAtAndDeletedUnseen,
		"WrittenAndDeletedUnseen":         writtenAndDeletedUnseen,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(profile{})
				defer w.close()
				story(w)
				if w.violation != nil {
					t.Errorf("broken: %s: %s\n%s", w.violation.rule, w.violation.text, strings.Join(w.story, "\n"))
				}
			})
		})
	}
}

// addWeb makes a Service that is opted in, and pods of it that are Ready.
func (w *world) addWeb(pods ...string) {
	w.addSource("web", map[string]string{api.AnnotationEnabled: "true"}, corev1.IPv4Protocol)
	for _, name := range pods {
		w.addPod(newPod{name: name, revision: "a", ready: true})
	}
}

// The primary family's slice is somebody else's, and the leader has no address in the other: who leads is written
// nowhere, and each try for the foreign name began a term.
func foreignSliceOfThePrimaryFamily(w *world) {
	w.addSource("web", map[string]string{api.AnnotationEnabled: "true"}, corev1.IPv4Protocol, corev1.IPv6Protocol)
	w.addPod(newPod{name: "p1", revision: "a", ready: true, oneFamily: true})
	w.inTheWay(endpointSlices, "web-leader-ipv4")
	w.begins(0, [kinds]int{}).elect()
	w.quiet()
}

// Somebody takes the label by which ours are found off a slice whose epoch the leader Service does not tell of yet.
func sliceWithoutItsLabelKeepsEpoch(w *world) {
	w.addWeb("p1", "p2")
	p := w.begins(0, [kinds]int{})
	p.elect()
	p.settle()
	w.remove("p1")
	p.deliver(pods, 1)
	p.complete("web")
	w.crash(p, false) // before it has told the leader Service
	_ = w.server.edit(endpointSlices, "web-leader-ipv4", func(o client.Object) { delete(o.GetLabels(), discoveryv1.LabelManagedBy) })
	w.tell("somebody takes the managed-by label off web-leader-ipv4")
	w.remove("p2")
	w.quiet()
}

// A clean-up dies half-way, and the Service is opted in again under another name: the epoch stands in the leader Service
// of the old name alone.
func renameAfterHalfACleanUp(w *world) {
	w.addWeb("p1", "p2")
	p := w.begins(0, [kinds]int{})
	p.elect()
	p.settle()
	w.terminate("p1")
	w.annotate("web", api.AnnotationEnabled, "false")
	p.deliver(services, p.behind(services))
	ps := p.begin("web")
	r := w.requestOf(ps)
	w.arrive(r)
	w.answer(r)
	w.crash(p, false)
	w.annotate("web", api.AnnotationEnabled, "true")
	w.annotate("web", api.AnnotationLeaderServiceName, "other")
	w.quiet()
}

// What was written is deleted before the cache has shown it, and the watch breaks: no event ever tells of it.
func writtenAndDeletedUnseen(w *world) { unseen(w, false) }

// The same, where another look came before: that one knew how long the write was to be believed.
func writtenLookedAtAndDeletedUnseen(w *world) { unseen(w, true) }

func unseen(w *world, again bool) {
	w.addWeb("p1")
	p := w.begins(0, [kinds]int{})
	p.elect()
	p.complete("web")
	if again {
		p.complete("web")
	}
	p.deliver(services, p.behind(services))
	_ = w.server.delete(endpointSlices, "web-leader-ipv4", nil)
	w.tell("somebody deletes slice web-leader-ipv4")
	w.judge.vanished()
	p.relist(endpointSlices)
	w.quiet()
}

// A controller that takes over has seen the slice that names the new leader, and not yet the new leader.
func successorSeesSlicesBeforePods(w *world) { handOver(w, false) }

// The same, but it has seen the new leader when that was not Ready yet.
func successorSeesLeaderAsItWas(w *world) { handOver(w, true) }

func handOver(w *world, seesUnready bool) {
	w.addWeb("p1", "p2")
	first, second := w.begins(0, [kinds]int{}), w.begins(0, [kinds]int{})
	first.elect()
	first.settle()
	w.addPod(newPod{name: "p3", revision: "b"})
	if seesUnready {
		second.deliver(pods, second.behind(pods))
	}
	w.ready("p3", true, 0)
	w.remove("p1")
	w.ready("p2", false, 0)
	first.settle()
	w.ready("p2", true, 0)
	w.pass(time.Second)
	first.settle()
	before := published(w.server.slice("web-leader-ipv4"))
	w.crash(first, false)
	second.elect()
	second.deliver(services, second.behind(services))
	second.deliver(endpointSlices, second.behind(endpointSlices))
	w.quietly(second)
	if after := published(w.server.slice("web-leader-ipv4")); after.leader != before.leader {
		w.violate(noNeedlessSwitch, "%s led and could go on, and now %s leads", before.leader, after.leader)
	}
	w.quiet()
}

// quietly has a process do all that it can without seeing more.
func (w *world) quietly(p *process) {
	for keys := p.ready(); len(keys) > 0; keys = p.ready() {
		p.complete(keys[0])
	}
}
