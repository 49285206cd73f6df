package director

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
	"github.com/kube-zen/zen-lead/src/metrics"
	"github.com/kube-zen/zen-lead/src/routing"
)

// plan is what is to be, worked out from what was observed without reading or writing anything.
type plan struct {
	*observed
	now time.Time
	// arrived is when the pod event that led here reached the controller, zero if none did.
	arrived time.Time
	// problems are the annotations and the properties of the Service that cannot be used as they are.
	problems []api.Problem
	// refusal is the problem for which nothing is routed at all, nil if there is none.
	refusal *api.Problem

	// name is the leader Service's name in effect.
	name       string
	candidates []routing.Candidate
	decision   election.Decision
	before     routing.Leadership
	after      routing.Leadership

	currentService *corev1.Service
	desiredSlices  []sliceChange
	// oldSlices are the slices of a name that the leader Service had before, or of a family that the source has lost. They
	// follow the leader until the new is in place: that may be refused for as long as the user does nothing.
	oldSlices []sliceChange
	// unfinished is set once slices were written and the rest is left for the next pass.
	unfinished bool
	// retell is how long until users may have to be told why nobody leads, 0 if not.
	retell time.Duration
}

// sliceChange is a leader slice as it is, nil if there is none, and as it is to be.
type sliceChange struct {
	current *discoveryv1.EndpointSlice
	desired *discoveryv1.EndpointSlice
}

// Reasons for problems that arise from other objects than the source.
const (
	reasonLeaderServiceTaken = "leader_service_taken"
	reasonLeaderSliceTaken   = "leader_slice_taken"
	reasonPortUnresolved     = "port_unresolved"
)

// newPlan works the plan out.
func newPlan(now, arrived time.Time, o *observed, problems []api.Problem) *plan {
	p := &plan{observed: o, now: now, arrived: arrived, problems: problems, name: o.settings.LeaderServiceName}
	p.refuse(routing.Unsupported(o.source))
	p.refuse(api.ValidateLeaderServiceName(p.name))
	p.settleName()
	p.currentService = o.ours(p.name)
	p.before = o.leadership
	p.after = p.before
	if p.refused() {
		return p
	}
	p.decide()
	p.render()
	return p
}

func (p *plan) refuse(problem *api.Problem) {
	if problem != nil && p.refusal == nil {
		p.refusal = problem
		p.problems = append(slices.Clip(p.problems), *problem)
	}
}

// refused tells whether nothing may be routed.
func (p *plan) refused() bool { return p.refusal != nil }

// settleName gives way to a Service of the wanted name that is not ours. If the leader Service was to be renamed, the
// old one goes on until the new name is free; otherwise there is nothing to route.
func (p *plan) settleName() {
	if p.refused() || p.named == nil || routing.OwnedBy(p.named, p.source) {
		return
	}
	problem := api.Problem{Reason: reasonLeaderServiceTaken, Message: fmt.Sprintf(
		"Service %s exists and was not made for this Service; it is left alone: delete it, or choose another name with annotation %s",
		p.name, api.AnnotationLeaderServiceName)}
	for _, service := range p.made.services {
		if service.Name != p.name {
			p.name = service.Name
			p.problems = append(slices.Clip(p.problems), problem)
			return
		}
	}
	if p.collected() {
		p.refusal = &problem // and no word to the user
		return
	}
	p.refuse(&problem)
}

// collected tells whether the Service in the way was made for a Service of the same name that is gone. Kubernetes is
// about to delete it; there is nothing that a user should do.
func (p *plan) collected() bool {
	owner := routing.OwnerService(p.named)
	return owner != nil && owner.Name == p.source.Name && owner.UID != p.source.UID
}

// decide runs the election.
func (p *plan) decide() {
	p.candidates = routing.Candidates(p.source, p.pods)
	standing := make([]election.Candidate, len(p.candidates))
	for i := range p.candidates {
		standing[i] = p.candidates[i].Candidate
	}
	p.decision = election.Decide(p.now, p.before.UID, standing, election.Policy{
		Sticky: p.settings.Sticky, MinReady: p.settings.MinReadyDuration,
	})
	switch {
	case p.decision.Reason == election.FirstElection && p.before.Epoch > 0, p.before.Contested && p.decision.Leader == p.before.UID:
		p.decision.Reason = election.Recovered
	case p.decision.Reason == election.IncumbentGone && p.incumbent != nil:
		p.decision.Reason = election.IncumbentDeselected
	}
	if p.decision.Counts[string(election.PortUnresolved)] > 0 {
		p.problems = append(slices.Clip(p.problems), p.portProblem())
	}
	name := ""
	if leader := p.candidate(p.decision.Leader); leader != nil {
		name = leader.Name
	}
	p.after = p.before.Next(p.decision, name, p.now)
}

