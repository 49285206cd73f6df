package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The namespaces of the contenders. Pods and Services in all of them are alike, and the EndpointSlice controller
// answers each pod event in each of them: beside zen-lead, beside the bare loop, and alone.
const (
	nsZenLead = "led"
	nsBare    = "bare"
	nsAlone   = "alone"
)

// patience is how long anything that takes milliseconds may take.
const patience = 30 * time.Second

// arena is a control plane with the same fleet for each contender, all of them running.
type arena struct {
	*bench
	observer   *observer
	controller *process
	manager    *process
	workloads  map[string][]*workload
}

// newArena returns once every slice is what it should be.
func newArena(ctx context.Context, b *bench, services int, namespaces ...string) (*arena, error) {
	a := &arena{bench: b, workloads: map[string][]*workload{}}
	f := newFleet()
	for _, namespace := range namespaces {
		a.workloads[namespace] = f.make(services, shape{namespace: namespace, prefix: namespace, optedIn: namespace == nsZenLead, pods: 3})
		made := objects(a.workloads[namespace])
		if namespace == nsBare {
			made = append(made, bareObjects(a.workloads[namespace])...)
		}
		if err := b.plane.store.put(ctx, made...); err != nil {
			return nil, err
		}
	}
	var err error
	if a.observer, err = observe(ctx, b.plane.client, true); err != nil {
		return nil, err
	}
	if a.manager, err = b.plane.startManager(); err != nil {
		return nil, err
	}
	if _, ok := a.workloads[nsBare]; ok {
		if err := a.startBare(ctx); err != nil {
			return nil, err
		}
	}
	if a.controller, err = b.plane.startController(); err != nil {
		return nil, err
	}
	if _, err = a.controller.waitReady(ctx, time.Minute); err != nil {
		return nil, err
	}
	return a, a.settled(ctx)
}

// bareObjects are the leader Services and slices of the bare loop, which makes none itself.
func bareObjects(workloads []*workload) []object {
	var made []object
	for _, w := range workloads {
		slice := bareSlice(w.service.Name, w.pods[0])
		slice.UID, slice.CreationTimestamp = newUID(), metav1.Now()
		service := w.service.DeepCopy()
		service.ObjectMeta = metav1.ObjectMeta{Namespace: nsBare, Name: w.service.Name + "-leader", UID: newUID(), CreationTimestamp: metav1.Now()}
		service.Spec.Selector = nil
		service.Spec.ClusterIP, service.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
		made = append(made, service, slice)
	}
	return made
}

func (a *arena) startBare(ctx context.Context) error {
	bare, err := a.plane.startBare(nsBare)
	if err != nil {
		return err
	}
	_, err = bare.waitReady(ctx, time.Minute)
	return err
}

// settled returns once all slices of all contenders are complete.
func (a *arena) settled(ctx context.Context) error {
	missing, example := 0, ""
	err := a.observer.waitForMany(ctx, 5*time.Minute, "all slices to be complete", func() bool {
		missing, example = a.incomplete()
		return missing == 0
	})
	if err != nil && missing > 0 {
		err = fmt.Errorf("%w: %d are not, one of them %s", err, missing, example)
	}
	return err
}

// incomplete counts the slices that are not yet what they should be, and names one. The observer is locked.
func (a *arena) incomplete() (n int, example string) {
	for namespace, workloads := range a.workloads {
		for _, w := range workloads {
			if len(a.observer.slices[managed(w)].ready) != len(w.pods) {
				n, example = n+1, managed(w).service
			}
			if namespace != nsAlone && a.observer.leader(led(w)) == "" {
				n, example = n+1, led(w).service
			}
		}
	}
	return n, example
}

// managed is the slice of the Service itself, led that of its leader Service.
func managed(w *workload) sliceKey { return sliceKey{byManager, w.service.Namespace, w.service.Name} }

func led(w *workload) sliceKey {
	manager := byZenLead
	if w.service.Namespace == nsBare {
		manager = byBare
	}
	return sliceKey{manager, w.service.Namespace, w.service.Name + "-leader"}
}

