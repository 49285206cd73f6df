package routing

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
)

// Leadership is who leads, as it is written in the leader slices.
type Leadership struct {
	// UID and PodName identify the pod that leads, empty if nobody does.
	UID     types.UID
	PodName string
	// Ready is false for a pod that is published only because it is terminating and nobody else may lead.
	Ready bool
	// Epoch is the number of the current or, if nobody leads, the last term; 0 before the first.
	Epoch int64
	// Since is when the current or last term began, in whole seconds.
	Since time.Time
}

// ReadLeadership reads the slices of one leader Service back. Of several families the slice with the highest epoch
// counts: a crash between the writes of two families leaves the other one behind.
//
// The leader Service may be nil. Its annotations are a copy that is written after the slices. The copy names the leader
// only where there is no slice at all; but terms that it has counted stay counted, whatever became of the slices.
func ReadLeadership(slices []*discoveryv1.EndpointSlice, leaderService *corev1.Service) Leadership {
	var mirror Leadership
	if leaderService != nil {
		mirror = readMirror(leaderService)
	}
	if len(slices) == 0 {
		return mirror
	}
	var read Leadership
	for _, slice := range slices {
		if l := readSlice(slice); l.Epoch > read.Epoch || l.Epoch == read.Epoch && read.UID == "" {
			read = l
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

func readSlice(slice *discoveryv1.EndpointSlice) Leadership {
	l := readTerm(slice.Annotations)
	if len(slice.Endpoints) > 0 {
		endpoint := &slice.Endpoints[0]
		if endpoint.TargetRef != nil {
			l.UID, l.PodName = endpoint.TargetRef.UID, endpoint.TargetRef.Name
		}
		l.Ready = endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready
	}
	return l
}

func readMirror(leaderService *corev1.Service) Leadership {
	l := readTerm(leaderService.Annotations)
	l.UID = types.UID(leaderService.Annotations[api.AnnotationLeaderPodUID])
	l.PodName = leaderService.Annotations[api.AnnotationLeaderPodName]
	return l
}

// maxEpoch is the largest epoch that is believed: more than any real one, less than what would overflow or lose digits
// in JSON.
const maxEpoch = 1 << 53

// readTerm reads epoch and time. What others made unreadable counts as absent.
func readTerm(annotations map[string]string) Leadership {
	var l Leadership
	if epoch, err := strconv.ParseInt(annotations[api.AnnotationEpoch], 10, 64); err == nil && epoch > 0 && epoch <= maxEpoch {
		l.Epoch = epoch
	}
	if since, err := time.Parse(time.RFC3339, annotations[api.AnnotationLastSwitchTime]); err == nil {
		l.Since = since.UTC()
	}
	return l
}

// Next is the leadership after the decision. A term begins whenever a pod is published that was not before.
func (l Leadership) Next(decision election.Decision, podName string, now time.Time) Leadership {
	next := Leadership{UID: decision.Leader, PodName: podName, Epoch: l.Epoch, Since: l.Since}
	next.Ready = decision.Leader != "" && !decision.Fallback
	if decision.Leader != "" && (decision.Leader != l.UID || l.Epoch == 0) {
		next.Epoch++
		next.Since = now.UTC().Truncate(time.Second)
	}
	return next
}

// sliceAnnotations are those of the leader slices.
func (l Leadership) sliceAnnotations() map[string]string {
	if l.Epoch == 0 {
		return nil
	}
	annotations := map[string]string{api.AnnotationEpoch: strconv.FormatInt(l.Epoch, 10)}
	if !l.Since.IsZero() {
		annotations[api.AnnotationLastSwitchTime] = l.Since.Format(time.RFC3339)
	}
	return annotations
}

// mirrorAnnotations are those of the leader Service. Nobody leading is said by the absence of a pod.
func (l Leadership) mirrorAnnotations() map[string]string {
	annotations := l.sliceAnnotations()
	if l.UID != "" {
		annotations[api.AnnotationLeaderPodName] = l.PodName
		annotations[api.AnnotationLeaderPodUID] = string(l.UID)
	}
	return annotations
}
