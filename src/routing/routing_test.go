package routing

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/election"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func makeSource(mods ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "source",
			Labels: map[string]string{"team": "x"}, Annotations: map[string]string{api.AnnotationEnabled: "true", "dns": "name"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.0.0.1", Selector: map[string]string{"app": "web"},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicySingleStack),
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, mod := range mods {
		mod(s)
	}
	return s
}

func makePod(mods ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "pod", Labels: map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))},
		Spec: corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(noon.Add(-time.Minute))}},
		},
	}
	for _, mod := range mods {
		mod(p)
	}
	return p
}

func notReady(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func terminating(p *corev1.Pod) {
	p.DeletionTimestamp = ptr.To(metav1.NewTime(noon.Add(20 * time.Second)))
}
func phase(v corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = v }
}
func ips(v ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.PodIPs = nil
		for _, ip := range v {
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
		}
	}
}
func namedPort(name string, protocol corev1.Protocol, number int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{Name: name, Protocol: protocol, ContainerPort: number}}})
	}
}
func target(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString(name) }
}
func families(v ...corev1.IPFamily) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.IPFamilies = v }
}
func headlessSource(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }
func noPorts(s *corev1.Service)        { s.Spec.Ports = nil }

func TestCandidateBlocks(t *testing.T) {
	tests := map[string]struct {
		source  *corev1.Service
		pod     *corev1.Pod
		blocked election.Block
		serving bool
	}{
		"may lead":                 {makeSource(), makePod(), election.Free, false},
		"not Ready":                {makeSource(), makePod(notReady), election.NotReady, false},
		"no Ready condition":       {makeSource(), makePod(func(p *corev1.Pod) { p.Status.Conditions = nil }), election.NotReady, false},
		"publishNotReadyAddresses": {makeSource(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }), makePod(notReady), election.NotReady, false},
		"pending":                  {makeSource(), makePod(phase(corev1.PodPending)), election.NotRunning, false},
		"failed":                   {makeSource(), makePod(phase(corev1.PodFailed)), election.Ended, false},
		"terminating, Ready":       {makeSource(), makePod(terminating), election.Terminating, true},
		"terminating, not Ready":   {makeSource(), makePod(terminating, notReady), election.Terminating, false},
		"terminating, over":        {makeSource(), makePod(terminating, phase(corev1.PodSucceeded)), election.Terminating, false},
		"terminating, port":        {makeSource(target("x")), makePod(terminating), election.Terminating, false},
		"no IP":                    {makeSource(), makePod(ips()), election.NoAddress, false},
		"IP of another family":     {makeSource(families(corev1.IPv6Protocol)), makePod(), election.NoAddress, false},
		"only the secondary IP":    {makeSource(families(corev1.IPv6Protocol, corev1.IPv4Protocol)), makePod(), election.NoAddress, false},
		"only the primary IP":      {makeSource(families(corev1.IPv4Protocol, corev1.IPv6Protocol)), makePod(), election.Free, false},
		"port unresolved":          {makeSource(target("x")), makePod(), election.PortUnresolved, false},
		"port of another protocol": {makeSource(target("x")), makePod(namedPort("x", corev1.ProtocolUDP, 1)), election.PortUnresolved, false},
		"port resolved":            {makeSource(target("x")), makePod(namedPort("x", corev1.ProtocolTCP, 1)), election.Free, false},
		"no ports at all":          {makeSource(headlessSource, noPorts), makePod(), election.Free, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := Candidates(test.source, []*corev1.Pod{test.pod})[0]
			assert.Equal(t, test.blocked, c.Blocked)
			assert.Equal(t, test.serving, c.Serving)
			assert.Equal(t, test.blocked == election.PortUnresolved, c.PortFault != "")
		})
	}
	assert.False(t, newCandidate(makeSource(families(corev1.IPv4Protocol, corev1.IPv6Protocol)), makePod()).AllFamilies)
	assert.True(t, newCandidate(makeSource(families(corev1.IPv4Protocol, corev1.IPv6Protocol)), makePod(ips("10.1.0.1", "fd00::1"))).AllFamilies)
}

