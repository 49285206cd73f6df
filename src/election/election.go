// Package election decides who leads. It is a pure function of values: no client, no clock, no logger, no metrics.
//
// Decide looks at the incumbent and the candidates of one Service and answers who is to be published, why, and when to
// look again. The order among candidates is total and is written once, in preference.
package election

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Candidate is a pod that the source Service selects, reduced to what the decision needs.
type Candidate struct {
	UID  types.UID
	Name string
	// Node is the name of the node that it runs on, empty if unknown.
	Node string
	// Blocked says why the pod may not lead, whatever the policy; Free if it may.
	Blocked Block
	// Serving is true for a pod that may not lead only because it is terminating: it is still Ready, has an address and
	// resolves every port, so that traffic sent to it is answered.
	Serving bool
	// ReadySince is when the pod became Ready, by the kubelet's clock, which is not the controller's.
	ReadySince time.Time
	Created    time.Time
	// Workload and Revision identify what made the pod and from which version of its template; both empty if unknown.
	Workload string
	Revision string
	// AllFamilies is true if the pod has an address in each IP family of the leader Service.
	AllFamilies bool
	// DeletionCost is the value of controller.kubernetes.io/pod-deletion-cost, 0 by default.
	DeletionCost int32
}

// Block is why a pod may not lead. Its values serve as metric labels.
type Block string

// The reasons for which a pod may not lead; the first that applies is given.
const (
	Free        Block = ""
	Terminating Block = "terminating"
	// NotRunning: not yet, or its node does not say.
	NotRunning Block = "not_running"
	// Ended: its containers have ended for good, or it was evicted.
	Ended          Block = "ended"
	NotReady       Block = "not_ready"
	NoAddress      Block = "no_address"
	PortUnresolved Block = "port_unresolved"
)

// Policy is what the user chose about elections.
type Policy struct {
	// Sticky keeps an eligible incumbent although a better candidate exists.
	Sticky bool
	// MinReady is how long a pod must have been Ready before it may become leader. The incumbent is exempt.
	MinReady time.Duration
}

// Reason is why the published pod is another one than before. Its values serve as metric labels.
type Reason string

// The reasons of a change of leader.
const (
	// FirstElection: nobody led before.
	FirstElection Reason = "first_election"
	// Recovered: nobody led now, but somebody did earlier.
	Recovered Reason = "recovered"
	// IncumbentGone: the incumbent does not exist any more. Decide cannot tell this from the next.
	IncumbentGone Reason = "leader_gone"
	// IncumbentDeselected: the incumbent exists, but the Service's selector does not match it any more.
	IncumbentDeselected Reason = "leader_deselected"
	// IncumbentTerminating and the following: the incumbent is there but may not lead.
	IncumbentTerminating    Reason = "leader_terminating"
	IncumbentNotRunning     Reason = "leader_not_running"
	IncumbentEnded          Reason = "leader_ended"
	IncumbentNotReady       Reason = "leader_not_ready"
	IncumbentNoAddress      Reason = "leader_without_address"
	IncumbentPortUnresolved Reason = "leader_port_unresolved"
	// Preferred: the incumbent could have stayed, but leadership is not sticky and another candidate is better.
	Preferred Reason = "better_candidate"
)

// Suppression is why a better candidate than the published one was passed over. Its values serve as metric labels.
type Suppression string

// The reasons for which a switch is suppressed.
const (
	NotSuppressed        Suppression = ""
	SuppressedBySticky   Suppression = "sticky"
	SuppressedByMinReady Suppression = "min_ready_duration"
)

// Decision is who is to be published.
type Decision struct {
	// Leader is the UID of the pod to publish, empty if there is none.
	Leader types.UID
	// Fallback is true if Leader is terminating and published only because nobody may lead: serving, but not ready.
	Fallback bool
	// Reason explains a Leader other than the incumbent, and a missing one. It means nothing if the incumbent stays.
	Reason Reason
	// Recheck is how long until time alone could change the decision, 0 if it cannot.
	Recheck time.Duration
	// Suppressed says why Challenger, a better candidate than Leader, was passed over.
	Suppressed Suppression
	Challenger types.UID
	// Counts are the candidates by state: "eligible", "waiting" (for min-ready-duration), or their Block.
	Counts map[string]int
}

