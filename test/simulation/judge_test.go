package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
	"github.com/kube-zen/zen-lead/src/routing"
)

// rule is one of the invariants.
type rule int

const (
	noPanic rule = iota
	oneEndpoint
	eligibleInView
	noNeedlessSwitch
	epochGrows
	foreignObject
	decideNamesIt
	oneWrite
	noIdleWrite
	comesToRest
	rightInTheEnd
	quietInTheEnd
	oneMovePerRollout
)

func (r rule) String() string {
	return [...]string{"no panic", "at most one endpoint", "published only who was eligible in what the controller saw", "no needless switch",
		"the epoch grows", "no write to a foreign object", "the published pod is the one that Decide names", "a failover is one write for each family",
		"nothing is written that is already so", "the world comes to rest", "right in the end", "quiet in the end", "one move per rollout"}[r]
}

type violation struct {
	rule rule
	text string
}

// judge looks at every write of a controller that the API server accepts. It knows nothing of the reconciler's
// workings; where it can, it does not use the project's own packages either.
type judge struct {
	world     *world
	violation *violation
	writes    int
	// recorded are, for each source by UID, who led in which epoch, as far as some object still says that it was reached.
	recorded map[string]map[int64]string
	// names are, for each source by UID, the slices that it ever had.
	names map[string]map[string]bool
}

// violate notes the first breach of a rule.
func (j *judge) violate(r rule, format string, args ...any) {
	if j.violation == nil {
		j.violation = &violation{rule: r, text: fmt.Sprintf(format, args...)}
	}
}

// term is what a slice says.
type term struct {
	leader string
	ready  bool
	epoch  int64
}

func published(object client.Object) term {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok || slice == nil {
		return term{}
	}
	t := term{epoch: epochOf(slice)}
	if len(slice.Endpoints) > 0 {
		e := &slice.Endpoints[0]
		if e.TargetRef != nil {
			t.leader = string(e.TargetRef.UID)
		}
		t.ready = e.Conditions.Ready != nil && *e.Conditions.Ready
	}
	return t
}

func epochOf(object client.Object) int64 {
	epoch, _ := strconv.ParseInt(object.GetAnnotations()[api.AnnotationEpoch], 10, 64)
	return epoch
}

// wrote judges a write; before is nil for a creation, after for a deletion.
func (j *judge) wrote(r *request, before, after client.Object) {
	j.writes++
	source := r.seen.source
	switch {
	case source == nil:
		j.violate(foreignObject, "%s wrote %s although it had seen no Service %s", r.name, content(r.object), r.key)
		return
	case before != nil && (ownerOf(before) == nil || ownerOf(before).UID != source.UID):
		j.violate(foreignObject, "%s: %s %s, which is not owned by %s", r.name, r.verb, content(before), source.UID)
	case after != nil && (ownerOf(after) == nil || ownerOf(after).UID != source.UID):
		j.violate(foreignObject, "%s: %s %s leaves it without owner %s", r.name, r.verb, content(after), source.UID)
	case before == nil && source.DeletionTimestamp != nil:
		j.violate(foreignObject, "%s created %s for a Service that is being deleted", r.name, content(after))
	case before != nil && after != nil && equality.Semantic.DeepEqual(before, after):
		j.violate(noIdleWrite, "%s: %s %s changes nothing", r.name, r.verb, content(before))
	}
	id := kindOf(r.object).String() + r.object.GetName()
	if r.verb != "delete" {
		r.wrote[id]++
	}
	if r.wrote[id] > 1 {
		j.violate(oneWrite, "%s wrote %s twice in one pass", r.name, content(r.object))
	}
	if slice, ok := after.(*discoveryv1.EndpointSlice); ok {
		old, _ := before.(*discoveryv1.EndpointSlice)
		j.slice(r, old, slice)
	} else if r.moved != "" {
		j.violate(oneWrite, "%s: %s %s in the pass in which a failover wrote slice %s", r.name, r.verb, content(r.object), r.moved)
	}
	if after == nil {
		j.vanished()
	}
}

// slice judges what a slice says after a write.
func (j *judge) slice(r *request, before, after *discoveryv1.EndpointSlice) {
	owner := string(r.seen.source.UID)
	if j.names[owner] == nil {
		j.names[owner] = map[string]bool{}
	}
	j.names[owner][after.Name] = true
	var old client.Object
	if before != nil {
		old = before
	}
	was, is := published(old), published(after)
	if len(after.Endpoints) > 1 {
		j.violate(oneEndpoint, "%s has %d endpoints", content(after), len(after.Endpoints))
	}
	if before != nil && !watched(before) && is == was {
		return // it comes in sight again: nothing has been decided
	}
	j.endpoint(r, after)
	top := was
	if !j.world.rivals {
		top = j.highest(owner, before)
	}
	switch {
	case is.epoch < top.epoch && (is.leader != "" || is.epoch < was.epoch):
		j.violate(epochGrows, "%s after epoch %d", content(after), top.epoch)
	case is.leader != "" && is.epoch < 1:
		j.violate(epochGrows, "%s leads without an epoch", content(after))
	case is.leader != "" && was.leader != is.leader && before != nil && is.epoch <= was.epoch && !j.ledOn(after, is) && !j.world.damage:
		j.violate(epochGrows, "%s after %s: the epoch did not grow", content(after), content(before))
	case is.leader != "" && was.leader != "" && was.leader != is.leader && is.epoch <= was.epoch:
		j.violate(epochGrows, "%s after %s: two leaders in one epoch of a slice", content(after), content(before))
	}
	if is.epoch > top.epoch && is.leader != "" {
		j.newTerm(r, after, top, is)
	}
	if is.leader == "" { // in a family in which it has no address, a leader is named by annotation
		is.leader = after.Annotations[api.AnnotationLeaderPodUID]
	}
	if is.leader != "" {
		j.record(owner, is, content(after))
	}
}