func TestCandidateWorkloadAndRevision(t *testing.T) {
	owned := func(kind, name string, labels map[string]string) *corev1.Pod {
		return makePod(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: ptr.To(true)}}
			p.Labels = labels
		})
	}
	tests := map[string]struct {
		pod                *corev1.Pod
		workload, revision string
	}{
		"bare":        {makePod(), "", ""},
		"Deployment":  {owned("ReplicaSet", "web-7f9c", map[string]string{"pod-template-hash": "7f9c"}), "ReplicaSet/web", "7f9c"},
		"ReplicaSet":  {owned("ReplicaSet", "web", nil), "ReplicaSet/web", ""},
		"StatefulSet": {owned("StatefulSet", "db", map[string]string{"controller-revision-hash": "db-1"}), "StatefulSet/db", "db-1"},
		"DaemonSet":   {owned("DaemonSet", "d", map[string]string{"controller-revision-hash": "1"}), "DaemonSet/d", "1"},
		"Job":         {owned("Job", "j", nil), "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			workload, revision := podRevision(test.pod)
			assert.Equal(t, test.workload, workload)
			assert.Equal(t, test.revision, revision)
		})
	}
}

func TestDeletionCost(t *testing.T) {
	for value, want := range map[string]int32{"": 0, "7": 7, "-7": -7, "x": 0, "99999999999": 0} {
		assert.Equal(t, want, deletionCost(makePod(func(p *corev1.Pod) { p.Annotations = map[string]string{PodDeletionCost: value} })), value)
	}
}

func TestAddressParsesAgain(t *testing.T) {
	pod := makePod(ips("nonsense", "fd00:0::1", "::ffff:10.0.0.7"))
	assert.Equal(t, "10.0.0.7", address(pod, corev1.IPv4Protocol))
	assert.Equal(t, "fd00::1", address(pod, corev1.IPv6Protocol))
}

func TestTrap18PortsAreResolvedByProtocolAndOnSidecars(t *testing.T) {
	source := makeSource(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{
			{Name: "dns", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromString("dns")},
			{Name: "dns-udp", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromString("dns")},
			{Name: "mesh", Protocol: corev1.ProtocolTCP, Port: 1, TargetPort: intstr.FromString("mesh"), AppProtocol: ptr.To("h2c")},
		}
	})
	pod := makePod(namedPort("dns", corev1.ProtocolUDP, 1053), namedPort("dns", corev1.ProtocolTCP, 2053), func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "mesh", Protocol: corev1.ProtocolTCP, ContainerPort: 1}}},
			{RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{Name: "mesh", Protocol: corev1.ProtocolTCP, ContainerPort: 15000}}},
		}
	})
	ports, err := resolvePorts(source, pod)
	require.NoError(t, err)
	assert.Equal(t, []discoveryv1.EndpointPort{
		{Name: ptr.To("dns"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(int32(2053))},
		{Name: ptr.To("dns-udp"), Protocol: ptr.To(corev1.ProtocolUDP), Port: ptr.To(int32(1053))},
		{Name: ptr.To("mesh"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(int32(15000)), AppProtocol: ptr.To("h2c")},
	}, ports)
}

func leadership() Leadership {
	return Leadership{UID: "pod", PodName: "p", Ready: true, Epoch: 3, Since: noon}
}

func TestDesiredSlice(t *testing.T) {
	source, leader := makeSource(), makePod(func(p *corev1.Pod) { p.Labels[corev1.LabelTopologyZone] = "z1" })
	slice := DesiredSlice(source, "web-leader", corev1.IPv4Protocol, leadership(), leader, nil, noon)
	assert.Equal(t, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-leader-ipv4", Namespace: "ns",
			Labels: map[string]string{
				"app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "web",
				"kubernetes.io/service-name": "web-leader", "endpointslice.kubernetes.io/managed-by": "zen-lead",
			},
			Annotations: map[string]string{
				"zen-lead.io/leader-epoch": "3", "zen-lead.io/leader-last-switch-time": "2026-03-01T12:00:00Z",
				"endpoints.kubernetes.io/last-change-trigger-time": "2026-03-01T12:00:00Z",
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "web", UID: "source", Controller: ptr.To(true)}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{"10.1.0.1"},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "p", UID: "pod"},
			NodeName:   ptr.To("node"), Zone: ptr.To("z1"),
		}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(int32(8080))}},
	}, slice)

	again := DesiredSlice(source, "web-leader", corev1.IPv4Protocol, leadership(), leader, slice, noon.Add(time.Hour))
	assert.False(t, SliceChanged(slice, again), "the trigger time alone is no change")
}

