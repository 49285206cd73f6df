package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/routing"
)

// profile is what a history may contain beside the ordinary. It decides which rules hold between objects: the
// API server knows no transaction over two of them.
type profile struct {
	// rivals: two processes may both believe that they lead, requests of dead ones may arrive, and a new process may
	// begin with an old state of the world.
	rivals bool
	// damage: users change and delete what is ours.
	damage bool
}

// world is everything that a history happens to. One goroutine acts; those of reconciliations run only while it waits
// for all of them to have come to a request, or to their end.
type world struct {
	profile
	now       time.Time
	server    *server
	processes []*process
	started   int
	network   []*request
	story     []string
	judge

	mu       sync.Mutex
	incoming []*request
}

func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newWorld(p profile) *world {
	w := &world{profile: p, now: start()}
	w.server = newServer(func() time.Time { return w.now })
	w.judge = judge{world: w, recorded: map[string]map[int64]string{}, names: map[string]map[string]bool{}}
	return w
}

// tell adds a line to the story.
func (w *world) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%8s  ", w.now.Sub(start()).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// wait lets the reconciliations under way run until each has come to a request or to its end.
func (w *world) wait() {
	synctest.Wait()
	w.mu.Lock()
	slices.SortFunc(w.incoming, func(a, b *request) int { return cmp.Compare(a.id(), b.id()) })
	w.network = append(w.network, w.incoming...)
	w.incoming = nil
	w.mu.Unlock()
	for _, p := range w.processes {
		for _, key := range slices.Sorted(maps.Keys(p.passes)) {
			if p.passes[key].ended {
				p.passes[key].finish()
			}
		}
	}
}

// begins starts a process with the state of the world as it was some events ago.
func (w *world) begins(skew time.Duration, behind [kinds]int) *process {
	name := string(rune('A' + w.started%26))
	w.started++
	p := w.newProcess(name, skew)
	w.processes = append(w.processes, p)
	w.tell("controller %s starts, its clock %s off, behind by %v events", name, skew, behind)
	for k := range p.views {
		p.list(kind(k), max(0, len(w.server.log[k])-behind[k]))
	}
	return p
}

// elect makes a process believe that it leads.
func (p *process) elect() {
	if !p.leading {
		p.leading = true
		close(p.elected)
		p.tell("controller %s believes that it leads", p.name)
	}
}

// crash ends a process. Its requests under way are lost, or arrive without it.
func (w *world) crash(p *process, arrive bool) {
	w.tell("controller %s dies", p.name)
	w.mu.Lock()
	p.dead = true
	w.mu.Unlock()
	w.processes = slices.DeleteFunc(w.processes, func(q *process) bool { return q == p })
	var kept []*request
	for _, r := range w.network {
		if r.process != p {
			kept = append(kept, r)
			continue
		}
		if arrive && !r.arrived && r.verb != "get" {
			orphan := *r
			kept = append(kept, &orphan)
		}
		r.reply, r.err = nil, errDead
		close(r.done)
	}
	w.network = kept
	w.wait()
}

// close ends all processes.
func (w *world) close() {
	for len(w.processes) > 0 {
		w.crash(w.processes[0], false)
	}
}

// arrive has a request reach the API server.
func (w *world) arrive(r *request) {
	k, name := kindOf(r.object), r.object.GetName()
	before := w.server.objects[k][name]
	switch r.verb {
	case "create":
		r.reply, r.err = w.server.create(r.object)
	case "update":
		r.reply, r.err = w.server.update(r.object)
	case "patch":
		r.reply, r.err = w.server.patch(name, r.data)
	case "delete":
		r.err = w.server.delete(k, name, r.uid)
	case "get":
		if r.reply = before; before == nil {
			r.err = notFound(k, name)
		}
	}
	r.arrived = true
	outcome := "done"
	if r.err != nil {
		outcome = "refused: " + r.err.Error()
	}
	w.tell("  %s: %s %s: %s", r.name, r.verb, content(r.object), outcome)
	if r.err == nil && r.verb != "get" {
		w.judge.wrote(r, before, w.server.objects[k][name])
	}
}

// answer lets the process go on with what became of a request.
func (w *world) answer(r *request) {
	w.network = slices.DeleteFunc(w.network, func(other *request) bool { return other == r })
	if r.dead {
		return
	}
	if kindOf(r.object) == endpointSlices && !r.decided { // it asked what became of a slice: the rest it reads now
		r.seen = r.look(r.key, r.seen.source, r.seen.noted)
	}
	close(r.done)
	w.wait()
}

// fail answers a request with an error. If it had not arrived it never does.
func (w *world) fail(r *request, err error) {
	w.tell("  %s: %s %s fails: %v", r.name, r.verb, content(r.object), err)
	r.reply, r.err = nil, err
	w.answer(r)
}

func (w *world) requestOf(ps *pass) *request {
	for _, r := range w.network {
		if r.pass == ps {
			return r
		}
	}
	return nil
}

