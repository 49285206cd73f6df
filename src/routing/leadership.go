package routing

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
)

// Leadership is who leads, as it is written in the leader slices.
type Leadership struct {
	// UID and PodName identify the pod that leads, empty if nobody does.
	UID     types.UID
	PodName string
	// PodVersion is the resourceVersion of the pod that the endpoint was made from, empty if that is not known. Whoever
	// sees the pod as it was before does not know why it leads.
	PodVersion string
	// Ready is false for a pod that is published only because it is terminating and nobody else may lead.
	Ready bool
	// Epoch is the number of the current or, if nobody leads, the last term; 0 before the first.
	Epoch int64
	// Contested is true if another slice names another pod in the same term. That takes two controllers which both believed
	// that they were active, or somebody who wrote our objects; a new term has to tell the two apart.
	Contested bool
	// Since is when the current or last term began, in whole seconds.
	Since time.Time
}

// ReadLeadership reads what was made for one source Service back. Of several slices the one with the highest epoch
// counts: a crash between the writes of two families leaves the other one behind.
//
// The annotations of leader Services, of which a change of name leaves two for a while, are a copy that is written after
// the slices. The copy names the leader only where there is no slice at all; but terms that it has counted stay counted,
// whatever became of the slices.
func ReadLeadership(slices []*discoveryv1.EndpointSlice, leaderServices []*corev1.Service) Leadership {
	var mirror, read Leadership
	for _, service := range leaderServices {
		mirror = later(mirror, readCopy(service, maxCopiedEpoch))
	}
	if len(slices) == 0 {
		return mirror
	}
	for _, published := range []bool{true, false} { // within a term, an endpoint says more than an annotation
		for _, slice := range slices {
			if published == (len(slice.Endpoints) > 0) {
				read = later(read, readSlice(slice))
			}
		}
	}
	if mirror.Epoch > read.Epoch {
		read.Epoch, read.Since = mirror.Epoch, mirror.Since
	}
	if read.Since.IsZero() {
		read.Since = mirror.Since
	}
	return read
}

// later is the leadership of the higher epoch, and within one epoch that which names a pod.
func later(a, b Leadership) Leadership {
	if b.Epoch > a.Epoch || b.Epoch == a.Epoch && a.UID == "" {
		return b
	}
	a.Contested = a.Contested || a.Epoch == b.Epoch && b.UID != "" && b.UID != a.UID
	return a
}

// readSlice reads one slice. The endpoint says who leads; the annotations do where the leader has no address of the
// slice's family.
func readSlice(slice *discoveryv1.EndpointSlice) Leadership {
	if len(slice.Endpoints) == 0 {
		return readCopy(slice, maxEpoch)
	}
	l := readTerm(slice.Annotations, maxEpoch)
	endpoint := &slice.Endpoints[0]
	if ref := endpoint.TargetRef; ref != nil {
		l.UID, l.PodName, l.PodVersion = ref.UID, ref.Name, ref.ResourceVersion
	}
	l.Ready = endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready
	return l
}

// readCopy reads an object whose annotations name the leader.
func readCopy(object metav1.Object, most int64) Leadership {
	annotations := object.GetAnnotations()
	l := readTerm(annotations, most)
	l.UID = types.UID(annotations[api.AnnotationLeaderPodUID])
	l.PodName = annotations[api.AnnotationLeaderPodName]
	return l
}

// The largest epochs that are believed: more than any real one, less than what would lose digits in JSON. The copy on the
// leader Service, which more people may write than slices, is believed less far: whatever it says leaves terms to come.
const (
	maxEpoch       = 1 << 53
	maxCopiedEpoch = 1 << 52
)

// readTerm reads epoch and time. What others made unreadable counts as absent.
func readTerm(annotations map[string]string, most int64) Leadership {
	var l Leadership
	if epoch, err := strconv.ParseInt(annotations[api.AnnotationEpoch], 10, 64); err == nil && epoch > 0 && epoch <= most {
		l.Epoch = epoch
	}
	if since, err := time.Parse(time.RFC3339, annotations[api.AnnotationLastSwitchTime]); err == nil {
		l.Since = since.UTC()
	}
	return l
}

// Next is the leadership after the decision. A term begins whenever a pod is published that was not before, or not for
// sure.
func (l Leadership) Next(decision election.Decision, podName string, now time.Time) Leadership {
	next := Leadership{UID: decision.Leader, PodName: podName, Epoch: l.Epoch, Since: l.Since}
	next.Ready = decision.Leader != "" && !decision.Fallback
	if decision.Leader != "" && (decision.Leader != l.UID || l.Epoch == 0 || l.Contested) {
		next.Epoch++
		next.Since = now.UTC().Truncate(time.Second)
	}
	return next
}

// termAnnotations tell of the term, and not of who leads.
func (l Leadership) termAnnotations() map[string]string {
	if l.Epoch == 0 {
		return nil
	}
	annotations := map[string]string{api.AnnotationEpoch: strconv.FormatInt(l.Epoch, 10)}
	if !l.Since.IsZero() {
		annotations[api.AnnotationLastSwitchTime] = l.Since.Format(time.RFC3339)
	}
	return annotations
}

// mirrorAnnotations name the leader too: on the leader Service, and on a slice in whose family the leader has no
// address. Nobody leading is said by the absence of a pod.
func (l Leadership) mirrorAnnotations() map[string]string {
	annotations := l.termAnnotations()
	if l.UID != "" && l.Epoch > 0 {
		annotations[api.AnnotationLeaderPodName] = l.PodName
		annotations[api.AnnotationLeaderPodUID] = string(l.UID)
	}
	return annotations
}