// StateEligible is the key of Decision.Counts for candidates that may lead now, StateWaiting for those that may once
// they have been Ready for long enough.
const (
	StateEligible = "eligible"
	StateWaiting  = "waiting"
)

// Decide names the pod to publish for one Service at the time now. incumbent is the UID that the leader slice names,
// empty if it names none. The order of candidates does not matter.
//
//  1. A sticky incumbent that may lead stays.
//  2. Otherwise the first of those that may lead and are ripe, in the order of preference, leads.
//  3. If there is none, a pod that is terminating but still serves is published as a last resort: the incumbent if it
//     is one, else the first in the order of preference.
//  4. Otherwise nobody.
func Decide(now time.Time, incumbent types.UID, candidates []Candidate, policy Policy) Decision {
	d := Decision{Reason: lossReason(incumbent, candidates), Counts: make(map[string]int, 2)}
	better := preference(candidates, suspectNode(incumbent, candidates, policy))

	var current, ripe, waiting, lastResort *Candidate
	for i := range candidates {
		c := &candidates[i]
		wait := remaining(now, c, policy.MinReady)
		switch {
		case c.Blocked != Free:
			d.Counts[string(c.Blocked)]++
			switch {
			case !c.Serving || lastResort != nil && lastResort.UID == incumbent:
			case c.UID == incumbent:
				lastResort = c
			default:
				lastResort = better(lastResort, c)
			}
		case c.UID != incumbent && wait > 0:
			d.Counts[StateWaiting]++
			d.Recheck = Shorter(d.Recheck, wait)
			waiting = better(waiting, c)
		default:
			d.Counts[StateEligible]++
			ripe = better(ripe, c)
			if c.UID == incumbent {
				current = c
			}
		}
	}

	switch {
	case current != nil && policy.Sticky:
		d.Leader = current.UID
	case ripe != nil:
		d.Leader = ripe.UID
	case lastResort != nil:
		d.Leader, d.Fallback = lastResort.UID, true
	}
	if policy.Sticky && d.Leader != "" && !d.Fallback {
		d.Recheck = 0 // time alone does not move a sticky leader
	}
	d.noteSuppressed(better(ripe, waiting), current != nil && policy.Sticky)
	return d
}

// noteSuppressed notes the best candidate if something else than the order kept it from being published.
func (d *Decision) noteSuppressed(best *Candidate, kept bool) {
	switch {
	case best == nil || best.UID == d.Leader:
	case kept:
		d.Suppressed, d.Challenger = SuppressedBySticky, best.UID
	default:
		d.Suppressed, d.Challenger = SuppressedByMinReady, best.UID
	}
}

// lossReason says why the incumbent cannot stay, as far as that can be seen from the candidates.
func lossReason(incumbent types.UID, candidates []Candidate) Reason {
	if incumbent == "" {
		return FirstElection
	}
	for i := range candidates {
		if candidates[i].UID != incumbent {
			continue
		}
		switch candidates[i].Blocked {
		case Terminating:
			return IncumbentTerminating
		case NotRunning:
			return IncumbentNotRunning
		case Ended:
			return IncumbentEnded
		case NotReady:
			return IncumbentNotReady
		case NoAddress:
			return IncumbentNoAddress
		case PortUnresolved:
			return IncumbentPortUnresolved
		}
		return Preferred
	}
	return IncumbentGone
}

// suspectNode is the node of an incumbent that stopped being Ready, empty if there is none such. When a node fails,
// Kubernetes takes the Ready condition from its pods one after the other: the next on that node is Ready for moments only.
// Without stickiness no node is suspect, since the next look, at another incumbent, would lead back to it.
func suspectNode(incumbent types.UID, candidates []Candidate, policy Policy) string {
	for i := range candidates {
		if c := &candidates[i]; c.UID == incumbent && policy.Sticky && (c.Blocked == NotReady || c.Blocked == NotRunning) {
			return c.Node
		}
	}
	return ""
}

