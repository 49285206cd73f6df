package harness

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
)

// PodBuilder describes a pod as the kubelet would leave it: spec and status.
type PodBuilder struct {
	pod corev1.Pod
}

// MakePod describes a Running pod on node-a with the label app=web, Ready for an hour, with a container that names the
// TCP port http 8080. It is given an address in both families unless IP says otherwise.
func MakePod(name string) *PodBuilder {
	b := &PodBuilder{pod: corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName: "node-a",
			Containers: []corev1.Container{{
				Name: "app", Image: "app",
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}}
	return b.Ready(time.Now().Add(-time.Hour))
}

// App sets the label app, by which Services of MakeService select.
func (b *PodBuilder) App(app string) *PodBuilder { return b.Label("app", app) }

// Label sets a label.
func (b *PodBuilder) Label(key, value string) *PodBuilder {
	b.pod.Labels[key] = value
	return b
}

// Cost sets the annotation pod-deletion-cost.
func (b *PodBuilder) Cost(cost string) *PodBuilder {
	metav1.SetMetaDataAnnotation(&b.pod.ObjectMeta, corev1.PodDeletionCost, cost)
	return b
}

// Node places the pod.
func (b *PodBuilder) Node(node string) *PodBuilder {
	b.pod.Spec.NodeName = node
	return b
}

// IP sets the pod's addresses, the primary one first.
func (b *PodBuilder) IP(ips ...string) *PodBuilder {
	b.pod.Status.PodIPs = nil
	for _, ip := range ips {
		b.pod.Status.PodIPs = append(b.pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	b.pod.Status.PodIP = ips[0]
	return b
}

// Ready makes the pod Ready since a time.
func (b *PodBuilder) Ready(since time.Time) *PodBuilder {
	return b.readiness(corev1.ConditionTrue, since)
}

// NotReady makes the pod not Ready.
func (b *PodBuilder) NotReady() *PodBuilder { return b.readiness(corev1.ConditionFalse, time.Now()) }

func (b *PodBuilder) readiness(status corev1.ConditionStatus, since time.Time) *PodBuilder {
	SetReady(&b.pod, status == corev1.ConditionTrue, since)
	return b
}

// Phase sets the pod's phase.
func (b *PodBuilder) Phase(phase corev1.PodPhase) *PodBuilder {
	b.pod.Status.Phase = phase
	return b
}

// Ports replaces the ports of the pod's only ordinary container.
func (b *PodBuilder) Ports(ports ...corev1.ContainerPort) *PodBuilder {
	b.pod.Spec.Containers[0].Ports = ports
	return b
}

// Sidecar adds a restartable init container with ports.
func (b *PodBuilder) Sidecar(ports ...corev1.ContainerPort) *PodBuilder {
	always := corev1.ContainerRestartPolicyAlways
	b.pod.Spec.InitContainers = append(b.pod.Spec.InitContainers,
		corev1.Container{Name: "sidecar", Image: "sidecar", Ports: ports, RestartPolicy: &always})
	return b
}

// Container adds a second ordinary container with ports. Names of ports are unique within a container only.
func (b *PodBuilder) Container(ports ...corev1.ContainerPort) *PodBuilder {
	b.pod.Spec.Containers = append(b.pod.Spec.Containers, corev1.Container{Name: "second", Image: "second", Ports: ports})
	return b
}

// Init adds an ordinary init container with ports.
func (b *PodBuilder) Init(ports ...corev1.ContainerPort) *PodBuilder {
	b.pod.Spec.InitContainers = append(b.pod.Spec.InitContainers, corev1.Container{Name: "init", Image: "init", Ports: ports})
	return b
}

// OwnedBy gives the pod a controller, and the label that names the revision of its template.
func (b *PodBuilder) OwnedBy(owner client.Object, kind, revisionLabel, revision string) *PodBuilder {
	yes := true
	b.pod.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
	}}
	return b.Label(revisionLabel, revision)
}

// SetReady sets the Ready condition of a pod in place.
func SetReady(pod *corev1.Pod, ready bool, since time.Time) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	condition := corev1.PodCondition{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(since)}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			pod.Status.Conditions[i] = condition
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}

// Named is a container port of that name.
func Named(name string, number int32, protocol corev1.Protocol) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: protocol}
}

// ServiceBuilder describes a Service.
type ServiceBuilder struct {
	service corev1.Service
}

// MakeService describes a Service that selects app=web and has the port http 80 -> 8080, not opted in.
func MakeService(name string) *ServiceBuilder {
	return &ServiceBuilder{service: corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}, Labels: map[string]string{}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}},
		},
	}}
}

// Enabled opts the Service in.
func (b *ServiceBuilder) Enabled() *ServiceBuilder { return b.Annotate(api.AnnotationEnabled, "true") }

// Annotate sets an annotation.
func (b *ServiceBuilder) Annotate(key, value string) *ServiceBuilder {
	b.service.Annotations[key] = value
	return b
}

// Label sets a label.
func (b *ServiceBuilder) Label(key, value string) *ServiceBuilder {
	b.service.Labels[key] = value
	return b
}

// App makes the Service select the label app.
func (b *ServiceBuilder) App(app string) *ServiceBuilder {
	b.service.Spec.Selector = map[string]string{"app": app}
	return b
}

// Families sets the IP family policy and, if any are given, the families in order.
func (b *ServiceBuilder) Families(policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) *ServiceBuilder {
	b.service.Spec.IPFamilyPolicy = &policy
	b.service.Spec.IPFamilies = families
	return b
}

// Ports replaces the ports.
func (b *ServiceBuilder) Ports(ports ...corev1.ServicePort) *ServiceBuilder {
	b.service.Spec.Ports = ports
	return b
}

// Spec lets a test set any other field.
func (b *ServiceBuilder) Spec(set func(*corev1.ServiceSpec)) *ServiceBuilder {
	set(&b.service.Spec)
	return b
}

// Object is a copy of the Service as built.
func (b *ServiceBuilder) Object() *corev1.Service {
	service := b.service.DeepCopy()
	service.Annotations = maps.Clone(b.service.Annotations)
	return service
}

// Port is a Service port with a target that is a number or a name.
func Port(name string, number int32, target intstr.IntOrString, protocol corev1.Protocol) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, TargetPort: target, Protocol: protocol}
}

// SliceName is the deterministic name of a leader slice.
func SliceName(leaderService string, family corev1.IPFamily) string {
	if family == corev1.IPv6Protocol {
		return leaderService + "-ipv6"
	}
	return leaderService + "-ipv4"
}

// addressType is the EndpointSlice address type of an IP family.
func addressType(family corev1.IPFamily) discoveryv1.AddressType {
	return discoveryv1.AddressType(family)
}
