package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
)

const (
	nodeCount = 100
	// labelSource on a pod names its Service, for the bare loop.
	labelSource = "app.kubernetes.io/name"
)

// fleet makes Services with their pods, as a cluster's own controllers and kubelets would have left them.
type fleet struct {
	podIP     netip.Addr
	clusterIP netip.Addr
	created   time.Time
	nodes     int
}

func newFleet() *fleet {
	return &fleet{
		podIP: netip.MustParseAddr("10.0.0.1"),
		// The API server hands out addresses at random, and uses the lower part of the range last.
		clusterIP: netip.MustParseAddr("10.96.0.100"),
		created:   time.Now().Add(-time.Hour),
	}
}

// workload is a Service and the pods that it selects.
type workload struct {
	service *corev1.Service
	address *networkingv1.IPAddress
	pods    []*corev1.Pod
}

// shape says what workloads are like.
type shape struct {
	namespace string
	prefix    string
	optedIn   bool
	pods      int
	// instance is the value of a label that the selectors share, none if empty.
	instance string
}

// make makes n workloads.
func (f *fleet) make(n int, s shape) []*workload {
	list := make([]*workload, n)
	for i := range list {
		list[i] = f.workload(s, fmt.Sprintf("%s-%d", s.prefix, i))
	}
	return list
}

// spread makes n workloads in namespaces of at most size.
func (f *fleet) spread(n, size int, s shape) []*workload {
	var list []*workload
	for i := 0; len(list) < n; i++ {
		part := s
		part.namespace = fmt.Sprintf("%s-%d", s.namespace, i)
		list = append(list, f.make(min(size, n-len(list)), part)...)
	}
	return list
}

func (f *fleet) workload(s shape, name string) *workload {
	f.clusterIP = f.clusterIP.Next()
	instance := name
	if s.instance != "" {
		instance = s.instance
	}
	w := &workload{service: &corev1.Service{
		ObjectMeta: f.meta(s.namespace, name),
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeClusterIP,
			Selector:              map[string]string{labelSource: name, "app.kubernetes.io/instance": instance},
			Ports:                 []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
			ClusterIP:             f.clusterIP.String(),
			ClusterIPs:            []string{f.clusterIP.String()},
			IPFamilies:            []corev1.IPFamily{corev1.IPv4Protocol},
			IPFamilyPolicy:        ptr.To(corev1.IPFamilyPolicySingleStack),
			SessionAffinity:       corev1.ServiceAffinityNone,
			InternalTrafficPolicy: ptr.To(corev1.ServiceInternalTrafficPolicyCluster),
		},
	}}
	if s.optedIn {
		w.service.Annotations = map[string]string{api.AnnotationEnabled: "true"}
	}
	w.address = &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name: f.clusterIP.String(), UID: newUID(), CreationTimestamp: metav1.NewTime(f.created),
			Labels: map[string]string{networkingv1.LabelIPAddressFamily: "IPv4", networkingv1.LabelManagedBy: "ipallocator.k8s.io"},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: s.namespace, Name: name}},
	}
	for i := range s.pods {
		w.pods = append(w.pods, f.pod(s, name, instance, i))
	}
	return w
}

func (f *fleet) meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: newUID(), CreationTimestamp: metav1.NewTime(f.created)}
}

// pod makes a pod of the size that pods of real clusters have: about 4 kB, of which managedFields are a third.
func (f *fleet) pod(s shape, service, instance string, i int) *corev1.Pod {
	f.podIP = f.podIP.Next()
	f.nodes++
	meta := f.meta(s.namespace, fmt.Sprintf("%s-6d4cf56db6-%d", service, i))
	meta.GenerateName = service + "-6d4cf56db6-"
	meta.Labels = map[string]string{
		labelSource: service, "app.kubernetes.io/instance": instance, "app.kubernetes.io/version": "1.4.2",
		"app.kubernetes.io/part-of": "shop", "pod-template-hash": "6d4cf56db6",
	}
	meta.Annotations = map[string]string{
		"prometheus.io/scrape": "true", "prometheus.io/port": "9090",
		"checksum/config": strings.Repeat("5f3a", 16), "kubectl.kubernetes.io/restartedAt": f.created.Format(time.RFC3339),
	}
	meta.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: service + "-6d4cf56db6", UID: types.UID("5d2f0c5e-0000-4000-8000-" + fmt.Sprintf("%012x", f.nodes/s.pods)),
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}}
	meta.ManagedFields = f.managedFields()
	pod := &corev1.Pod{ObjectMeta: meta, Spec: podSpec(nodeName(f.nodes % nodeCount))}
	pod.Status = f.podStatus(f.podIP.String())
	return pod
}