func TestDesiredSliceWithoutLeaderIsEmptyAndStays(t *testing.T) {
	nobody := Leadership{Epoch: 3, Since: noon}
	slice := DesiredSlice(makeSource(target("named")), "web-leader", corev1.IPv4Protocol, nobody, nil, nil, noon)
	assert.Empty(t, slice.Endpoints)
	assert.Empty(t, slice.Ports)
	assert.Equal(t, "3", slice.Annotations[api.AnnotationEpoch])

	six := DesiredSlice(makeSource(), "web-leader", corev1.IPv6Protocol, leadership(), makePod(), nil, noon)
	assert.Empty(t, six.Endpoints, "the leader has no address of this family")
	assert.Equal(t, "web-leader-ipv6", six.Name)
	assert.Equal(t, discoveryv1.AddressTypeIPv6, six.AddressType)
}

func TestDesiredSliceFallback(t *testing.T) {
	l := leadership()
	l.Ready = false
	slice := DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, l, makePod(terminating), nil, noon)
	assert.Equal(t, discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}, slice.Endpoints[0].Conditions)
}

func TestSliceChangedSeesWhatIsOursAndKeepsTheRest(t *testing.T) {
	desired := func(current *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
		return DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, leadership(), makePod(), current, noon)
	}
	for name, mutate := range map[string]func(*discoveryv1.EndpointSlice){
		"address":       func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"10.9.9.9"} },
		"ready":         func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Conditions.Ready = nil },
		"second":        func(s *discoveryv1.EndpointSlice) { s.Endpoints = append(s.Endpoints, s.Endpoints[0]) },
		"target":        func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].TargetRef = nil },
		"none":          func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil },
		"port":          func(s *discoveryv1.EndpointSlice) { s.Ports[0].Port = ptr.To(int32(1)) },
		"epoch":         func(s *discoveryv1.EndpointSlice) { s.Annotations[api.AnnotationEpoch] = "2" },
		"service label": func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "other" },
		"owner":         func(s *discoveryv1.EndpointSlice) { s.OwnerReferences[0].Name = "other" },
	} {
		current := desired(nil)
		mutate(current)
		assert.True(t, SliceChanged(current, desired(current)), name)
	}
	current := desired(nil)
	current.Labels["theirs"], current.Annotations["theirs"] = "x", "y"
	again := desired(current)
	assert.False(t, SliceChanged(current, again))
	assert.Equal(t, "x", again.Labels["theirs"])
	assert.Equal(t, "y", again.Annotations["theirs"])
}

func TestEmptySlice(t *testing.T) {
	slice := DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, leadership(), makePod(), nil, noon)
	empty := EmptySlice(slice, noon.Add(time.Second))
	assert.Empty(t, empty.Endpoints)
	assert.Equal(t, "3", empty.Annotations[api.AnnotationEpoch])
	assert.NotEmpty(t, slice.Endpoints, "the input was changed")
}