// record notes who leads in an epoch. Between objects, one epoch has one leader only where there is one writer.
func (j *judge) record(owner string, is term, text string) {
	if j.recorded[owner] == nil {
		j.recorded[owner] = map[int64]string{}
	}
	first, ok := j.recorded[owner][is.epoch]
	if ok && first != is.leader && !j.world.rivals && !j.world.damage {
		j.violate(epochGrows, "%s, but %s leads in that epoch", text, first)
	}
	if !ok {
		j.recorded[owner][is.epoch] = is.leader
	}
}

// vanished forgets the epochs that no object tells of any more.
func (j *judge) vanished() {
	for owner, terms := range j.recorded {
		highest := j.highest(owner, nil).epoch
		for epoch := range terms {
			if epoch > highest {
				delete(terms, epoch)
			}
		}
	}
}

// highest is the latest term that the objects of a source tell of, as they were before a write to one of them.
func (j *judge) highest(owner string, before *discoveryv1.EndpointSlice) term {
	var top term
	s := j.world.server
	consider := func(t term) {
		if t.epoch > top.epoch || t.epoch == top.epoch && top.leader == "" {
			top = t
		}
	}
	if before != nil {
		consider(published(before))
	}
	for _, name := range sortedNames(s.objects[endpointSlices]) {
		object := s.objects[endpointSlices][name]
		if o := ownerOf(object); o != nil && string(o.UID) == owner && watched(object) && (before == nil || before.Name != name) {
			consider(published(object))
		}
	}
	for _, object := range s.objects[services] {
		if o := ownerOf(object); o != nil && string(o.UID) == owner {
			if epoch := epochOf(object); epoch > top.epoch {
				top.epoch = epoch
			}
		}
	}
	return top
}

// ledOn tells whether another family published the pod in the same epoch all the while.
func (j *judge) ledOn(after *discoveryv1.EndpointSlice, is term) bool {
	for name, object := range j.world.server.objects[endpointSlices] {
		if t := published(object); name != after.Name && t.leader == is.leader && t.epoch == is.epoch {
			return true
		}
	}
	return after.AddressType != "" && j.recorded[string(ownerOf(after).UID)][is.epoch] == is.leader && len(j.world.families(after)) > 1
}

func (w *world) families(slice *discoveryv1.EndpointSlice) []corev1.IPFamily {
	for _, object := range w.server.objects[services] {
		if object.GetUID() == ownerOf(slice).UID {
			return object.(*corev1.Service).Spec.IPFamilies
		}
	}
	return nil
}

// endpoint judges who is published against what the controller had seen.
func (j *judge) endpoint(r *request, slice *discoveryv1.EndpointSlice) {
	source, now := r.seen.source, r.seen.now
	settings := settingsOf(source)
	if len(slice.Endpoints) == 0 {
		if string(slice.AddressType) != string(primary(source)) || blocked(r.seen) {
			return
		}
		for _, pod := range r.seen.pods {
			if eligible(source, pod) && ripe(now, pod, settings) {
				j.violate(eligibleInView, "%s although pod %s could lead", content(slice), pod.UID)
			}
		}
		return
	}
	e := slice.Endpoints[0]
	i := slices.IndexFunc(r.seen.pods, func(p *corev1.Pod) bool { return e.TargetRef != nil && p.UID == e.TargetRef.UID })
	if i < 0 {
		j.violate(eligibleInView, "%s, a pod that %s had not seen", content(slice), r.name)
		return
	}
	pod, ready := r.seen.pods[i], published(slice).ready
	switch {
	case !usable(source, pod):
		j.violate(eligibleInView, "%s, which was not usable when %s looked", content(slice), r.name)
	case ready && pod.DeletionTimestamp != nil:
		j.violate(eligibleInView, "%s, which was terminating when %s looked", content(slice), r.name)
	case !ready && pod.DeletionTimestamp == nil:
		j.violate(eligibleInView, "%s, which is not terminating", content(slice))
	case !slices.Equal(e.Addresses, []string{addressOf(pod, corev1.IPFamily(slice.AddressType))}):
		j.violate(eligibleInView, "%s with addresses %v", content(slice), e.Addresses)
	case !ready && slices.ContainsFunc(r.seen.pods, func(p *corev1.Pod) bool { return eligible(source, p) && ripe(now, p, settings) }):
		j.violate(eligibleInView, "%s although another pod could lead", content(slice))
	}
}