// render makes the desired slices. The leader Service waits: see desiredService.
func (p *plan) render() {
	var leader *corev1.Pod
	if c := p.candidate(p.after.UID); c != nil {
		leader = c.Pod
	}
	seen := p.arrived
	if seen.IsZero() {
		seen = p.now
	}
	var incumbent *routing.Candidate
	if p.before.Ready { // one that was already on its way out does not trigger what comes now
		incumbent = p.candidate(p.before.UID)
	}
	trigger := routing.TriggerTime(incumbent, seen)
	change := func(name string, family corev1.IPFamily) sliceChange {
		current := p.slice(routing.SliceName(name, family))
		return sliceChange{current: current, desired: routing.DesiredSlice(p.source, name, family, p.after, leader, current, trigger)}
	}
	wanted := p.source.Spec.IPFamilies
	for _, family := range wanted {
		p.desiredSlices = append(p.desiredSlices, change(p.name, family))
	}
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		for _, service := range p.made.services {
			current := service.Name == p.name && slices.Contains(wanted, family)
			if !current && p.slice(routing.SliceName(service.Name, family)) != nil {
				p.oldSlices = append(p.oldSlices, change(service.Name, family))
			}
		}
	}
}

// desiredService is the leader Service as it is to be. It is not made before it is needed: the slices are on the way to
// the client, this is not.
func (p *plan) desiredService() *corev1.Service {
	return routing.DesiredLeaderService(p.source, p.name, p.after, p.currentService)
}

// creating tells whether objects may be created: not for a Service that is being deleted.
func (p *plan) creating() bool { return p.source.DeletionTimestamp == nil }

// moved tells whether another pod leads than before.
func (p *plan) moved() bool { return p.after.Epoch != p.before.Epoch }

// state is the metric's word for how the Service stands.
func (p *plan) state() metrics.State {
	switch {
	case p.silent() && (p.refusal.Reason == reasonLeaderServiceTaken || p.refusal.Reason == reasonLeaderSliceTaken):
		return metrics.Conflict
	case p.silent():
		return metrics.Refused
	case p.after.UID == "":
		return metrics.Leaderless
	case !p.after.Ready:
		return metrics.ServingTerminating
	}
	return metrics.Led
}

// result tells when to look again without being told to. unseen is how long until a write of ours is no longer believed
// that the cache has not shown, 0 if it has shown all: should it have been undone before, no event tells of that.
func (p *plan) result(unseen time.Duration) reconcile.Result {
	if p.unfinished {
		return reconcile.Result{RequeueAfter: restDelay, Priority: ptr.To(restPriority)}
	}
	wait := election.Shorter(election.Shorter(p.decision.Recheck, unseen), p.retell)
	if p.sliceTaken() {
		wait = election.Shorter(wait, takenRetry)
	}
	return reconcile.Result{RequeueAfter: wait}
}

// sliceTaken tells whether the slice of some family is somebody else's.
func (p *plan) sliceTaken() bool { return p.refused() && p.refusal.Reason == reasonLeaderSliceTaken }

// routes tells whether a slice of ours publishes the leader, or that there is none.
func (p *plan) routes() bool {
	return slices.ContainsFunc(p.desiredSlices, func(c sliceChange) bool {
		return c.current != nil && (p.after.UID == "" || len(c.desired.Endpoints) > 0)
	})
}

// silent tells whether nothing is routed, so that there is nothing to tell of but why.
func (p *plan) silent() bool { return p.refused() && !(p.sliceTaken() && p.routes()) }

// status is the plan's outcome for the metrics.
func (p *plan) status() metrics.Status {
	status := metrics.Status{
		State:           p.state(),
		Epoch:           p.after.Epoch,
		Since:           p.after.Since,
		Candidates:      p.decision.Counts,
		Problems:        reasons(p.problems),
		UnresolvedPorts: p.decision.Counts[string(election.PortUnresolved)],
		Suppressed:      string(p.decision.Suppressed),
		Challenger:      p.decision.Challenger,
	}
	if p.silent() {
		status.Epoch, status.Since = p.before.Epoch, p.before.Since
	}
	return status
}

func reasons(problems []api.Problem) []string {
	var list []string
	for _, problem := range problems {
		list = append(list, problem.Reason)
	}
	return list
}

// takenRetry is the pause before another try at the name of a slice that is not ours. The cache does not show such
// slices, so that no event tells when it is gone.
const takenRetry = 30 * time.Second

// candidate is the candidate of that UID, nil if there is none.
func (p *plan) candidate(uid types.UID) *routing.Candidate {
	for i := range p.candidates {
		if p.candidates[i].UID == uid {
			return &p.candidates[i]
		}
	}
	return nil
}

// slice is our slice of that name, nil if there is none.
func (p *plan) slice(name string) *discoveryv1.EndpointSlice {
	for _, slice := range p.made.slices {
		if slice.Name == name {
			return slice
		}
	}
	return nil
}

// portProblem names one port that does not resolve, and no pod: pods come and go, and the fault stays the same.
func (p *plan) portProblem() api.Problem {
	fault := ""
	for i := range p.candidates {
		if f := p.candidates[i].PortFault; f != "" && (fault == "" || f < fault) {
			fault = f
		}
	}
	return api.Problem{Reason: reasonPortUnresolved, Message: fault +
		"; a pod without it cannot lead: name the port in the pod, or correct the Service's targetPort"}
}
