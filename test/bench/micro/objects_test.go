package micro

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/informers"
)

const namespace = "shop"

// epoch is a fixed time, so that nothing depends on when the tests run.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// makeService makes an opted-in Service. If release is set, it is a pair of the selector that other Services share.
func makeService(i int, release string) *corev1.Service {
	name := fmt.Sprintf("service-%d", i)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID("service-uid-" + name), ResourceVersion: "1",
			Annotations: map[string]string{api.AnnotationEnabled: "true"},
		},
		Spec: corev1.ServiceSpec{
			Type:       corev1.ServiceTypeClusterIP,
			Selector:   map[string]string{"app.kubernetes.io/name": name},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		},
	}
	if release != "" {
		service.Spec.Selector["app.kubernetes.io/instance"] = release
	}
	return service
}

// makePod makes a pod of a Service as the API server sends it.
func makePod(service, replica int, release string) *corev1.Pod {
	name := fmt.Sprintf("service-%d", service)
	stamp := metav1.NewTime(epoch())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-6d4cf56db6-%d", name, replica), ResourceVersion: "1",
			UID: types.UID(fmt.Sprintf("pod-uid-%d-%d", service, replica)), CreationTimestamp: stamp,
			Labels: map[string]string{
				"app.kubernetes.io/name": name, "app.kubernetes.io/version": "1.4.2",
				"app.kubernetes.io/part-of": "shop", "pod-template-hash": "6d4cf56db6",
			},
			Annotations: map[string]string{"checksum/config": strings.Repeat("5f3a", 16)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-6d4cf56db6", UID: types.UID("replicaset-" + name), Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{
			Name: "app", Image: "registry.example.com/shop/service:1.4.2",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
		}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: stamp},
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: stamp},
			},
		},
	}
	if release != "" {
		pod.Labels["app.kubernetes.io/instance"] = release
	}
	return pod
}

func makePods(n int) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = informers.NewPod(makePod(1, i, "")).Full()
	}
	return pods
}
