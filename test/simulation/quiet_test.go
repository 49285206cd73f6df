package simulation

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/routing"
)

// patience is how long a world that has become quiet may take to come right: more than any wait or back-off.
const patience = 2 * time.Minute

// settle lets a process see and do all that it can at once; true if there was anything.
func (p *process) settle() (busy bool) {
	for round := 0; p.violation == nil; round++ {
		moved := false
		for k := range kinds {
			if n := p.behind(k); n > 0 {
				p.deliver(k, n)
				moved = true
			}
		}
		for _, key := range p.ready() {
			p.complete(key)
			moved = true
		}
		if !moved {
			break
		}
		busy = true
		if round > 200 {
			p.violate(comesToRest, "%s goes on and on", p.name)
		}
	}
	return busy
}

// quiet ends a history: nothing fails any more and nobody changes anything but the controllers and the garbage
// collector. What they do not do of themselves now, they never do.
func (w *world) quiet() {
	w.tell("from here on the world is quiet")
	for len(w.network) > 0 {
		r := w.network[0]
		if !r.arrived {
			w.arrive(r)
		}
		w.answer(r)
	}
	if len(w.processes) == 0 {
		w.begins(0, [kinds]int{})
	}
	if !slices.ContainsFunc(w.processes, func(p *process) bool { return p.leading }) {
		w.processes[0].elect()
	}
	w.rest(patience)
	w.judge.end()
	w.silent()
}

// rest runs everything, and every timer within a while.
func (w *world) rest(while time.Duration) {
	end := w.now.Add(while)
	for round := 0; w.violation == nil; round++ {
		busy := false
		for _, p := range w.processes {
			busy = p.settle() || busy
		}
		for len(w.server.garbage()) > 0 {
			w.collect(0)
			busy = true
		}
		if busy {
			if round > 3000 {
				w.violate(comesToRest, "the controllers go on and on")
			}
			continue
		}
		next := w.nextTimer()
		if next.IsZero() || next.After(end) {
			w.pass(end.Sub(w.now))
			return
		}
		w.pass(next.Sub(w.now))
	}
}