func TestReadLeadership(t *testing.T) {
	at := func(epoch int64, uid string) *discoveryv1.EndpointSlice {
		l := Leadership{UID: "x", Epoch: epoch, Since: noon, Ready: true}
		pod := makePod(func(p *corev1.Pod) { p.UID = "x"; p.Name = uid })
		slice := DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, l, pod, nil, noon)
		if uid == "" {
			slice.Endpoints = nil
		}
		return slice
	}
	mirror := DesiredLeaderService(makeSource(), "web-leader", leadership(), nil)
	mirrors := []*corev1.Service{mirror}

	assert.Equal(t, Leadership{}, ReadLeadership(nil, nil))
	assert.Equal(t, Leadership{UID: "x", PodName: "a", Ready: true, Epoch: 3, Since: noon}, ReadLeadership([]*discoveryv1.EndpointSlice{at(2, "a")}, mirrors),
		"the slice says who leads; a term that its copy has counted stays counted")
	stripped := at(5, "a")
	stripped.Annotations = nil
	assert.Equal(t, Leadership{UID: "x", PodName: "a", Ready: true, Epoch: 3, Since: noon}, ReadLeadership([]*discoveryv1.EndpointSlice{stripped}, mirrors))
	assert.NotContains(t, Leadership{UID: "x", Epoch: 1}.mirrorAnnotations(), api.AnnotationLastSwitchTime, "an unknown time is not written")
	assert.Equal(t, "b", ReadLeadership([]*discoveryv1.EndpointSlice{at(2, "a"), at(3, "b")}, nil).PodName, "the highest epoch counts")
	other := at(3, "b")
	other.Endpoints[0].TargetRef.UID = "y"
	contested := ReadLeadership([]*discoveryv1.EndpointSlice{at(3, "a"), other}, nil)
	assert.Equal(t, Leadership{UID: "x", PodName: "a", Ready: true, Epoch: 3, Since: noon, Contested: true}, contested)
	assert.EqualValues(t, 4, contested.Next(election.Decision{Leader: "x"}, "a", noon).Epoch, "one epoch, one leader")
	assert.False(t, ReadLeadership([]*discoveryv1.EndpointSlice{at(2, "a"), other}, nil).Contested)
	assert.Equal(t, "b", ReadLeadership([]*discoveryv1.EndpointSlice{at(3, ""), at(3, "b")}, nil).PodName, "a family without address does not hide the leader")
	assert.Equal(t, Leadership{Epoch: 4, Since: noon}, ReadLeadership([]*discoveryv1.EndpointSlice{at(4, "")}, nil))
	assert.Equal(t, Leadership{UID: "pod", PodName: "p", Epoch: 3, Since: noon}, ReadLeadership(nil, mirrors), "the copy proves the incumbent where no slice is left")

	for _, nonsense := range []string{"", "x", "-1", "9223372036854775807", "9007199254740991"} {
		mirror.Annotations[api.AnnotationEpoch] = nonsense
		assert.Zero(t, ReadLeadership(nil, mirrors).Epoch, nonsense)
	}
}

func TestNext(t *testing.T) {
	later := noon.Add(time.Minute + 300*time.Millisecond)
	before := leadership()

	same := before.Next(election.Decision{Leader: "pod"}, "p", later)
	assert.Equal(t, before, same)

	fallback := before.Next(election.Decision{Leader: "pod", Fallback: true}, "p", later)
	assert.Equal(t, Leadership{UID: "pod", PodName: "p", Epoch: 3, Since: noon}, fallback)

	moved := before.Next(election.Decision{Leader: "other"}, "o", later)
	assert.Equal(t, Leadership{UID: "other", PodName: "o", Ready: true, Epoch: 4, Since: noon.Add(time.Minute)}, moved)

	nobody := before.Next(election.Decision{}, "", later)
	assert.Equal(t, Leadership{Epoch: 3, Since: noon}, nobody)
	assert.Equal(t, int64(4), nobody.Next(election.Decision{Leader: "pod"}, "p", later).Epoch, "a new term, also of the same pod")

	unreadable := Leadership{UID: "pod", PodName: "p"}
	assert.Equal(t, int64(1), unreadable.Next(election.Decision{Leader: "pod"}, "p", later).Epoch)
}

func TestDesiredLeaderService(t *testing.T) {
	source := makeSource(func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.Ports[0].NodePort = 30000
		s.Spec.Ports[0].AppProtocol = ptr.To("http")
		s.Spec.ExternalIPs = []string{"1.2.3.4"}
		s.Spec.LoadBalancerIP = "1.2.3.5"
		s.Spec.LoadBalancerSourceRanges = []string{"0.0.0.0/0"}
		s.Spec.LoadBalancerClass = ptr.To("x")
		s.Spec.AllocateLoadBalancerNodePorts = ptr.To(true)
		s.Spec.HealthCheckNodePort = 30001
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.PublishNotReadyAddresses = true
		s.Spec.TrafficDistribution = ptr.To("PreferClose")
	})
	assert.Equal(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-leader", Namespace: "ns",
			Labels: map[string]string{"app.kubernetes.io/managed-by": "zen-lead", "zen-lead.io/source-service": "web"},
			Annotations: map[string]string{
				"zen-lead.io/leader-pod-name": "p", "zen-lead.io/leader-pod-uid": "pod",
				"zen-lead.io/leader-epoch": "3", "zen-lead.io/leader-last-switch-time": "2026-03-01T12:00:00Z",
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "web", UID: "source", Controller: ptr.To(true)}},
		},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeClusterIP,
			Ports:                 []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080), AppProtocol: ptr.To("http")}},
			IPFamilies:            []corev1.IPFamily{corev1.IPv4Protocol},
			IPFamilyPolicy:        ptr.To(corev1.IPFamilyPolicySingleStack),
			SessionAffinity:       corev1.ServiceAffinityNone,
			InternalTrafficPolicy: ptr.To(corev1.ServiceInternalTrafficPolicyCluster),
		},
	}, DesiredLeaderService(source, "web-leader", leadership(), nil))

	assert.Empty(t, DesiredLeaderService(makeSource(headlessSource), "web-leader", leadership(), nil).Spec.ClusterIP, "headless with ports: an ordinary one")
	assert.Equal(t, corev1.ClusterIPNone, DesiredLeaderService(makeSource(headlessSource, noPorts), "web-leader", leadership(), nil).Spec.ClusterIP)

	nobody := DesiredLeaderService(makeSource(), "web-leader", Leadership{Epoch: 3, Since: noon}, nil)
	assert.NotContains(t, nobody.Annotations, api.AnnotationLeaderPodName)
	assert.Equal(t, "3", nobody.Annotations[api.AnnotationEpoch])
}

