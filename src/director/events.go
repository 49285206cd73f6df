package director

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
	"github.com/kube-zen/zen-lead/src/routing"
)

// The reasons of the Events on source Services.
const (
	eventElected     = "LeaderElected"
	eventChanged     = "LeaderChanged"
	eventServing     = "LeaderServing"
	eventNoLeader    = "NoLeader"
	eventReleased    = "LeaderServiceRemoved"
	eventAnnotation  = "InvalidAnnotation"
	eventUnsupported = "UnsupportedService"
	eventNameTooLong = "LeaderServiceNameTooLong"
	eventTaken       = "LeaderServiceConflict"
	eventSliceTaken  = "LeaderSliceConflict"
	eventPort        = "PortUnresolved"
	eventRejected    = "WriteRejected"
)

// reasonWriteRejected is the problem of a write that the API server refuses.
const reasonWriteRejected = "write_rejected"

// maxNote is how long the note of an Event may be, in bytes:
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
const maxNote = 1024

// announcements tells users, by Events on their Services, what changed. What goes on being wrong is said once; the
// memory of that is lost with the process, so that a new one says it once again.
type announcements struct {
	recorder events.EventRecorder

	mu        sync.Mutex
	said      map[types.NamespacedName]map[string]string
	owed      map[types.NamespacedName]change
	shortages map[types.NamespacedName]shortageTold
}

// shortageTold is what users were told about why nobody leads, and another cause that is true since then.
type shortageTold struct {
	cause, next string
	since       time.Time
}

// persists is how long another cause for nobody leading must last before users are told: while pods come and go, one
// follows the other within seconds.
const persists = 5 * time.Second

// change is a change of leadership that users have not been told of, because a write failed that belongs to it.
type change struct {
	before routing.Leadership
	reason election.Reason
}

func newAnnouncements(recorder events.EventRecorder) *announcements {
	return &announcements{
		recorder: recorder,
		said:     make(map[types.NamespacedName]map[string]string),
		owed:     make(map[types.NamespacedName]change),

		shortages: make(map[types.NamespacedName]shortageTold),
	}
}

// owe notes a change whose writes are not complete. The first one counts: what is told later is told from there.
func (a *announcements) owe(key types.NamespacedName, c change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.owed[key]; !ok {
		a.owed[key] = c
	}
}

// settle returns the change that is owed, if there is one, instead of the one at hand.
func (a *announcements) settle(key types.NamespacedName, c change) change {
	a.mu.Lock()
	defer a.mu.Unlock()
	if owed, ok := a.owed[key]; ok {
		delete(a.owed, key)
		return owed
	}
	return c
}

// problems announces those problems that were not there before, and takes note of those that are gone.
func (a *announcements) problems(source *corev1.Service, problems []api.Problem) {
	key := client.ObjectKeyFromObject(source)
	a.mu.Lock()
	said := a.said[key]
	now := make(map[string]string, len(problems))
	var news []api.Problem
	for _, problem := range problems {
		now[problem.Reason] = problem.Message
		if said[problem.Reason] != problem.Message {
			news = append(news, problem)
		}
	}
	if len(now) == 0 {
		delete(a.said, key)
	} else {
		a.said[key] = now
	}
	a.mu.Unlock()
	for _, problem := range news {
		a.warn(source, problem)
	}
}

// rejected announces a write that the API server will go on refusing until somebody acts. Failures that pass by
// themselves are left to logs and metrics.
func (a *announcements) rejected(source *corev1.Service, err error) {
	if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) && !apierrors.IsInternalError(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return
	}
	key := client.ObjectKeyFromObject(source)
	problem := api.Problem{Reason: reasonWriteRejected, Message: err.Error() + "; it is tried again until the API server accepts it"}
	a.mu.Lock()
	_, repeated := a.said[key][reasonWriteRejected]
	if a.said[key] == nil {
		a.said[key] = make(map[string]string, 1)
	}
	a.said[key][reasonWriteRejected] = problem.Message
	a.mu.Unlock()
	if !repeated {
		a.warn(source, problem)
	}
}

func (a *announcements) forget(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.said, key)
	delete(a.owed, key)
	delete(a.shortages, key)
}

// released says that the leader Service was removed on request.
func (a *announcements) released(source, service *corev1.Service) {
	a.say(source, nil, corev1.EventTypeNormal, eventReleased, "Remove",
		fmt.Sprintf("removed leader Service %s: annotation %s does not ask for it any more", service.Name, api.AnnotationEnabled))
}

// leadership announces who leads now, if that changed.
func (a *announcements) leadership(p *plan, c change) {
	before, after, leader := c.before, p.after, podReference(p.source, p.after)
	moved := after.Epoch != before.Epoch
	switch {
	case after.UID != "" && !after.Ready && (moved || before.Ready):
		a.say(p.source, leader, corev1.EventTypeNormal, eventServing, "Retain",
			fmt.Sprintf("pod %s is terminating and no other pod can lead; it gets the traffic until it is gone", after.PodName))
	case moved && after.UID != "" && (before.Epoch == 0 || before.UID == after.UID):
		a.say(p.source, leader, corev1.EventTypeNormal, eventElected, "Elect",
			fmt.Sprintf("pod %s leads: Service %s routes to it alone", after.PodName, p.name))
	case moved && after.UID != "" && before.UID == "":
		a.say(p.source, leader, corev1.EventTypeNormal, eventElected, "Recover",
			fmt.Sprintf("pod %s leads after a time without a leader: Service %s routes to it alone", after.PodName, p.name))
	case moved && after.UID != "":
		a.say(p.source, leader, corev1.EventTypeNormal, eventChanged, actionOf(c.reason),
			fmt.Sprintf("leader moved from pod %s to pod %s, because %s", before.PodName, after.PodName, because(c.reason)))
	}
}

