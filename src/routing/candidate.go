// Package routing turns Kubernetes objects into the values that the election decides on, and its decision back into
// the leader Service and its slices. It is pure: objects in, objects out, nothing read and nothing written.
package routing

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	endpointsliceutil "k8s.io/endpointslice/util"

	"github.com/kube-zen/zen-lead/src/election"
)

// PodDeletionCost is the annotation by which a user tells which pods of a ReplicaSet to keep:
// https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
const PodDeletionCost = corev1.PodDeletionCost

// Candidate is a pod as the election sees it, together with the pod itself and the ports that the leader slice would
// have if it led.
type Candidate struct {
	election.Candidate
	Pod *corev1.Pod
	// PortFault says which port does not resolve, if Blocked is PortUnresolved.
	PortFault string
}

// Candidates reduces the pods that the source Service selects.
func Candidates(source *corev1.Service, pods []*corev1.Pod) []Candidate {
	candidates := make([]Candidate, len(pods))
	for i, pod := range pods {
		candidates[i] = newCandidate(source, pod)
	}
	return candidates
}

func newCandidate(source *corev1.Service, pod *corev1.Pod) Candidate {
	ready, readySince := readiness(pod)
	workload, revision := podRevision(pod)
	families := source.Spec.IPFamilies
	_, portErr := resolvePorts(source, pod)

	c := Candidate{Pod: pod, Candidate: election.Candidate{
		UID:          pod.UID,
		Name:         pod.Name,
		Node:         pod.Spec.NodeName,
		ReadySince:   readySince,
		Created:      pod.CreationTimestamp.Time,
		Workload:     workload,
		Revision:     revision,
		AllFamilies:  !slices.ContainsFunc(families, func(f corev1.IPFamily) bool { return address(pod, f) == "" }),
		DeletionCost: deletionCost(pod),
	}}
	hasAddress := len(families) > 0 && address(pod, families[0]) != ""
	switch {
	case pod.DeletionTimestamp != nil:
		c.Blocked = election.Terminating
		c.Serving = ready && hasAddress && portErr == nil && pod.Status.Phase == corev1.PodRunning
	case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		c.Blocked = election.Ended
	case pod.Status.Phase != corev1.PodRunning:
		c.Blocked = election.NotRunning
	case !ready:
		c.Blocked = election.NotReady
	case !hasAddress:
		c.Blocked = election.NoAddress
	case portErr != nil:
		c.Blocked = election.PortUnresolved
		c.PortFault = portErr.Error()
	}
	return c
}

// readiness tells whether the pod's Ready condition is true, and since when the condition is what it is.
func readiness(pod *corev1.Pod) (ready bool, since time.Time) {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			since = pod.Status.Conditions[i].LastTransitionTime.Time
		}
	}
	return endpointsliceutil.IsPodReady(pod), since
}

// podRevision names the workload that made the pod and the revision of its template. A Deployment's pods belong to a
// ReplicaSet for each revision, named after the Deployment and the template's hash, which is on the pod as a label.
func podRevision(pod *corev1.Pod) (workload, revision string) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return "", ""
	}
	name := owner.Name
	switch owner.Kind {
	case "ReplicaSet":
		revision = pod.Labels["pod-template-hash"]
		name = strings.TrimSuffix(name, "-"+revision)
	case "StatefulSet", "DaemonSet":
		revision = pod.Labels["controller-revision-hash"]
	default:
		return "", ""
	}
	return owner.Kind + "/" + name, revision
}

func deletionCost(pod *corev1.Pod) int32 {
	// The API server does not validate the value on every path; what is no number counts as unset, as it does for
	// the ReplicaSet controller.
	cost, err := strconv.ParseInt(pod.Annotations[PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(cost)
}

// address is the pod's first IP of the family, "" if it has none. IPs are parsed again rather than trusted: their text
// form may be one that EndpointSlice validation refuses.
func address(pod *corev1.Pod, family corev1.IPFamily) string {
	for _, podIP := range pod.Status.PodIPs {
		ip, err := netip.ParseAddr(podIP.IP)
		// EndpointSlices hold no zones.
		if err == nil && ip.Zone() == "" && ip.Unmap().Is4() == (family == corev1.IPv4Protocol) {
			return ip.Unmap().String()
		}
	}
	return ""
}