// remaining is how long a candidate still has to wait for min-ready-duration.
//
// ReadySince comes from the kubelet's clock. A time that lies ahead of ours by more than the whole wait says nothing
// about how long the pod has been Ready, and must not lock it out for as long as the clocks differ: it counts as ripe.
func remaining(now time.Time, c *Candidate, minReady time.Duration) time.Duration {
	if minReady == 0 || c.ReadySince.Sub(now) > minReady {
		return 0
	}
	return max(0, c.ReadySince.Add(minReady).Sub(now))
}

// preference returns the choice between two of the given candidates by the order below; nil loses to any. The order is
// total, since UIDs differ:
//
//  1. (the incumbent's precedence depends on the policy: see Decide)
//  2. not outdated before outdated, so that a rollout moves the leader once and not once for each replica
//  3. an address in every IP family before one in some
//  4. higher pod-deletion-cost
//  5. on another node than the suspect one: see suspectNode
//  6. Ready for longest
//  7. name
//  8. UID
func preference(candidates []Candidate, suspect string) func(a, b *Candidate) *Candidate {
	newest := newestRevisions(candidates)
	return func(a, b *Candidate) *Candidate {
		if a == nil {
			return b
		}
		if b == nil {
			return a
		}
		if cmp.Or(
			compareBool(!newest.outdates(a), !newest.outdates(b)), // 2
			compareBool(a.AllFamilies, b.AllFamilies),             // 3
			cmp.Compare(b.DeletionCost, a.DeletionCost),           // 4
			compareBool(!on(suspect, a), !on(suspect, b)),         // 5
			a.ReadySince.Compare(b.ReadySince),                    // 6
			cmp.Compare(a.Name, b.Name),                           // 7
			cmp.Compare(a.UID, b.UID),                             // 8
		) <= 0 {
			return a
		}
		return b
	}
}

// on tells whether a candidate is known to run on a node.
func on(node string, c *Candidate) bool { return node != "" && c.Node == node }

// compareBool puts true before false.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// revision is a version of a workload's pod template and the creation of its newest pod.
type revision struct {
	name    string
	created time.Time
}

// revisions holds, for each workload, its revision with the newest pod and the one with the newest pod among the others:
// the two that it takes to know of any pod whether a newer one of another revision exists.
type revisions map[string][2]revision

func newestRevisions(candidates []Candidate) revisions {
	newest := make(revisions, 1)
	for i := range candidates {
		c := &candidates[i]
		// A pod that is going or has ended says nothing: a rollout that was taken back leaves such.
		if c.Workload == "" || c.Revision == "" || c.Blocked == Terminating || c.Blocked == Ended {
			continue
		}
		top := newest[c.Workload]
		switch {
		case top[0].name == "" || top[0].name == c.Revision:
			top[0] = newerOf(top[0], revision{c.Revision, c.Created})
		case c.Created.After(top[0].created):
			top[0], top[1] = revision{c.Revision, c.Created}, top[0]
		case top[1].name == "" || c.Created.After(top[1].created):
			top[1] = revision{c.Revision, c.Created}
		}
		newest[c.Workload] = top
	}
	return newest
}

func newerOf(have, next revision) revision {
	if have.name == "" || next.created.After(have.created) {
		return next
	}
	return have
}

// outdates tells whether a more recently created pod of the same workload and another revision exists. Pods of
// different workloads are not compared.
func (r revisions) outdates(c *Candidate) bool {
	if c.Workload == "" || c.Revision == "" {
		return false
	}
	for _, other := range r[c.Workload] {
		if other.name != "" && other.name != c.Revision && other.created.After(c.Created) {
			return true
		}
	}
	return false
}

// Shorter is the smaller of two waits, where 0 means none.
func Shorter(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}