func TestLeaderServiceChanged(t *testing.T) {
	stored := func() *corev1.Service {
		s := DesiredLeaderService(makeSource(), "web-leader", leadership(), nil)
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.0.0.9", []string{"10.0.0.9"}
		s.Labels["theirs"], s.Annotations["theirs"] = "x", "y"
		return s
	}
	desired := func(current *corev1.Service) *corev1.Service {
		return DesiredLeaderService(makeSource(), "web-leader", leadership(), current)
	}
	current := stored()
	again := desired(current)
	assert.False(t, LeaderServiceChanged(current, again))
	assert.Equal(t, "10.0.0.9", again.Spec.ClusterIP)
	assert.Equal(t, "x", again.Labels["theirs"])

	for name, mutate := range map[string]func(*corev1.Service){
		"type":        func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort },
		"selector":    func(s *corev1.Service) { s.Spec.Selector = map[string]string{"a": "b"} },
		"port":        func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 },
		"node port":   func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30000 },
		"affinity":    func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP },
		"external IP": func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"1.2.3.4"} },
		"not ready":   func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true },
		"policy": func(s *corev1.Service) {
			s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		},
		"label":  func(s *corev1.Service) { delete(s.Labels, api.LabelManagedBy) },
		"mirror": func(s *corev1.Service) { s.Annotations[api.AnnotationLeaderPodName] = "forged" },
	} {
		current := stored()
		mutate(current)
		assert.True(t, LeaderServiceChanged(current, desired(current)), name)
	}
}

func TestMustRecreate(t *testing.T) {
	plain := DesiredLeaderService(makeSource(), "l", leadership(), nil)
	plain.Spec.ClusterIP = "10.0.0.9"
	none := DesiredLeaderService(makeSource(headlessSource, noPorts), "l", leadership(), nil)
	six := DesiredLeaderService(makeSource(families(corev1.IPv6Protocol)), "l", leadership(), nil)
	six.Spec.ClusterIP = "fd00::9"
	assert.False(t, MustRecreate(plain, plain))
	selecting := plain.DeepCopy()
	selecting.Spec.Selector = map[string]string{"app": "web"}
	assert.True(t, MustRecreate(selecting, plain), "Kubernetes' slices of all pods stay until the Service goes")
	assert.True(t, MustRecreate(plain, none))
	assert.True(t, MustRecreate(none, plain))
	assert.True(t, MustRecreate(plain, six))
	assert.True(t, MustRecreate(plain, DesiredLeaderService(makeSource(headlessSource, noPorts), "l", leadership(), plain)))
	assert.True(t, MustRecreate(none, DesiredLeaderService(makeSource(), "l", leadership(), none)), "a headless leader whose source got ports")
}

func TestUnsupported(t *testing.T) {
	assert.Nil(t, Unsupported(makeSource()))
	external := Unsupported(makeSource(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }))
	require.NotNil(t, external)
	assert.Equal(t, ReasonExternalName, external.Reason)
	selectorless := Unsupported(makeSource(func(s *corev1.Service) { s.Spec.Selector = nil }))
	require.NotNil(t, selectorless)
	assert.Equal(t, ReasonNoSelector, selectorless.Reason)
}

func TestOwnedByUID(t *testing.T) {
	service := DesiredLeaderService(makeSource(), "web-leader", leadership(), nil)
	assert.True(t, OwnedBy(service, makeSource()))
	assert.False(t, OwnedBy(service, makeSource(func(s *corev1.Service) { s.UID = "reborn" })), "the same name is not enough")
	assert.False(t, OwnedBy(&corev1.Service{}, makeSource()))
}