func (w *world) nextTimer() time.Time {
	var next time.Time
	for _, p := range w.processes {
		for _, at := range p.queue {
			if p.leading && at.After(w.now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next
}

// silent checks that nothing more is written, whatever is looked at again and again.
func (w *world) silent() {
	before := w.judge.writes
	w.tell("everything is looked at once more")
	for _, p := range w.processes {
		for k := range kinds {
			p.relist(k)
		}
		for _, name := range sortedNames(w.server.objects[services]) {
			p.enqueue(name, 0)
		}
	}
	w.rest(time.Hour)
	if w.judge.writes != before {
		w.violate(quietInTheEnd, "%d writes in a quiet world", w.judge.writes-before)
	}
}

// end checks what every Service has come to.
func (j *judge) end() {
	s := j.world.server
	for _, name := range sortedNames(s.objects[services]) {
		if source := j.world.source(name); source != nil && !j.foreign(source) {
			j.endOf(source)
		}
	}
	if garbage := s.garbage(); len(garbage) > 0 {
		j.violate(rightInTheEnd, "%s is left", content(garbage[0]))
	}
}

// foreign tells whether a Service is one that users put in the way of a leader Service's name.
func (j *judge) foreign(service *corev1.Service) bool {
	_, ok := service.Annotations[foreignMark]
	return ok
}

// ours are the objects of a source. A slice without the label by which the cache finds ours is beyond the controller's
// sight, unless it is about to write it.
func (j *judge) ours(source *corev1.Service) (made []*corev1.Service, found []*discoveryv1.EndpointSlice) {
	s := j.world.server
	for _, name := range sortedNames(s.objects[services]) {
		if o := ownerOf(s.service(name)); o != nil && o.UID == source.UID {
			made = append(made, s.service(name))
		}
	}
	for _, name := range sortedNames(s.objects[endpointSlices]) {
		if o := ownerOf(s.slice(name)); o != nil && o.UID == source.UID && watched(s.slice(name)) {
			found = append(found, s.slice(name))
		}
	}
	return made, found
}

func (j *judge) endOf(source *corev1.Service) {
	settings := settingsOf(source)
	made, found := j.ours(source)
	exists := len(made)+len(found) > 0
	if settings.OptIn == api.OptedOut || settings.OptIn == api.OptInUnclear && !exists {
		if exists {
			j.violate(rightInTheEnd, "Service %s is not opted in, and there are %d Services and %d slices of it", source.Name, len(made), len(found))
		}
		return
	}
	name, refused := settings.LeaderServiceName, routing.Unsupported(source) != nil || len(settings.LeaderServiceName) > maxName
	if named := j.world.server.service(name); !refused && named != nil && (ownerOf(named) == nil || ownerOf(named).UID != source.UID) {
		i := slices.IndexFunc(made, func(s *corev1.Service) bool { return s.Name != name })
		if refused = i < 0; !refused {
			name = made[i].Name
		}
	}
	if refused {
		for _, slice := range found {
			if len(slice.Endpoints) > 0 {
				j.violate(rightInTheEnd, "Service %s cannot be routed, but %s", source.Name, content(slice))
			}
		}
		return
	}
	j.routed(source, name, made, found)
}

// routed checks a Service that is to have the leader Service called name.
func (j *judge) routed(source *corev1.Service, name string, made []*corev1.Service, found []*discoveryv1.EndpointSlice) {
	taken := false
	var leading term
	for i, family := range source.Spec.IPFamilies {
		slice := j.world.server.slice(routing.SliceName(name, family))
		switch {
		case source.DeletionTimestamp != nil && (slice == nil || !watched(slice)): // nothing is made any more, and so nothing found
			return
		case slice == nil:
			j.violate(rightInTheEnd, "there is no slice %s", routing.SliceName(name, family))
			return
		case ownerOf(slice) == nil || ownerOf(slice).UID != source.UID:
			taken = true
			continue
		}
		if i == 0 {
			leading = published(slice)
			j.leads(source, slice, leading)
		}
		j.follows(source, slice, leading, taken)
	}
	if source.DeletionTimestamp != nil {
		return
	}
	if taken { // the primary family may be routed all the same
		if ours := leading != (term{}); ours && len(made) == 1 && made[0].Name == name && made[0].DeletionTimestamp == nil {
			j.mirrors(source, made[0], leading)
		}
		return
	}
	if len(made) != 1 || made[0].Name != name || len(found) != len(source.Spec.IPFamilies) {
		j.violate(rightInTheEnd, "Service %s has %d leader Services and %d slices", source.Name, len(made), len(found))
		return
	}
	if made[0].DeletionTimestamp == nil {
		j.mirrors(source, made[0], leading)
	}
}

// leads checks that the published pod is the one that may lead in the real state of the world.
func (j *judge) leads(source *corev1.Service, slice *discoveryv1.EndpointSlice, is term) {
	var all []*corev1.Pod
	for _, name := range sortedNames(j.world.server.objects[pods]) {
		all = append(all, j.world.server.pod(name))
	}
	var may, last []string
	for _, pod := range all {
		switch {
		case eligible(source, pod):
			may = append(may, string(pod.UID))
		case usable(source, pod):
			last = append(last, string(pod.UID))
		}
	}
	switch {
	case is.leader == "" && len(may)+len(last) > 0:
		j.violate(rightInTheEnd, "%s although %v could lead and %v could serve", content(slice), may, last)
	case is.ready && !slices.Contains(may, is.leader):
		j.violate(rightInTheEnd, "%s but only %v may lead", content(slice), may)
	case is.leader != "" && !is.ready && (len(may) > 0 || !slices.Contains(last, is.leader)):
		j.violate(rightInTheEnd, "%s but %v may lead and %v serve", content(slice), may, last)
	}
	for _, p := range j.world.processes {
		if d := decide(p.clock.Now(), source, all, is.leader); p.leading && (string(d.Leader) != is.leader || d.Fallback == is.ready && is.leader != "") {
			j.violate(decideNamesIt, "%s but Decide names %q (fallback %t)", content(slice), d.Leader, d.Fallback)
		}
	}
}

// follows checks that a slice publishes the leader, if it has an address in its family.
func (j *judge) follows(source *corev1.Service, slice *discoveryv1.EndpointSlice, leading term, taken bool) {
	if taken {
		return
	}
	is, want := published(slice), leading
	for _, object := range j.world.server.objects[pods] {
		if pod := object.(*corev1.Pod); string(pod.UID) == leading.leader && addressOf(pod, corev1.IPFamily(slice.AddressType)) == "" {
			want.leader, want.ready = "", false
		}
	}
	if is != want {
		j.violate(rightInTheEnd, "%s is to say %+v", content(slice), want)
	}
	if len(slice.Endpoints) > 0 && len(slice.Ports) != len(source.Spec.Ports) {
		j.violate(rightInTheEnd, "%s has the ports %v", content(slice), slice.Ports)
	}
}

// mirrors checks the leader Service.
func (j *judge) mirrors(source, leader *corev1.Service, is term) {
	want := routing.DesiredLeaderService(source, leader.Name, routing.ReadLeadership(nil, []*corev1.Service{leader}), leader)
	epoch := ""
	if is.epoch > 0 {
		epoch = strconv.FormatInt(is.epoch, 10)
	}
	switch {
	case routing.LeaderServiceChanged(leader, want) || len(leader.Spec.Selector) > 0:
		j.violate(rightInTheEnd, "%s is not as it is to be: %+v", content(leader), leader.Spec)
	case leader.Annotations[api.AnnotationLeaderPodUID] != is.leader || leader.Annotations[api.AnnotationEpoch] != epoch:
		j.violate(rightInTheEnd, "%s tells of %s epoch %s, not of %+v", content(leader),
			cmp.Or(leader.Annotations[api.AnnotationLeaderPodUID], "nobody"), leader.Annotations[api.AnnotationEpoch], is)
	}
}

// foreignMark is the annotation of Services and slices that stand in the way.
const foreignMark = "foreign"

func uidOf(s string) types.UID { return types.UID(s) }

// inTheWay makes a Service or slice that is not ours.
func (w *world) inTheWay(k kind, name string) {
	if w.server.objects[k][name] != nil {
		return
	}
	w.tell("somebody makes a %s of %s", name, k)
	if k == services {
		w.must(w.server.create(&corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}))
		return
	}
	w.must(w.server.create(&discoveryv1.EndpointSlice{ObjectMeta: meta(name), AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.9.9.9"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}}}))
}
