package simulation

import (
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
)

// TestMain sets what the command line may set otherwise.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": "500", "rapid.steps": "50", "rapid.seed": "1", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestHistories has anything happen in any order, and judges every write and where it all ends.
func TestHistories(t *testing.T) {
	histories, steps, writes := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			h := newHistory(t)
			defer h.close()
			t.Repeat(map[string]func(*rapid.T){"": h.check, "step": func(*rapid.T) { steps++; h.step() }})
			h.quiet()
			h.check(t)
			histories++
			writes += h.writes
		})
	})
	t.Logf("%d histories, %d steps, %d accepted writes", histories, steps, writes)
}

// history draws what happens.
type history struct {
	*world
	t    *rapid.T
	dual bool
}

func newHistory(t *rapid.T) *history {
	h := &history{t: t, world: newWorld(profile{})}
	h.rivals, h.damage = h.chance(3), h.chance(4)
	h.dual = h.chance(3)
	h.tell("rivals=%t damage=%t dual=%t", h.rivals, h.damage, h.dual)
	h.newSource("web")
	h.addPod(newPod{name: "p1", revision: "a", ready: true})
	h.addPod(newPod{name: "p2", revision: "a", ready: true})
	p := h.begins(0, [kinds]int{})
	p.elect()
	return h
}

// draw is a number below n; 0 is the simplest.
func (h *history) draw(n int) int {
	if n <= 1 {
		return 0
	}
	return rapid.IntRange(0, n-1).Draw(h.t, "choice")
}

// chance is true once in n times.
func (h *history) chance(n int) bool { return h.draw(n) == n-1 }

func (h *history) check(t *rapid.T) {
	if h.violation != nil {
		fail(t, h.world, int(h.violation.rule))
	}
}

// fail ends a history. rapid tells failures apart by their stack, and shrinks one only to the like of it: each rule has
// a depth of its own.
func fail(t *rapid.T, w *world, depth int) {
	if depth > 0 {
		fail(t, w, depth-1)
	}
	t.Logf("the story:\n%s", strings.Join(w.story, "\n"))
	t.Fatalf("broken: %s: %s", w.violation.rule, w.violation.text)
}

// step is one thing that happens. What is listed first is most likely.
func (h *history) step() {
	switch n := h.draw(32); {
	case n < 3:
		h.podChanges()
	case n < 7:
		h.someoneSees()
	case n < 10:
		h.someoneLooks()
	case n < 15:
		h.requestMoves()
	case n < 18:
		h.someoneSettles()
	case n < 20:
		h.timePasses()
	case n < 24:
		h.podChanges()
	case n < 26:
		h.sourceChanges()
	case n < 27:
		h.garbageGoes()
	case n < 28:
		h.watchBreaks()
	case n < 29:
		h.processEnds()
	case n < 30:
		h.processBegins()
	case n < 31:
		h.wayIsBlocked()
	default:
		h.somebodyDamages()
	}
}

func (h *history) process() *process {
	if len(h.processes) == 0 {
		return nil
	}
	return h.processes[h.draw(len(h.processes))]
}

func (h *history) podChanges() {
	names := sortedNames(h.server.objects[pods])
	n := h.draw(12)
	if len(names) == 0 || n >= 9 {
		h.podComes()
		return
	}
	name := names[h.draw(len(names))]
	switch n {
	case 0, 1:
		h.ready(name, !isReady(h.server.pod(name)), h.skew())
	case 2, 3:
		h.terminate(name)
	case 4, 5:
		h.remove(name)
	case 6:
		app := []string{"other", "web"}[h.draw(2)]
		h.tell("pod %s: app=%s", name, app)
		_ = h.server.edit(pods, name, func(o client.Object) { o.(*corev1.Pod).Labels["app"] = app })
	case 7:
		phase := []corev1.PodPhase{corev1.PodFailed, corev1.PodRunning}[h.draw(2)]
		h.tell("pod %s: phase %s", name, phase)
		_ = h.server.edit(pods, name, func(o client.Object) { o.(*corev1.Pod).Status.Phase = phase })
	case 8:
		cost := []string{"5", "-5"}[h.draw(2)]
		h.tell("pod %s: deletion cost %s", name, cost)
		_ = h.server.edit(pods, name, func(o client.Object) { o.SetAnnotations(map[string]string{corev1.PodDeletionCost: cost}) })
	}
}

// podComes makes a pod, or another one of a name that there is.
func (h *history) podComes() {
	name := []string{"p3", "p1", "p2", "p4", "p5"}[h.draw(5)]
	if h.server.pod(name) != nil {
		h.remove(name)
	}
	h.addPod(newPod{name: name, revision: []string{"a", "b"}[h.draw(2)], ready: h.draw(3) < 2, oneFamily: h.chance(4),
		noPort: h.chance(6), skew: h.skew()})
}