// victim is the pod whose failure is to be answered: the leader if there is one.
func (a *arena) victim(w *workload) *corev1.Pod {
	a.observer.mu.Lock()
	defer a.observer.mu.Unlock()
	leader := a.observer.leader(led(w))
	if i := slices.IndexFunc(w.pods, func(p *corev1.Pod) bool { return p.Name == leader }); i >= 0 {
		return w.pods[i]
	}
	return w.pods[0]
}

// failover is how long after the pod's event the two slices changed.
type failover struct {
	leader, managed time.Duration
	// seen is when the observer saw the pod's event, and moved when it saw the leader slice's.
	seen, moved time.Time
}

// fail makes a pod not Ready through the API, as its kubelet would, and returns when everybody has answered.
func (a *arena) fail(ctx context.Context, w *workload) (failover, error) {
	pod := a.victim(w)
	if err := a.writeReady(ctx, pod, false); err != nil {
		return failover{}, err
	}
	var f failover
	o, lead := a.observer, w.service.Namespace != nsAlone
	err := o.wait(ctx, patience, "the answer to the failure of "+pod.Name, func() bool {
		seen := o.pods[pod.Namespace+"/"+pod.Name]
		if seen.ready || o.publishes(managed(w), pod.Name) || lead && (o.publishes(led(w), pod.Name) || o.leader(led(w)) == "") {
			return false
		}
		f.seen, f.moved = seen.since, o.slices[led(w)].since
		f.managed = o.slices[managed(w)].since.Sub(f.seen)
		if lead {
			f.leader = f.moved.Sub(f.seen)
		}
		return true
	})
	if err != nil {
		return f, errors.Join(err, a.unanswered(ctx, w, pod))
	}
	if err := a.writeReady(ctx, pod, true); err != nil {
		return f, err
	}
	return f, o.wait(ctx, patience, "the return of "+pod.Name, func() bool { return o.publishes(managed(w), pod.Name) })
}

// unanswered tells who did not answer the failure of a pod, by what the API server has and by what the observer saw.
func (a *arena) unanswered(ctx context.Context, w *workload, pod *corev1.Pod) error {
	list, err := a.plane.client.DiscoveryV1().EndpointSlices(pod.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("failed to list slices: %w", err)
	}
	now := &observer{pods: map[string]podSight{}, slices: map[sliceKey]sliceSight{}}
	for i := range list.Items {
		now.seeSlice(&list.Items[i], time.Now())
	}
	current, err := a.plane.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("failed to get pod %s: %w", pod.Name, err)
	}
	a.observer.mu.Lock()
	defer a.observer.mu.Unlock()
	seen := a.observer
	return fmt.Errorf("pod %s: ready %t, seen %t; leader slice: %v, seen %v; slice of the Service: %v, seen %v", pod.Name,
		isReady(current), seen.pods[pod.Namespace+"/"+pod.Name].ready, now.slices[led(w)].ready, seen.slices[led(w)].ready,
		now.slices[managed(w)].ready, seen.slices[managed(w)].ready)
}

