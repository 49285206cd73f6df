package routing

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
)

// SliceName is the name of the leader slice of one IP family. It is deterministic, so that two writers that do not see
// each other collide instead of publishing two leaders.
func SliceName(leaderService string, family corev1.IPFamily) string {
	if family == corev1.IPv6Protocol {
		return leaderService + "-ipv6"
	}
	return leaderService + "-ipv4"
}

// DesiredSlice is the leader slice of one IP family. leader is nil if nobody leads; then, and if the leader has no
// address in the family, the slice has no endpoint. The slice itself stays: it holds the epoch.
//
// current is the slice that exists, nil if there is none. What others added to its metadata is kept. trigger is when
// the change happened that led here; it is noted if the endpoints change, and kube-proxy measures its own latency by it.
func DesiredSlice(source *corev1.Service, leaderService string, family corev1.IPFamily, leadership Leadership,
	leader *corev1.Pod, current *discoveryv1.EndpointSlice, trigger time.Time) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: SliceName(leaderService, family), Namespace: source.Namespace},
		AddressType: discoveryv1.AddressType(family),
	}
	if current != nil {
		slice.ObjectMeta = *current.ObjectMeta.DeepCopy()
	}
	ip := ""
	if leader != nil {
		ip = address(leader, family)
	}
	annotations := leadership.termAnnotations
	if ip == "" { // no endpoint names the leader, and the other families' slices may not be ours to write
		annotations = leadership.mirrorAnnotations
	}
	setOwnedMetadata(&slice.ObjectMeta, source, annotations())
	slice.Labels[discoveryv1.LabelServiceName] = leaderService
	slice.Labels[discoveryv1.LabelManagedBy] = api.ManagedBy
	if headless(source) {
		slice.Labels[corev1.IsHeadlessService] = ""
	} else {
		delete(slice.Labels, corev1.IsHeadlessService)
	}

	if ip != "" {
		// An eligible leader's ports resolve: see newCandidate.
		slice.Ports, _ = resolvePorts(source, leader)
		slice.Endpoints = []discoveryv1.Endpoint{endpoint(leader, ip, leadership.Ready)}
	}
	if current == nil || !samePublished(slice.Endpoints, current.Endpoints) {
		slice.Annotations[corev1.EndpointsLastChangeTriggerTime] = trigger.UTC().Format(time.RFC3339Nano)
	}
	return slice
}

// EmptySlice is the slice as it is but for the leader that it names, nil if it names none. The trigger time is noted if
// it had an endpoint.
func EmptySlice(current *discoveryv1.EndpointSlice, now time.Time) *discoveryv1.EndpointSlice {
	if len(current.Endpoints) == 0 && readSlice(current).UID == "" {
		return nil
	}
	slice := current.DeepCopy()
	slice.Endpoints, slice.Ports = nil, nil
	if slice.Annotations == nil {
		slice.Annotations = make(map[string]string, 1)
	}
	delete(slice.Annotations, api.AnnotationLeaderPodName)
	delete(slice.Annotations, api.AnnotationLeaderPodUID)
	if len(current.Endpoints) > 0 {
		slice.Annotations[corev1.EndpointsLastChangeTriggerTime] = now.UTC().Format(time.RFC3339Nano)
	}
	return slice
}

// SliceChanged tells whether a slice differs from the desired one in anything that zen-lead owns. DesiredSlice starts
// from the current metadata, so that what others added is equal in both.
func SliceChanged(current, desired *discoveryv1.EndpointSlice) bool {
	return !equality.Semantic.DeepEqual(current.Endpoints, desired.Endpoints) ||
		!equality.Semantic.DeepEqual(current.Ports, desired.Ports) ||
		metadataChanged(&current.ObjectMeta, &desired.ObjectMeta)
}

// samePublished tells whether two slices publish the same, whatever version of the pod they were made from: a change of
// the pod that clients cannot see is no reason to write. Then the desired endpoint is left with the version of the current.
func samePublished(desired, current []discoveryv1.Endpoint) bool {
	if len(desired) == 0 && len(current) == 0 {
		return true
	}
	if len(desired) != 1 || len(current) != 1 || current[0].TargetRef == nil {
		return false
	}
	ref := desired[0].TargetRef
	version := ref.ResourceVersion
	ref.ResourceVersion = current[0].TargetRef.ResourceVersion
	if equality.Semantic.DeepEqual(&desired[0], &current[0]) {
		return true
	}
	ref.ResourceVersion = version
	return false
}

// endpoint publishes a pod. All three conditions are set, because consumers read a missing one in different ways:
// https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
func endpoint(pod *corev1.Pod, ip string, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses: []string{ip},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       ptr.To(ready),
			Serving:     ptr.To(true),
			Terminating: ptr.To(pod.DeletionTimestamp != nil),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			ResourceVersion: pod.ResourceVersion},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = ptr.To(pod.Spec.NodeName)
	}
	// Kubernetes copies the node's zone to the pod from 1.35 on (KEP-4742). Older ones leave it out: reading nodes
	// would take a cluster-wide permission.
	if zone := pod.Labels[corev1.LabelTopologyZone]; zone != "" {
		e.Zone = ptr.To(zone)
	}
	return e
}
