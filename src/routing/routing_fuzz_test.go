package routing

import (
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/api"
)

// FuzzResolvePorts targets any port of any pod: every port is resolved to one that the pod has, or none is.
func FuzzResolvePorts(f *testing.F) {
	f.Add("http", "http", int32(8080), "TCP", "TCP", int32(0), true)
	f.Add("http", "http", int32(8080), "TCP", "UDP", int32(0), false)
	f.Add("", "", int32(0), "", "TCP", int32(80), false)
	f.Add("http", "HTTP", int32(-1), "SCTP", "SCTP", int32(-1), true)
	f.Add("80", "80", int32(65536), "TCP", "TCP", int32(0), false)
	f.Add("a\nb", "a\nb", int32(1), "TCP", "TCP", int32(0), false)
	f.Fuzz(func(t *testing.T, target, name string, number int32, protocol, wanted string, byNumber int32, sidecar bool) {
		port := corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.Protocol(protocol)}
		pod := makePod(func(p *corev1.Pod) {
			container := corev1.Container{Name: "c", Ports: []corev1.ContainerPort{port}}
			if always := corev1.ContainerRestartPolicyAlways; sidecar {
				container.RestartPolicy = &always
				p.Spec.InitContainers = []corev1.Container{container}
				return
			}
			p.Spec.Containers = []corev1.Container{container}
		})
		to := intstr.FromString(target)
		if byNumber != 0 {
			to = intstr.FromInt32(byNumber)
		}
		source := makeSource(func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{
				{Name: "fixed", Port: 1, TargetPort: intstr.FromInt32(1), Protocol: corev1.ProtocolTCP},
				{Name: "p", Port: 80, TargetPort: to, Protocol: corev1.Protocol(wanted)},
			}
		})
		ports, err := resolvePorts(source, pod)
		switch {
		case err != nil && ports != nil:
			t.Errorf("half of them: %v, %v", ports, err)
		case err != nil:
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q", err)
			}
		case len(ports) != 2:
			t.Errorf("%d ports", len(ports))
		case byNumber != 0 && *ports[1].Port != byNumber:
			t.Errorf("%d became %d", byNumber, *ports[1].Port)
		case byNumber == 0 && (target != name || protocol != wanted || *ports[1].Port != number):
			t.Errorf("%q/%s became %d of %q/%s %d", target, wanted, *ports[1].Port, name, protocol, number)
		}
	})
}

// FuzzReadLeadership reads annotations that anybody may have written.
func FuzzReadLeadership(f *testing.F) {
	for _, seed := range [][2]string{
		{"1", "2026-01-02T03:04:05Z"}, {"-1", ""}, {"9007199254740992", "x"}, {"9223372036854775808", "0001-01-01T00:00:00Z"}, {" 1", "2026-01-02T03:04:05+25:00"}, {"1e3", "9999-12-31T23:59:59Z"},
	} {
		f.Add(seed[0], seed[1], "uid", "pod", true)
	}
	f.Fuzz(func(t *testing.T, epoch, since, uid, name string, published bool) {
		annotations := map[string]string{api.AnnotationEpoch: epoch, api.AnnotationLastSwitchTime: since, api.AnnotationLeaderPodUID: uid, api.AnnotationLeaderPodName: name}
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
		if published {
			slice.Endpoints = []discoveryv1.Endpoint{{}}
		}
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
		for _, l := range []Leadership{
			ReadLeadership([]*discoveryv1.EndpointSlice{slice}, nil), ReadLeadership(nil, []*corev1.Service{service}), ReadLeadership([]*discoveryv1.EndpointSlice{slice}, []*corev1.Service{service}),
		} {
			if l.Epoch < 0 || l.Epoch > maxEpoch {
				t.Errorf("%q is epoch %d", epoch, l.Epoch)
			}
			// What is written of it is read as the same.
			again := readTerm(l.termAnnotations(), maxEpoch)
			if l.Epoch > 0 && (again.Epoch != l.Epoch || !again.Since.Equal(l.Since)) {
				t.Errorf("%+v is written as %v", l, l.termAnnotations())
			}
		}
	})
}

// FuzzAddress takes what a kubelet might report, and gives what an EndpointSlice may hold.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"10.0.0.1", "010.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "fd00::1", "FD00:0::1", "", "10.0.0.1/8", "1.2.3", "::ffff:1.2.3.4%eth0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pod := makePod(ips(text))
		for family, size := range map[corev1.IPFamily]int{corev1.IPv4Protocol: net.IPv4len, corev1.IPv6Protocol: net.IPv6len} {
			have := address(pod, family)
			if have == "" {
				continue
			}
			ip := net.ParseIP(have)
			if ip == nil || ip.String() != have || (ip.To4() != nil) != (size == net.IPv4len) {
				t.Errorf("%q is the %s address %q", text, family, have)
			}
		}
	})
}

// FuzzDeletionCost counts what is no number as unset.
func FuzzDeletionCost(f *testing.F) {
	for _, seed := range []string{"", "0", "-2147483648", "2147483648", "+1", "0x1", "1e1", " 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pod := makePod()
		pod.Annotations = map[string]string{PodDeletionCost: text}
		if cost := deletionCost(pod); cost != 0 && !strings.ContainsAny(text, "123456789") {
			t.Errorf("%q is %d", text, cost)
		}
	})
}
