package informers

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/routing"
)

// The transforms keep what the controller reads of an object and drop the rest before it is cached. They are
// idempotent, because a reflector may hand them what they made before, and they never fail: an error in a transform
// makes the reflector start over. Types that they do not know pass through.

// SlimPod keeps what election and routing read of a pod. It changes the pod that it is given: pods are most of what
// arrives, a reflector hands an object to its transform before anybody else sees it (TransformFunc of
// k8s.io/client-go/tools/cache), and a copy would be the largest allocation of each event.
func SlimPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	full := *pod
	*pod = corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:                       full.Name,
			Namespace:                  full.Namespace,
			UID:                        full.UID,
			ResourceVersion:            full.ResourceVersion,
			Labels:                     full.Labels,
			CreationTimestamp:          full.CreationTimestamp,
			DeletionTimestamp:          full.DeletionTimestamp,
			DeletionGracePeriodSeconds: full.DeletionGracePeriodSeconds,
		},
		Spec: corev1.PodSpec{
			NodeName:       full.Spec.NodeName,
			Containers:     containerPorts(full.Spec.Containers, false),
			InitContainers: containerPorts(full.Spec.InitContainers, true),
		},
		Status: corev1.PodStatus{Phase: full.Status.Phase, PodIPs: full.Status.PodIPs},
	}
	if cost, ok := full.Annotations[routing.PodDeletionCost]; ok {
		pod.Annotations = map[string]string{routing.PodDeletionCost: cost}
	}
	if owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: owner.Kind, Name: owner.Name, UID: owner.UID, Controller: owner.Controller}}
	}
	for i := range full.Status.Conditions {
		if c := &full.Status.Conditions[i]; c.Type == corev1.PodReady {
			pod.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime}}
		}
	}
	return pod, nil
}

// containerPorts keeps the named ports, by which alone a Service's targetPort is looked up; of init containers, those
// that go on running.
func containerPorts(containers []corev1.Container, restartableOnly bool) []corev1.Container {
	var slim []corev1.Container
	for i := range containers {
		c := &containers[i]
		if restartableOnly && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
			continue
		}
		var ports []corev1.ContainerPort
		for _, port := range c.Ports {
			if port.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: port.Name, Protocol: port.Protocol, ContainerPort: port.ContainerPort})
			}
		}
		if len(ports) > 0 {
			slim = append(slim, corev1.Container{RestartPolicy: c.RestartPolicy, Ports: ports})
		}
	}
	return slim
}

// SlimService keeps a Service's name if it is neither opted in nor made by zen-lead: that the name is taken is all that
// matters then. The API server cannot filter by annotation, so all of them arrive.
func SlimService(object any) (any, error) {
	service, ok := object.(*corev1.Service)
	if !ok {
		return object, nil
	}
	slim := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name:              service.Name,
		Namespace:         service.Namespace,
		UID:               service.UID,
		ResourceVersion:   service.ResourceVersion,
		DeletionTimestamp: service.DeletionTimestamp,
	}}
	made := Made(service)
	if !made && !api.Mentioned(service.Annotations) {
		return slim, nil
	}
	slim.Spec = service.Spec
	slim.Annotations = keep(service.Annotations, func(key string) bool { return strings.HasPrefix(key, api.Prefix) })
	if made {
		slim.Labels = keep(service.Labels, func(key string) bool { return key == api.LabelManagedBy || key == api.LabelSourceService })
		slim.OwnerReferences = service.OwnerReferences
	}
	return slim, nil
}

// Made tells whether zen-lead may have made the Service: it says so, or another Service controls it. Whether it is ours
// for a given source is decided by the owner's UID alone; this only keeps enough of the object to decide it, also after
// somebody has removed the label.
func Made(service *corev1.Service) bool {
	return service.Labels[api.LabelManagedBy] == api.ManagedBy || routing.OwnerService(service) != nil
}

func keep(all map[string]string, wanted func(key string) bool) map[string]string {
	var kept map[string]string
	for key, value := range all {
		if !wanted(key) {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, 4)
		}
		kept[key] = value
	}
	return kept
}

// SlimSlice drops what only the API server's own bookkeeping needs.
func SlimSlice(object any) (any, error) {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok || slice.ManagedFields == nil {
		return object, nil
	}
	slim := *slice
	slim.ManagedFields = nil
	return &slim, nil
}
