package director

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// podChanged tells whether anything changed that candidates or slices are made of: every field that informers.SlimPod
// keeps. It is asked for every event of every pod, and a comparison by reflection costs more than the rest of the event.
func podChanged(before, after *corev1.Pod) bool {
	return before.UID != after.UID ||
		!maps.Equal(before.Labels, after.Labels) ||
		!maps.Equal(before.Annotations, after.Annotations) ||
		!before.CreationTimestamp.Equal(&after.CreationTimestamp) ||
		!before.DeletionTimestamp.Equal(after.DeletionTimestamp) ||
		!ptr.Equal(before.DeletionGracePeriodSeconds, after.DeletionGracePeriodSeconds) ||
		!slices.EqualFunc(before.OwnerReferences, after.OwnerReferences, sameOwner) ||
		before.Spec.NodeName != after.Spec.NodeName ||
		!slices.EqualFunc(before.Spec.Containers, after.Spec.Containers, samePorts) ||
		!slices.EqualFunc(before.Spec.InitContainers, after.Spec.InitContainers, samePorts) ||
		before.Status.Phase != after.Status.Phase ||
		!slices.Equal(before.Status.PodIPs, after.Status.PodIPs) ||
		!slices.EqualFunc(before.Status.Conditions, after.Status.Conditions, sameCondition)
}

func sameOwner(a, b metav1.OwnerReference) bool {
	return a.Kind == b.Kind && a.Name == b.Name && a.UID == b.UID && ptr.Equal(a.Controller, b.Controller)
}

func samePorts(a, b corev1.Container) bool {
	return ptr.Equal(a.RestartPolicy, b.RestartPolicy) && slices.Equal(a.Ports, b.Ports)
}

func sameCondition(a, b corev1.PodCondition) bool {
	return a.Type == b.Type && a.Status == b.Status && a.LastTransitionTime.Equal(&b.LastTransitionTime)
}