func (a *arena) writeReady(ctx context.Context, pod *corev1.Pod, ready bool) error {
	setReady(pod, ready)
	sent := pod.DeepCopy()
	sent.ResourceVersion = ""
	if _, err := a.plane.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, sent, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("failed to write the status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// runSerial lets one leader fail after the other, the contenders taking turns in random order.
func runSerial(ctx context.Context, b *bench) error {
	const services = 20
	a, err := newArena(ctx, b, services, nsZenLead, nsBare, nsAlone)
	if err != nil {
		return err
	}
	namespaces := []string{nsZenLead, nsBare, nsAlone}
	leader, beside, each := map[string][]time.Duration{}, map[string][]time.Duration{}, map[string][]failover{}
	since, err := b.plane.mark()
	if err != nil {
		return err
	}
	rounds := b.size(30, 3)
	for round := range rounds {
		if round%10 == 0 {
			b.say("round %d of %d", round, rounds)
		}
		for i := range services {
			rand.Shuffle(len(namespaces), func(i, j int) { namespaces[i], namespaces[j] = namespaces[j], namespaces[i] })
			for _, namespace := range namespaces {
				f, err := a.fail(ctx, a.workloads[namespace][i])
				if err != nil {
					return err
				}
				if namespace != nsAlone {
					name := a.workloads[namespace][i].service.Name + "-leader-ipv4"
					each[name] = append(each[name], f)
				}
				leader[namespace] = append(leader[namespace], f.leader)
				beside[namespace] = append(beside[namespace], f.managed)
				pause(ctx, time.Duration(20+rand.IntN(20))*time.Millisecond)
			}
		}
	}
	a.reportSerial(leader, beside)
	for _, user := range []string{userZenLead, userBare} {
		if err := a.reportWaits(user, since, each); err != nil {
			return err
		}
	}
	return a.reportWrites(ctx, since, rounds*services)
}

func (a *arena) reportSerial(leader, beside map[string][]time.Duration) {
	zen, bare := a.samples("zen-lead", leader[nsZenLead]), a.samples("bare loop", leader[nsBare])
	stock := a.samples("EndpointSlice controller, same events as zen-lead", beside[nsZenLead])
	a.samples("EndpointSlice controller, same events as the bare loop", beside[nsBare])
	a.samples("EndpointSlice controller, alone", beside[nsAlone])
	a.check(zen.P50 <= 1.2*bare.P50, "serial failover, p50", "at most 1.2x of the bare loop", "%.2fx (%.2f ms to %.2f ms, n=%d)", zen.P50/bare.P50, zen.P50, bare.P50, zen.Count)
	a.check(zen.P99 <= 1.5*bare.P99, "serial failover, p99", "at most 1.5x of the bare loop", "%.2fx (%.2f ms to %.2f ms)", zen.P99/bare.P99, zen.P99, bare.P99)
	a.check(zen.P50 <= stock.P50 && zen.P99 <= stock.P99, "serial failover", "not slower than the EndpointSlice controller",
		"p50 %.2fx, p99 %.2fx (%.2f ms, %.2f ms)", zen.P50/stock.P50, zen.P99/stock.P99, stock.P50, stock.P99)
}

// reportWaits tells where the time of the failovers went, by when the API server received and answered the writes.
func (a *arena) reportWaits(user string, since mark, each map[string][]failover) error {
	lines, err := a.plane.requests(user, since)
	if err != nil {
		return err
	}
	var before, within, after []time.Duration
	next := map[string]int{}
	for i := range lines {
		l := &lines[i]
		name := l.Object.Name
		if l.Verb != "update" || l.Object.Resource != "endpointslices" || next[name] >= len(each[name]) {
			continue
		}
		f := each[name][next[name]]
		next[name]++
		before, within, after = append(before, l.Received.Sub(f.seen)), append(within, l.Completed.Sub(l.Received)), append(after, f.moved.Sub(l.Completed))
	}
	a.samples(user+": pod event seen to write received", before)
	a.samples(user+": write received to answered", within)
	a.samples(user+": write answered to slice event seen", after)
	return nil
}

// reportWrites checks what zen-lead wrote in so many failovers, each followed by the return of the failed pod, which
// must cost nothing.
func (a *arena) reportWrites(ctx context.Context, since mark, failovers int) error {
	pause(ctx, time.Second) // Events are sent in the background
	counts, err := a.plane.writes(userZenLead, since)
	if err != nil {
		return err
	}
	slices, mirrors := counts["update endpointslices"], counts["patch services"]
	events := counts["create events"] + counts["patch events"] + counts["update events"]
	others := sum(counts) - slices - mirrors - events
	per := func(n int) float64 { return float64(n) / float64(failovers) }
	a.number("slice writes per failover", per(slices), "")
	a.number("leader Service writes per failover", per(mirrors), "")
	a.number("Events written per failover", per(events), "")
	a.check(slices == failovers && mirrors <= failovers && others == 0, "writes per failover and per return of the failed pod", "1 per family and at most 1 mirror; 0",
		"%d failovers: %d slice writes, %d mirrors, %d others (and %d Events)", failovers, slices, mirrors, others, events)
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
