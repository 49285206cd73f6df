package routing

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
)

// OwnedBy tells whether the object was made by zen-lead for this source Service. The UID decides: an object of a
// deleted Service of the same name is about to be garbage-collected and is not ours to change.
func OwnedBy(object metav1.Object, source *corev1.Service) bool {
	owner := metav1.GetControllerOfNoCopy(object)
	return owner != nil && owner.UID == source.UID
}

// setOwnedMetadata sets the labels, annotations and owner that zen-lead writes on an object, beside those of others.
func setOwnedMetadata(meta *metav1.ObjectMeta, source *corev1.Service, annotations map[string]string) {
	if meta.Labels == nil {
		meta.Labels = make(map[string]string, 4)
	}
	meta.Labels[api.LabelManagedBy] = api.ManagedBy
	meta.Labels[api.LabelSourceService] = source.Name
	if meta.Annotations == nil {
		meta.Annotations = make(map[string]string, 5)
	}
	for _, key := range outputAnnotations() {
		delete(meta.Annotations, key)
	}
	maps.Copy(meta.Annotations, annotations)
	// blockOwnerDeletion would need the right to update the finalizers of Services on clusters that enforce
	// OwnerReferencesPermissionEnforcement, and brings nothing here.
	meta.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Service", Name: source.Name, UID: source.UID, Controller: ptr.To(true),
	}}
}

func outputAnnotations() []string {
	return []string{api.AnnotationLeaderPodName, api.AnnotationLeaderPodUID, api.AnnotationLastSwitchTime, api.AnnotationEpoch}
}

func metadataChanged(current, desired *metav1.ObjectMeta) bool {
	return !equality.Semantic.DeepEqual(current.Labels, desired.Labels) ||
		!equality.Semantic.DeepEqual(current.Annotations, desired.Annotations) ||
		!equality.Semantic.DeepEqual(current.OwnerReferences, desired.OwnerReferences)
}