// leaderlessUntold notes that nothing is routed for a reason that users were told as a problem. If nobody leads when that
// is repaired, why is news, once it has lasted.
func (a *announcements) leaderlessUntold(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shortages[key] = shortageTold{}
}

// leaderless announces why nobody leads: at once when that begins, and again when another cause has lasted. It returns
// how long until that has to be looked at, 0 if there is nothing to wait for. After a restart, the cause that is found
// counts as told.
func (a *announcements) leaderless(p *plan, c change) (wait time.Duration) {
	key := client.ObjectKeyFromObject(p.source)
	a.mu.Lock()
	told, known := a.shortages[key]
	if p.after.UID != "" {
		delete(a.shortages, key)
		a.mu.Unlock()
		return 0
	}
	cause, why := shortage(p.decision)
	tell := c.before.UID != "" || p.first()
	switch {
	case tell || !known || cause == told.cause:
		told = shortageTold{cause: cause}
	case cause != told.next:
		told.next, told.since, wait = cause, p.now, persists
	case p.now.Sub(told.since) < persists:
		wait = persists - p.now.Sub(told.since)
	default:
		told, tell = shortageTold{cause: cause}, true
	}
	a.shortages[key] = told
	a.mu.Unlock()
	if tell {
		a.say(p.source, nil, corev1.EventTypeWarning, eventNoLeader, cause, fmt.Sprintf("Service %s has no endpoint: %s", p.name, why))
	}
	return wait
}

// first tells whether this was the first look at the Service ever.
func (p *plan) first() bool {
	return p.before.Epoch == 0 && slices.ContainsFunc(p.desiredSlices, func(c sliceChange) bool { return c.current == nil })
}

func (a *announcements) warn(source *corev1.Service, problem api.Problem) {
	reason := eventAnnotation
	switch problem.Reason {
	case routing.ReasonExternalName, routing.ReasonNoSelector:
		reason = eventUnsupported
	case api.ReasonLeaderNameTooLong:
		reason = eventNameTooLong
	case reasonLeaderServiceTaken:
		reason = eventTaken
	case reasonLeaderSliceTaken:
		reason = eventSliceTaken
	case reasonPortUnresolved:
		reason = eventPort
	case reasonWriteRejected:
		reason = eventRejected
	}
	a.say(source, nil, corev1.EventTypeWarning, reason, actionOf(election.Reason(problem.Reason)), problem.Message)
}

// say records an Event. Kubernetes joins Events into a series that have everything but the note in common, and shows
// the first note: the action and the related pod keep apart what differs.
func (a *announcements) say(source *corev1.Service, related runtime.Object, kind, reason, action, note string) {
	if len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
	}
	a.recorder.Eventf(source, related, kind, reason, action, "%s", note)
}

// podReference names the leader for an Event, nil if there is none.
func podReference(source *corev1.Service, leadership routing.Leadership) runtime.Object {
	if leadership.UID == "" {
		return nil
	}
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: source.Namespace, Name: leadership.PodName, UID: leadership.UID},
	}
}

// because puts the reason of a change in words that fit after "because".
func because(reason election.Reason) string {
	switch reason {
	case election.IncumbentGone:
		return "the former was deleted"
	case election.IncumbentDeselected:
		return "the Service's selector does not match the former any more"
	case election.IncumbentTerminating:
		return "the former is terminating"
	case election.IncumbentNotRunning:
		return "the former does not run"
	case election.IncumbentEnded:
		return "the former has ended"
	case election.IncumbentNotReady:
		return "the former is not Ready"
	case election.IncumbentNoAddress:
		return "the former has no address of the Service's IP family"
	case election.IncumbentPortUnresolved:
		return "a port of the Service does not resolve on the former"
	case election.Preferred:
		return "it is the better candidate and leadership is not sticky"
	}
	return string(reason)
}

// shortage says in words why nobody leads.
func shortage(decision election.Decision) (action, why string) {
	words := []struct{ state, text string }{
		{election.StateWaiting, "not Ready for long enough"},
		{string(election.NotReady), "not Ready"},
		{string(election.Terminating), "terminating"},
		{string(election.NotRunning), "not running"},
		{string(election.Ended), "ended"},
		{string(election.NoAddress), "without an address of the Service's IP family"},
		{string(election.PortUnresolved), "on which a port does not resolve"},
	}
	var parts []string
	total := 0
	action = "Empty"
	for _, w := range words {
		if n := decision.Counts[w.state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, w.text))
			action += actionOf(election.Reason(w.state))
			total += n
		}
	}
	if total == 0 {
		return action, "its selector matches no pod"
	}
	return action, fmt.Sprintf("none of %d pods can lead: %s", total, strings.Join(parts, ", "))
}

// actionOf turns a reason such as leader_not_ready into the form that Events use, LeaderNotReady.
func actionOf(reason election.Reason) string {
	var action strings.Builder
	for _, word := range strings.Split(string(reason), "_") {
		if word != "" {
			action.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return action.String()
}
