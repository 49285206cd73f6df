package routing

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
)

// OwnedBy tells whether the source Service controls the object. The UID decides: an object of a deleted Service of the
// same name is about to be garbage-collected and is not ours to change.
func OwnedBy(object metav1.Object, source *corev1.Service) bool {
	owner := OwnerService(object)
	return owner != nil && owner.UID == source.UID
}

// MadeFor tells whether the object was made by zen-lead for this source Service. Others may let their objects be owned
// by it as well; ours say who made them, or have the name that ours are to have.
func MadeFor(object metav1.Object, source *corev1.Service, name string) bool {
	labels := object.GetLabels()
	return OwnedBy(object, source) &&
		(labels[api.LabelManagedBy] == api.ManagedBy || labels[api.LabelSourceService] == source.Name || object.GetName() == name)
}

// OwnerService is the Service that controls an object, nil if none does.
func OwnerService(object metav1.Object) *metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(object)
	if owner == nil || owner.Kind != "Service" || owner.APIVersion != "v1" {
		return nil
	}
	return owner
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
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Service", Name: source.Name, UID: source.UID, Controller: ptr.To(true)}
	for i := range meta.OwnerReferences {
		if meta.OwnerReferences[i].UID == source.UID {
			meta.OwnerReferences[i] = owner
			return
		}
	}
	meta.OwnerReferences = append(meta.OwnerReferences, owner)
}

func outputAnnotations() []string {
	return []string{api.AnnotationLeaderPodName, api.AnnotationLeaderPodUID, api.AnnotationLastSwitchTime, api.AnnotationEpoch}
}

func metadataChanged(current, desired *metav1.ObjectMeta) bool {
	return !equality.Semantic.DeepEqual(current.Labels, desired.Labels) ||
		!equality.Semantic.DeepEqual(current.Annotations, desired.Annotations) ||
		!equality.Semantic.DeepEqual(current.OwnerReferences, desired.OwnerReferences)
}