func (f *fleet) managedFields() []metav1.ManagedFieldsEntry {
	fields := []byte(`{"f:metadata":{"f:annotations":{"f:checksum/config":{}},"f:labels":{"f:app.kubernetes.io/name":{}}},"f:spec":{` +
		strings.Repeat(`"f:containers":{"k:{\"name\":\"app\"}":{"f:image":{},"f:name":{}}},`, 8) + `"f:restartPolicy":{}}}`)
	stamp := metav1.NewTime(f.created)
	return []metav1.ManagedFieldsEntry{
		{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &stamp, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(fields))},
		{Manager: "kubelet", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &stamp, Subresource: "status", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(fields))},
	}
}

func podSpec(node string) corev1.PodSpec {
	container := corev1.Container{
		Name: "app", Image: "registry.example.com/shop/service:1.4.2@sha256:" + strings.Repeat("0a1b", 16),
		Ports: []corev1.ContainerPort{
			{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}, {Name: "metrics", ContainerPort: 9090, Protocol: corev1.ProtocolTCP},
		},
		ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true}},
	}
	for i := range 12 {
		container.Env = append(container.Env, corev1.EnvVar{Name: fmt.Sprintf("SERVICE_SETTING_%d", i), Value: "a value of some length"})
	}
	return corev1.PodSpec{
		Containers: []corev1.Container{container}, NodeName: node, RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
		ServiceAccountName: "default", DeprecatedServiceAccount: "default", SchedulerName: corev1.DefaultSchedulerName,
		TerminationGracePeriodSeconds: ptr.To(int64(30)), SecurityContext: &corev1.PodSecurityContext{}, EnableServiceLinks: ptr.To(true),
		Volumes: []corev1.Volume{{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		Tolerations: []corev1.Toleration{
			{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To(int64(300))},
			{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To(int64(300))},
		},
	}
}

func (f *fleet) podStatus(ip string) corev1.PodStatus {
	since := metav1.NewTime(f.created)
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}},
		StartTime: &since, QOSClass: corev1.PodQOSBestEffort,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "app", Ready: true, Started: ptr.To(true), Image: "registry.example.com/shop/service:1.4.2",
			ImageID:     "registry.example.com/shop/service@sha256:" + strings.Repeat("0a1b", 16),
			ContainerID: "containerd://" + strings.Repeat("9f8e", 16), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: since}},
		}},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodInitialized, corev1.ContainersReady, corev1.PodScheduled, corev1.PodReadyToStartContainers, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: since})
	}
	return status
}

// setReady changes the pod in place, as its kubelet would.
func setReady(pod *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			pod.Status.Conditions[i].Status = status
			pod.Status.Conditions[i].LastTransitionTime = metav1.Now()
		}
	}
}

// objects are everything that makes up the workloads, namespaces first.
func objects(workloads []*workload) []object {
	var list []object
	seen := map[string]bool{}
	for _, w := range workloads {
		if namespace := w.service.Namespace; !seen[namespace] {
			seen[namespace] = true
			list = append(list, &corev1.Namespace{
				ObjectMeta: metav1.ObjectMeta{Name: namespace, UID: newUID(), CreationTimestamp: metav1.Now(), Labels: map[string]string{corev1.LabelMetadataName: namespace}},
				Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
				Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
			})
		}
		list = append(list, w.address, w.service)
		for _, pod := range w.pods {
			list = append(list, pod)
		}
	}
	return list
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func newUID() types.UID { return uuid.NewUUID() }