// collect deletes one object whose owner is gone, as Kubernetes' garbage collector does in its own time.
func (w *world) collect(n int) {
	garbage := w.server.garbage()
	object := garbage[n%len(garbage)]
	w.tell("the garbage collector deletes %s", content(object))
	_ = w.server.delete(kindOf(object), object.GetName(), ptr.To(object.GetUID()))
	w.judge.vanished()
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, p := range w.processes {
		p.clock.SetTime(w.now.Add(p.skew))
	}
}

// newPod is a Running pod that is not Ready.
type newPod struct {
	name, revision string
	oneFamily      bool
	noPort         bool
	ready          bool
	skew           time.Duration // of the kubelet's clock
}

func (w *world) addPod(n newPod) {
	number := w.server.born + 1
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{"app": "web", "pod-template-hash": n.revision},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-" + n.revision, UID: "rs", Controller: ptr.To(true)}}},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", number%2), Containers: []corev1.Container{{Name: "app",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.1.0.%d", number)}, {IP: fmt.Sprintf("fd00::%x", number)}}},
	}
	if n.oneFamily {
		pod.Status.PodIPs = pod.Status.PodIPs[:1]
	}
	if n.noPort {
		pod.Spec.Containers[0].Ports = nil
	}
	setReady(pod, n.ready, w.now.Add(n.skew))
	w.must(w.server.create(pod))
	w.tell("pod %s: ready=%t revision %s oneFamily=%t noPort=%t", n.name, n.ready, n.revision, n.oneFamily, n.noPort)
}

func (w *world) must(_ client.Object, err error) {
	if err != nil {
		panic(err)
	}
}

func setReady(pod *corev1.Pod, ready bool, since time.Time) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(since.Truncate(time.Second))}}
}

func (w *world) ready(name string, ready bool, skew time.Duration) {
	if isReady(w.server.pod(name)) == ready {
		return
	}
	w.tell("pod %s becomes ready=%t", name, ready)
	_ = w.server.edit(pods, name, func(o client.Object) { setReady(o.(*corev1.Pod), ready, w.now.Add(skew)) })
}

func (w *world) terminate(name string) {
	if w.server.pod(name).DeletionTimestamp != nil {
		return
	}
	w.tell("pod %s is to go", name)
	pod := w.server.pod(name).DeepCopy()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(w.now.Add(30*time.Second))), ptr.To(int64(30))
	w.server.commit(pod)
}

func (w *world) remove(name string) {
	w.tell("pod %s is gone", name)
	_ = w.server.delete(pods, name, nil)
}

// addSource makes a Service that selects app=web.
func (w *world) addSource(name string, annotations map[string]string, families ...corev1.IPFamily) {
	policy := corev1.IPFamilyPolicySingleStack
	if len(families) > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	w.must(w.server.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: maps.Clone(annotations)},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, IPFamilies: families, IPFamilyPolicy: &policy,
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}},
	}))
	w.tell("Service %s is made: %v %v", name, annotations, families)
}

func (w *world) annotate(name, key, value string) {
	w.tell("Service %s: %s=%q", name, strings.TrimPrefix(key, api.Prefix), value)
	_ = w.server.edit(services, name, func(o client.Object) {
		annotations := maps.Clone(o.GetAnnotations())
		if annotations == nil {
			annotations = map[string]string{}
		}
		if annotations[key] = value; value == "" {
			delete(annotations, key)
		}
		o.SetAnnotations(annotations)
	})
}

func (w *world) source(name string) *corev1.Service {
	service := w.server.service(name)
	if service == nil || routing.OwnerService(service) != nil {
		return nil
	}
	return service
}

func sortedNames(objects map[string]client.Object) []string { return slices.Sorted(maps.Keys(objects)) }

func labelsOf(object client.Object) labels.Set { return object.GetLabels() }

func ownerOf(object client.Object) *metav1.OwnerReference { return routing.OwnerService(object) }

// describe is an event in the story.
func describe(c change) string {
	if c.deleted {
		return content(c.object) + " go"
	}
	return content(c.object)
}

// content is an object in the story.
func content(object client.Object) string {
	name := object.GetName()
	switch object := object.(type) {
	case *corev1.Pod:
		return fmt.Sprintf("pod %s(%s ready=%t going=%t app=%s)", name, object.UID, isReady(object), object.DeletionTimestamp != nil, object.Labels["app"])
	case *discoveryv1.EndpointSlice:
		l := published(object)
		return fmt.Sprintf("slice %s(%s ready=%t epoch %d)", name, cmp.Or(l.leader, "nobody"), l.ready, l.epoch)
	case *corev1.Service:
		if epoch := object.Annotations[api.AnnotationEpoch]; epoch != "" {
			return fmt.Sprintf("Service %s(%s epoch %s)", name, object.Annotations[api.AnnotationLeaderPodUID], epoch)
		}
	}
	return "Service " + name
}
