package routing

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
)

// Unsupported says why a Service cannot have a leader Service, nil if it can.
func Unsupported(source *corev1.Service) *api.Problem {
	switch {
	case source.Spec.Type == corev1.ServiceTypeExternalName:
		return &api.Problem{Reason: ReasonExternalName, Message: "the Service is of type ExternalName and has no pods to choose from; " +
			"annotate a Service with a selector instead"}
	case len(source.Spec.Selector) == 0:
		return &api.Problem{Reason: ReasonNoSelector, Message: "the Service has no selector and so no pods to choose from; " +
			"give it a selector, or remove annotation " + api.AnnotationEnabled}
	}
	return nil
}

// Reasons for which a Service is unsupported.
const (
	ReasonExternalName = "external_name"
	ReasonNoSelector   = "no_selector"
)

// DesiredLeaderService is the leader Service: a plain ClusterIP Service with the source's ports and IP families, and
// nothing else of it. Labels and annotations are not copied, because they make others act (DNS records, scrapes, GitOps
// ownership); type, node ports, load balancers, session affinity and traffic policies are the source's own business.
//
// current is the Service that exists, nil if there is none. What others added to it, and what the API server filled in,
// is kept.
func DesiredLeaderService(source *corev1.Service, name string, leadership Leadership, current *corev1.Service) *corev1.Service {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: source.Namespace}}
	if current != nil {
		service = current.DeepCopy()
	}
	setOwnedMetadata(&service.ObjectMeta, source, leadership.mirrorAnnotations())
	spec := &service.Spec
	spec.Type = corev1.ServiceTypeClusterIP
	spec.Selector = nil
	spec.Ports = leaderPorts(source)
	spec.IPFamilyPolicy = source.Spec.IPFamilyPolicy
	spec.IPFamilies = slices.Clone(source.Spec.IPFamilies)
	spec.SessionAffinity = corev1.ServiceAffinityNone
	spec.SessionAffinityConfig = nil
	spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	spec.PublishNotReadyAddresses = false
	spec.ExternalIPs = nil
	if headless(source) {
		spec.ClusterIP = corev1.ClusterIPNone
	} else if spec.ClusterIP == corev1.ClusterIPNone {
		spec.ClusterIP = ""
	}
	return service
}

// LeaderServiceChanged tells whether a leader Service differs from the desired one in anything that zen-lead owns.
// DesiredLeaderService starts from the current object, so that all else is equal in both.
func LeaderServiceChanged(current, desired *corev1.Service) bool {
	return !equality.Semantic.DeepEqual(current.Spec, desired.Spec) || metadataChanged(&current.ObjectMeta, &desired.ObjectMeta)
}

// MustRecreate tells whether a leader Service can become the desired one only by being made anew: a cluster IP cannot
// be given to a headless Service or taken from one, and the primary IP family cannot change. And once somebody has given
// it a selector, Kubernetes' own EndpointSlice controller has filled slices with all pods, which it neither updates nor
// removes when the selector goes again: they go only with the Service.
func MustRecreate(current, desired *corev1.Service) bool {
	if len(current.Spec.Selector) > 0 {
		return true
	}
	if (current.Spec.ClusterIP == corev1.ClusterIPNone) != (desired.Spec.ClusterIP == corev1.ClusterIPNone) {
		return true
	}
	return len(current.Spec.IPFamilies) > 0 && len(desired.Spec.IPFamilies) > 0 &&
		current.Spec.IPFamilies[0] != desired.Spec.IPFamilies[0]
}

// headless tells whether the leader Service is headless: only if the source is, and has no ports, which an ordinary
// ClusterIP Service must have.
func headless(source *corev1.Service) bool {
	return source.Spec.ClusterIP == corev1.ClusterIPNone && len(source.Spec.Ports) == 0
}

func leaderPorts(source *corev1.Service) []corev1.ServicePort {
	var ports []corev1.ServicePort
	for i := range source.Spec.Ports {
		p := &source.Spec.Ports[i]
		ports = append(ports, corev1.ServicePort{
			Name: p.Name, Protocol: p.Protocol, Port: p.Port, TargetPort: p.TargetPort, AppProtocol: p.AppProtocol,
		})
	}
	return ports
}