// skew is how far a kubelet's clock is off.
func (h *history) skew() time.Duration {
	return []time.Duration{0, 0, -2 * time.Second, 2 * time.Second, time.Hour}[h.draw(5)]
}

func (h *history) someoneSees() {
	if p := h.process(); p != nil {
		k := kind(h.draw(int(kinds)))
		p.deliver(k, 1+h.draw(min(5, p.behind(k))))
	}
}

func (h *history) someoneLooks() {
	p := h.process()
	if p == nil || len(p.ready()) == 0 {
		return
	}
	key := p.ready()[h.draw(len(p.ready()))]
	if h.draw(2) == 0 {
		p.complete(key)
		return
	}
	p.begin(key)
}

func (h *history) requestMoves() {
	if len(h.network) == 0 {
		return
	}
	r := h.network[h.draw(len(h.network))]
	if r.arrived {
		if h.chance(3) {
			h.fail(r, errTimeout())
		} else {
			h.answer(r)
		}
		return
	}
	switch h.draw(8) {
	case 0, 1, 2, 3:
		h.arrive(r)
		h.answer(r)
	case 4, 5:
		h.arrive(r)
	case 6:
		h.fail(r, errTimeout())
	default:
		h.fail(r, h.refusal(r))
	}
}

func errTimeout() error { return errors.New("timed out") }

func (h *history) refusal(r *request) error {
	resource := kindOf(r.object).resource()
	switch h.draw(4) {
	case 0:
		return apierrors.NewConflict(resource, r.object.GetName(), errors.New("made up"))
	case 1:
		return apierrors.NewInternalError(errors.New("made up"))
	case 2:
		return apierrors.NewTooManyRequests("made up", 1)
	}
	return apierrors.NewForbidden(resource, r.object.GetName(), errors.New("made up"))
}

func (h *history) someoneSettles() {
	p := h.process()
	if p == nil || slices.ContainsFunc(h.network, func(r *request) bool { return r.process == p }) {
		return
	}
	h.tell("controller %s catches up", p.name)
	p.settle()
}

// timePasses also has everybody see what became of slices and Services, unless there are rivals: what the ledger has
// forgotten after ten seconds, only a rival can have changed.
func (h *history) timePasses() {
	d := []time.Duration{time.Millisecond, time.Second, 50 * time.Millisecond, 11 * time.Second, time.Minute}[h.draw(5)]
	h.tell("%s pass", d)
	if !h.rivals && d >= time.Second {
		for _, p := range h.processes {
			p.deliver(services, p.behind(services))
			p.deliver(endpointSlices, p.behind(endpointSlices))
		}
	}
	h.pass(d)
}

func (h *history) garbageGoes() {
	if garbage := h.server.garbage(); len(garbage) > 0 {
		h.collect(h.draw(len(garbage)))
	}
}

func (h *history) watchBreaks() {
	if p := h.process(); p != nil {
		p.relist(kind(h.draw(int(kinds))))
	}
}

func (h *history) processEnds() {
	if p := h.process(); p != nil {
		h.crash(p, h.rivals && h.draw(2) == 0)
	}
}

// processBegins starts a controller. Without rivals it takes over only from one that is gone.
func (h *history) processBegins() {
	if len(h.processes) >= 3 {
		return
	}
	var behind [kinds]int
	if h.rivals {
		for k := range behind {
			behind[k] = h.draw(4)
		}
	}
	p := h.begins([]time.Duration{0, time.Second, -3 * time.Second, 20 * time.Second}[h.draw(4)], behind)
	if h.rivals && h.draw(2) == 0 || !slices.ContainsFunc(h.processes, func(p *process) bool { return p.leading }) {
		p.elect()
	}
}

func (h *history) newSource(name string) {
	families := []corev1.IPFamily{corev1.IPv4Protocol}
	if h.dual {
		families = append(families, corev1.IPv6Protocol)
		if h.chance(3) {
			slices.Reverse(families)
		}
	}
	annotations := map[string]string{api.AnnotationEnabled: "true"}
	if h.chance(4) {
		annotations[api.AnnotationSticky] = "false"
	}
	if h.chance(4) {
		annotations[api.AnnotationMinReadyDuration] = "5s"
	}
	h.addSource(name, annotations, families...)
}

