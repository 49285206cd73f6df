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
		kept[word(key)] = word(value)
	}
	return kept
}

// SlimSlice drops what only the API server's own bookkeeping needs, and takes our own words for those that arrived.
func SlimSlice(object any) (any, error) {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return object, nil
	}
	all := func(string) bool { return true }
	slim := *slice
	slim.ManagedFields = nil
	slim.Labels, slim.Annotations = keep(slice.Labels, all), keep(slice.Annotations, all)
	return &slim, nil
}

// word is the program's own copy of what zen-lead writes on every object that it makes. Each object that arrives brings
// another one.
func word(text string) string {
	for _, own := range [...]string{
		api.AnnotationEnabled, api.AnnotationLeaderPodName, api.AnnotationLeaderPodUID, api.AnnotationLastSwitchTime, api.AnnotationEpoch,
		api.LabelSourceService, api.LabelManagedBy, api.ManagedBy, "true",
		discoveryv1.LabelServiceName, discoveryv1.LabelManagedBy, corev1.IsHeadlessService, corev1.EndpointsLastChangeTriggerTime,
	} {
		if own == text {
			return own
		}
	}
	return text
}