// newTerm judges a change of leader.
func (j *judge) newTerm(r *request, after *discoveryv1.EndpointSlice, top, is term) {
	source, settings := r.seen.source, settingsOf(r.seen.source)
	if is.epoch != top.epoch+1 && !j.world.damage && !j.world.rivals {
		j.violate(epochGrows, "%s after epoch %d", content(after), top.epoch)
	}
	named, wanted := r.seen.named, slices.Contains(source.Spec.IPFamilies, corev1.IPFamily(after.AddressType))
	if wanted && r.seen.noted && named != nil && ownerOf(named) != nil && ownerOf(named).UID == source.UID && after.Labels[discoveryv1.LabelServiceName] == named.Name {
		r.moved = after.Name
	}
	if j.world.damage || j.world.rivals && (top.epoch == 0 || len(j.names[string(source.UID)]) > 1) {
		return // who led before may have been written by a user, or be known from another object
	}
	for _, pod := range r.seen.pods {
		switch {
		case string(pod.UID) == top.leader && settings.Sticky && eligible(source, pod) && is.leader != top.leader:
			j.violate(noNeedlessSwitch, "%s although %s could stay", content(after), top.leader)
		case string(pod.UID) == is.leader && is.ready && !ripe(r.seen.now, pod, settings):
			j.violate(eligibleInView, "%s, which was not Ready for long enough", content(after))
		}
	}
	if !j.world.rivals {
		if d := decide(r.seen.now, source, r.seen.pods, top.leader); string(d.Leader) != is.leader || d.Fallback == is.ready {
			j.violate(decideNamesIt, "%s but Decide names %q (fallback %t)", content(after), d.Leader, d.Fallback)
		}
	}
}

func decide(now time.Time, source *corev1.Service, all []*corev1.Pod, incumbent string) election.Decision {
	var candidates []election.Candidate
	settings := settingsOf(source)
	for _, c := range routing.Candidates(source, selected(source, all)) {
		candidates = append(candidates, c.Candidate)
	}
	return election.Decide(now, uidOf(incumbent), candidates, election.Policy{Sticky: settings.Sticky, MinReady: settings.MinReadyDuration})
}

func settingsOf(source *corev1.Service) api.Settings {
	settings, _ := api.ParseSettings(source.Name, source.Annotations, api.Defaults{})
	return settings
}

// maxName is how long the name of a Service may be.
const maxName = 63

// blocked tells whether the controller had seen a reason to route nothing at all.
func blocked(s seen) bool {
	return routing.Unsupported(s.source) != nil || len(settingsOf(s.source).LeaderServiceName) > maxName ||
		s.named != nil && (ownerOf(s.named) == nil || ownerOf(s.named).UID != s.source.UID)
}

func selected(source *corev1.Service, all []*corev1.Pod) []*corev1.Pod {
	var found []*corev1.Pod
	for _, pod := range all {
		if selects(source, pod) {
			found = append(found, pod)
		}
	}
	return found
}

func selects(source *corev1.Service, pod *corev1.Pod) bool {
	for key, value := range source.Spec.Selector {
		if pod.Labels[key] != value {
			return false
		}
	}
	return len(source.Spec.Selector) > 0
}

// eligible is the rule of who may lead, written down once more.
func eligible(source *corev1.Service, pod *corev1.Pod) bool {
	return usable(source, pod) && pod.DeletionTimestamp == nil
}

func usable(source *corev1.Service, pod *corev1.Pod) bool {
	return selects(source, pod) && pod.Status.Phase == corev1.PodRunning && isReady(pod) && addressOf(pod, primary(source)) != "" && resolves(source, pod)
}

func ripe(now time.Time, pod *corev1.Pod, settings api.Settings) bool {
	age := now.Sub(pod.Status.Conditions[0].LastTransitionTime.Time)
	return age >= settings.MinReadyDuration || -age > settings.MinReadyDuration
}

func isReady(pod *corev1.Pod) bool {
	return len(pod.Status.Conditions) > 0 && pod.Status.Conditions[0].Status == corev1.ConditionTrue
}

func primary(source *corev1.Service) corev1.IPFamily {
	if len(source.Spec.IPFamilies) == 0 {
		return corev1.IPv4Protocol
	}
	return source.Spec.IPFamilies[0]
}

func addressOf(pod *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range pod.Status.PodIPs {
		if strings.Contains(ip.IP, ":") == (family == corev1.IPv6Protocol) {
			return ip.IP
		}
	}
	return ""
}

func resolves(source *corev1.Service, pod *corev1.Pod) bool {
	for _, port := range source.Spec.Ports {
		if port.TargetPort.Type == intstr.String && !slices.ContainsFunc(pod.Spec.Containers[:min(1, len(pod.Spec.Containers))], func(c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
				return p.Name == port.TargetPort.StrVal && p.Protocol == port.Protocol
			})
		}) {
			return false
		}
	}
	return true
}

func notFound(k kind, name string) error { return apierrors.NewNotFound(k.resource(), name) }