func (h *history) sourceChanges() {
	name := []string{"web", "api"}[h.draw(6)/5]
	if h.server.service(name) == nil {
		h.newSource(name)
		return
	}
	if h.source(name) == nil {
		return // a leader Service of that name
	}
	switch h.draw(13) {
	case 0, 1:
		h.annotate(name, api.AnnotationEnabled, []string{"false", "true", "", "yes", "true", "true"}[h.draw(6)])
	case 2, 3:
		h.annotate(name, api.AnnotationLeaderServiceName, []string{"other", "", "api-leader", "web", strings.Repeat("x", 64), "Not a name"}[h.draw(6)])
	case 4:
		h.annotate(name, api.AnnotationSticky, []string{"false", "", "maybe"}[h.draw(3)])
	case 5:
		h.annotate(name, api.AnnotationMinReadyDuration, []string{"5s", "", "20s", "-1s"}[h.draw(4)])
	case 6, 7:
		h.respec(name, func(s *corev1.ServiceSpec) {
			s.Selector = []map[string]string{{"app": "other"}, {"app": "web"}, nil}[h.draw(3)]
		})
	case 8:
		h.respec(name, func(s *corev1.ServiceSpec) {
			if s.Ports[0].TargetPort = intstr.FromString("http"); h.draw(2) == 0 {
				s.Ports[0].TargetPort = intstr.FromInt32(8080)
			}
		})
	case 9:
		if h.dual {
			h.respec(name, refamily)
		}
	case 10, 11:
		h.tell("Service %s is deleted", name)
		_ = h.server.delete(services, name, nil)
		if h.server.service(name) == nil && h.draw(2) == 0 {
			h.newSource(name)
		}
	case 12:
		h.tell("Service %s is being deleted, and a finalizer holds it or does no longer", name)
		_ = h.server.edit(services, name, func(o client.Object) {
			if o.SetFinalizers(nil); h.server.service(name).DeletionTimestamp == nil {
				o.SetFinalizers([]string{"example.com/held"})
			}
		})
		_ = h.server.delete(services, name, nil)
	}
}

// refamily adds the second family, or takes it away.
func refamily(s *corev1.ServiceSpec) {
	if len(s.IPFamilies) > 1 {
		s.IPFamilies, s.IPFamilyPolicy = s.IPFamilies[:1], ptr.To(corev1.IPFamilyPolicySingleStack)
		return
	}
	second := corev1.IPv6Protocol
	if s.IPFamilies[0] == second {
		second = corev1.IPv4Protocol
	}
	s.IPFamilies, s.IPFamilyPolicy = append(slices.Clip(s.IPFamilies), second), ptr.To(corev1.IPFamilyPolicyRequireDualStack)
}

func (h *history) respec(name string, do func(*corev1.ServiceSpec)) {
	_ = h.server.edit(services, name, func(o client.Object) { do(&o.(*corev1.Service).Spec) })
	spec := h.server.service(name).Spec
	h.tell("Service %s: selector %v target %s families %v", name, spec.Selector, spec.Ports[0].TargetPort.String(), spec.IPFamilies)
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{foreignMark: ""}}
}

func (h *history) wayIsBlocked() {
	k := []kind{services, endpointSlices}[h.draw(2)]
	name := []string{"other", "web-leader", "api-leader"}[h.draw(3)]
	if k == endpointSlices {
		name += []string{"-ipv4", "-ipv6"}[h.draw(2)]
	}
	if object := h.server.objects[k][name]; object != nil {
		if _, foreign := object.GetAnnotations()[foreignMark]; foreign {
			h.tell("somebody deletes %s of %s", name, k)
			_ = h.server.delete(k, name, nil)
		}
		return
	}
	h.inTheWay(k, name)
}

// somebodyDamages changes or deletes an object of ours.
func (h *history) somebodyDamages() {
	if !h.damage {
		return
	}
	var ours []client.Object
	for _, k := range []kind{services, endpointSlices} {
		for _, name := range sortedNames(h.server.objects[k]) {
			if ownerOf(h.server.objects[k][name]) != nil {
				ours = append(ours, h.server.objects[k][name])
			}
		}
	}
	if len(ours) == 0 {
		return
	}
	object := ours[h.draw(len(ours))]
	k, name := kindOf(object), object.GetName()
	how := h.draw(4)
	h.tell("somebody damages %s in way %d", content(object), how)
	if how == 0 {
		_ = h.server.delete(k, name, nil)
		h.judge.vanished()
		return
	}
	_ = h.server.edit(k, name, func(o client.Object) { damage(o, how) })
	h.judge.vanished()
}

func damage(object client.Object, how int) {
	switch o := object.(type) {
	case *discoveryv1.EndpointSlice:
		switch how {
		case 1:
			o.Endpoints, o.Ports = nil, nil
		case 2:
			delete(o.Annotations, api.AnnotationEpoch)
		case 3:
			delete(o.Labels, discoveryv1.LabelManagedBy)
		}
	case *corev1.Service:
		switch how {
		case 1:
			o.Spec.Selector = map[string]string{"app": "web"}
		case 2:
			o.Annotations = nil
		case 3:
			delete(o.Labels, api.LabelManagedBy)
		}
	}
}