func TestTriggerTime(t *testing.T) {
	seen := noon
	candidate := func(mods ...func(*corev1.Pod)) *Candidate {
		c := newCandidate(makeSource(), makePod(mods...))
		return &c
	}
	assert.Equal(t, seen, TriggerTime(nil, seen))
	assert.Equal(t, seen, TriggerTime(candidate(), seen))
	assert.Equal(t, noon.Add(-time.Minute), TriggerTime(candidate(notReady), seen), "when the Ready condition turned")
	graceful := func(p *corev1.Pod) { terminating(p); p.DeletionGracePeriodSeconds = ptr.To(int64(30)) }
	assert.Equal(t, noon.Add(-10*time.Second), TriggerTime(candidate(graceful), seen), "when the deletion was asked for, not when its grace ends")
	assert.Equal(t, seen, TriggerTime(candidate(terminating), seen), "not in the future")
}

// A slice says from which state of the pod it was made; that alone is no reason to write it.
func TestSliceRemembersThePodVersion(t *testing.T) {
	at := func(version string) *corev1.Pod { return makePod(func(p *corev1.Pod) { p.ResourceVersion = version }) }
	slice := DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, leadership(), at("7"), nil, noon)
	assert.Equal(t, "7", ReadLeadership([]*discoveryv1.EndpointSlice{slice}, nil).PodVersion)

	later := DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, leadership(), at("9"), slice, noon.Add(time.Hour))
	assert.False(t, SliceChanged(slice, later))
	assert.Equal(t, slice, later)

	going := leadership()
	going.Ready = false
	later = DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, going, at("9"), slice, noon)
	assert.Equal(t, "9", ReadLeadership([]*discoveryv1.EndpointSlice{later}, nil).PodVersion, "written for another reason, it is noted")
}

// The other family's slice may not be ours to write: who leads must stand in ours all the same.
func TestSliceOfAFamilyWithoutTheLeaderNamesIt(t *testing.T) {
	pod := makePod()
	slice := DesiredSlice(makeSource(), "web-leader", corev1.IPv6Protocol, leadership(), pod, nil, noon)
	require.Empty(t, slice.Endpoints)
	read := ReadLeadership([]*discoveryv1.EndpointSlice{slice}, nil)
	assert.Equal(t, leadership().UID, read.UID)
	assert.Equal(t, leadership().PodName, read.PodName)
	assert.Equal(t, leadership().Epoch, read.Epoch)

	empty := EmptySlice(slice, noon)
	require.NotNil(t, empty)
	assert.Empty(t, ReadLeadership([]*discoveryv1.EndpointSlice{empty}, nil).UID)
	assert.Equal(t, slice.Annotations[corev1.EndpointsLastChangeTriggerTime], empty.Annotations[corev1.EndpointsLastChangeTriggerTime])
	assert.Nil(t, EmptySlice(empty, noon), "there is nothing left to take out")

	v4 := DesiredSlice(makeSource(), "web-leader", corev1.IPv4Protocol, leadership(), pod, nil, noon)
	assert.True(t, ReadLeadership([]*discoveryv1.EndpointSlice{slice, v4}, nil).Ready, "an endpoint says more than an annotation")
	assert.NotContains(t, v4.Annotations, api.AnnotationLeaderPodUID)
}

// What comes out of the cache is shared: nothing here may change its input.
func TestNothingChangesItsInput(t *testing.T) {
	source, pod := makeSource(), makePod()
	current := DesiredLeaderService(source, "web-leader", Leadership{Epoch: 1, Since: noon}, nil)
	slice := DesiredSlice(source, "web-leader", corev1.IPv4Protocol, Leadership{Epoch: 1, Since: noon}, nil, nil, noon)
	copies := []any{source.DeepCopy(), pod.DeepCopy(), current.DeepCopy(), slice.DeepCopy()}
	Candidates(source, []*corev1.Pod{pod})
	DesiredLeaderService(source, "other-leader", leadership(), current)
	DesiredSlice(source, "other-leader", corev1.IPv4Protocol, leadership(), pod, slice, noon)
	EmptySlice(slice, noon)
	ReadLeadership([]*discoveryv1.EndpointSlice{slice}, []*corev1.Service{current})
	assert.Equal(t, copies, []any{source, pod, current, slice})
}
