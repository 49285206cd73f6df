package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

const (
	v4, v6 = corev1.IPv4Protocol, corev1.IPv6Protocol
	tcp    = corev1.ProtocolTCP
	udp    = corev1.ProtocolUDP
)

func TestTrap06_NodePortAndLoadBalancerSourcesGetAPlainClusterIP(t *testing.T) {
	for name, set := range map[string]func(*corev1.ServiceSpec){
		"NodePort": func(s *corev1.ServiceSpec) {
			s.Type = corev1.ServiceTypeNodePort
			s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		},
		"LoadBalancer": func(s *corev1.ServiceSpec) {
			s.Type = corev1.ServiceTypeLoadBalancer
			s.LoadBalancerClass = ptr.To("example.org/lb")
			s.LoadBalancerSourceRanges = []string{"192.0.2.0/24"}
			s.LoadBalancerIP = "192.0.2.9"
			s.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		},
		"ExternalIPsAndAffinity": func(s *corev1.ServiceSpec) {
			s.ExternalIPs = []string{"192.0.2.10"}
			s.SessionAffinity = corev1.ServiceAffinityClientIP
			s.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
			s.TrafficDistribution = ptr.To(corev1.ServiceTrafficDistributionPreferSameZone)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			source, _ := routed(w, web().Spec(set), pod("a"), pod("b"))
			spec := w.ExpectLeader("web-leader", "a").Service.Spec
			assert.Equal(t, corev1.ServiceTypeClusterIP, spec.Type)
			assert.Zero(t, spec.Ports[0].NodePort)
			assert.Zero(t, spec.HealthCheckNodePort)
			assert.Empty(t, spec.ExternalIPs)
			assert.Empty(t, spec.ExternalTrafficPolicy)
			assert.Empty(t, spec.LoadBalancerIP)
			assert.Nil(t, spec.LoadBalancerClass)
			assert.Empty(t, spec.LoadBalancerSourceRanges)
			assert.Nil(t, spec.TrafficDistribution)
			assert.Equal(t, corev1.ServiceAffinityNone, spec.SessionAffinity)
			assert.Equal(t, corev1.ServiceInternalTrafficPolicyCluster, *spec.InternalTrafficPolicy)
			assert.NotEqual(t, source.Spec.ClusterIP, spec.ClusterIP)

			mark := w.Requests.Mark()
			w.UpdateService("web", func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityNone })
			w.Fence()
			assert.Empty(t, w.SinceFenced(mark))
			w.KillPod("a")
			w.ExpectLeader("web-leader", "b")
		})
	}
}

func TestTrap06_ASourceThatChangesItsTypeKeepsItsLeaderService(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a"))
	before := w.ExpectLeader("web-leader", "a")
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP} {
		mark := w.Requests.Mark()
		w.UpdateService("web", func(s *corev1.Service) { s.Spec.Type = kind })
		w.Fence()
		assert.Empty(t, w.SinceFenced(mark), "%s", kind)
	}
	after := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, before.Service.ResourceVersion, after.Service.ResourceVersion)
}

func TestHeadlessSource_GetsAnOrdinaryClusterIP(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Spec(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }), pod("a"), pod("b"))
	state := w.ExpectLeader("web-leader", "a")
	assert.NotEqual(t, corev1.ClusterIPNone, state.Service.Spec.ClusterIP)
	assert.NotContains(t, state.Primary.Labels, corev1.IsHeadlessService)
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
}

func TestHeadlessPortlessSource_GetsAHeadlessLeaderService(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Ports().Spec(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }), pod("a"), pod("b"))
	state := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, corev1.ClusterIPNone, state.Service.Spec.ClusterIP)
	assert.Empty(t, state.Service.Spec.Ports)
	assert.Empty(t, state.Primary.Ports)
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
}

func TestHeadlessPortlessSource_ThatGetsPortsAndLosesThem(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Ports().Spec(func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }), pod("a"))
	w.UpdateService("web", func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{harness.Port("http", 80, intstr.FromInt32(8080), tcp)}
	})
	w.Eventually("the leader Service to have the port", func() error { return expectPortCount(w, "web-leader", 1) })
	w.ExpectLeader("web-leader", "a")
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports = nil })
	w.Eventually("the leader Service to have no port", func() error { return expectPortCount(w, "web-leader", 0) })
	w.ExpectLeader("web-leader", "a")
}

func expectPortCount(w *harness.World, service string, n int) error {
	s, err := w.GetService(service)
	if err != nil {
		return err
	}
	slice, err := w.GetSlice(service + "-ipv4")
	if err == nil && (len(s.Spec.Ports) != n || len(slice.Ports) != n) {
		err = fmt.Errorf("service %s has the ports %v and its slice %v", service, s.Spec.Ports, slice.Ports)
	}
	return err
}

func TestTrap08_IPFamiliesFollowTheSource(t *testing.T) {
	single, prefer, require2 := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	for name, row := range map[string]struct {
		policy   corev1.IPFamilyPolicy
		families []corev1.IPFamily
		want     []corev1.IPFamily
	}{
		"IPv4Only":             {single, []corev1.IPFamily{v4}, []corev1.IPFamily{v4}},
		"IPv6Only":             {single, []corev1.IPFamily{v6}, []corev1.IPFamily{v6}},
		"RequireDualStack":     {require2, nil, []corev1.IPFamily{v4, v6}},
		"RequireDualStackIPv6": {require2, []corev1.IPFamily{v6, v4}, []corev1.IPFamily{v6, v4}},
		"PreferDualStack":      {prefer, nil, []corev1.IPFamily{v4, v6}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			source, _ := routed(w, web().Families(row.policy, row.families...), pod("a"), pod("b"))
			state := w.ExpectLeader("web-leader", "a")
			assert.Equal(t, row.want, state.Service.Spec.IPFamilies)
			assert.Equal(t, source.Spec.IPFamilyPolicy, state.Service.Spec.IPFamilyPolicy)
			assert.Equal(t, row.want[0] == v6, state.Primary.AddressType == discoveryv1.AddressTypeIPv6)
			w.TerminatePod("a")
			w.ExpectLeader("web-leader", "b")
			w.KillPod("a")
			w.KillPod("b")
			w.ExpectNobody("web-leader")
		})
	}
}

func TestTrap08_SingleToDualStackAndBack(t *testing.T) {
	for _, offline := range []bool{false, true} {
		t.Run(when(offline)[1:], func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			routed(w, web(), pod("a"), pod("b"))
			before := w.ExpectLeader("web-leader", "a")
			change := func(policy corev1.IPFamilyPolicy, families ...corev1.IPFamily) {
				if offline {
					controller.Stop()
				}
				w.UpdateService("web", func(s *corev1.Service) {
					s.Spec.IPFamilyPolicy = &policy
					if len(families) < len(s.Spec.IPFamilies) {
						s.Spec.ClusterIPs = s.Spec.ClusterIPs[:len(families)]
					}
					s.Spec.IPFamilies = families
				})
				if offline {
					controller = w.StartController()
				}
				w.Eventually(fmt.Sprintf("the leader Service to have the families %v", families), func() error {
					s, err := w.GetService("web-leader")
					if err == nil && len(s.Spec.IPFamilies) != len(families) {
						err = fmt.Errorf("it has %v", s.Spec.IPFamilies)
					}
					return err
				})
			}
			change(corev1.IPFamilyPolicyRequireDualStack, v4, v6)
			dual := w.ExpectLeader("web-leader", "a")
			require.Len(t, dual.Slices, 2)
			assert.Equal(t, before.Epoch, dual.Epoch)
			assert.Equal(t, dual.Slices[v4].Annotations["zen-lead.io/leader-epoch"], dual.Slices[v6].Annotations["zen-lead.io/leader-epoch"])
			assert.Equal(t, before.Service.Spec.ClusterIP, dual.Service.Spec.ClusterIP, "clients keep the address that they have")

			change(corev1.IPFamilyPolicySingleStack, v4)
			w.Gone(&discoveryv1.EndpointSlice{}, "web-leader-ipv6")
			single := w.ExpectLeader("web-leader", "a")
			assert.Equal(t, before.Service.UID, single.Service.UID)
			assert.Equal(t, before.Epoch, single.Epoch)
			w.Quiet()
		})
	}
}

func TestTrap08_APodWithoutAnAddressOfTheSecondFamily(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a").IP("10.244.200.1"))
	w.ExpectLeader("web-leader", "a") // and an empty slice for the family that the pod lacks
	w.Pod(pod("b"))
	w.Fence()
	w.ExpectLeader("web-leader", "a")
	w.KillPod("a")
	state := w.ExpectLeader("web-leader", "b")
	assert.Len(t, state.Slices[v6].Endpoints, 1)
}

func TestTrap08_PrimaryFamilyDecidesWhoMayLead(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	w.Pods(pod("four").IP("10.244.200.1"))
	w.Service(web().Families(corev1.IPFamilyPolicyRequireDualStack, v6, v4))
	w.ExpectNobody("web-leader")
	w.Pod(pod("six").IP("fd00:10:244::abcd"))
	w.ExpectLeader("web-leader", "six")
}

func TestTrap18_NamedPorts(t *testing.T) {
	type ports map[string]int32
	sctp := corev1.ProtocolSCTP
	for name, row := range map[string]struct {
		service []corev1.ServicePort
		pod     *harness.PodBuilder
		want    ports
	}{
		"OneNamePerProtocol": {
			[]corev1.ServicePort{harness.Port("dns-tcp", 53, intstr.FromString("dns"), tcp), harness.Port("dns-udp", 53, intstr.FromString("dns"), udp)},
			pod("a").Ports(harness.Named("dns", 5301, tcp)).Container(harness.Named("dns", 5302, udp)),
			ports{"dns-tcp/TCP": 5301, "dns-udp/UDP": 5302},
		},
		"OtherProtocolOfTheSameNameComesFirst": {
			[]corev1.ServicePort{harness.Port("dns", 53, intstr.FromString("dns"), udp)},
			pod("a").Ports(harness.Named("dns", 5301, tcp)).Sidecar(harness.Named("dns", 5302, udp)),
			ports{"dns/UDP": 5302},
		},
		"SCTP": {
			[]corev1.ServicePort{harness.Port("sig", 36412, intstr.FromString("sig"), sctp)},
			pod("a").Ports(harness.Named("sig", 36412, sctp)), ports{"sig/SCTP": 36412},
		},
		"OnASidecar": {
			[]corev1.ServicePort{harness.Port("proxy", 80, intstr.FromString("proxy"), tcp)},
			pod("a").Sidecar(harness.Named("proxy", 15001, tcp)), ports{"proxy/TCP": 15001},
		},
		"ByNumber": {
			[]corev1.ServicePort{harness.Port("x", 80, intstr.FromInt32(4242), tcp)},
			pod("a"), ports{"x/TCP": 4242},
		},
		"NoTargetPort": {
			[]corev1.ServicePort{{Port: 8080}}, pod("a"), ports{"/TCP": 8080},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.StartController()
			routed(w, web().Ports(row.service...), row.pod)
			state := w.ExpectLeader("web-leader", "a")
			have := ports{}
			for _, p := range state.Primary.Ports {
				have[ptr.Deref(p.Name, "")+"/"+string(*p.Protocol)] = *p.Port
			}
			assert.Equal(t, row.want, have)
		})
	}
}

func TestTrap18_AppProtocolIsKept(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	port := harness.Port("grpc", 80, intstr.FromInt32(8080), tcp)
	port.AppProtocol = ptr.To("kubernetes.io/h2c")
	routed(w, web().Ports(port), pod("a"))
	state := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, "kubernetes.io/h2c", ptr.Deref(state.Service.Spec.Ports[0].AppProtocol, ""))
	assert.Equal(t, "kubernetes.io/h2c", ptr.Deref(state.Primary.Ports[0].AppProtocol, ""))

	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports[0].AppProtocol = ptr.To("https") })
	w.Eventually("appProtocol to follow", func() error {
		s, err := w.State("web-leader")
		if err == nil && (ptr.Deref(s.Service.Spec.Ports[0].AppProtocol, "") != "https" || ptr.Deref(s.Primary.Ports[0].AppProtocol, "") != "https") {
			err = fmt.Errorf("service %v, slice %v", s.Service.Spec.Ports, s.Primary.Ports)
		}
		return err
	})
}

func TestTrap18_APortThatDoesNotResolveFailsClosed(t *testing.T) {
	named := harness.Port("http", 80, intstr.FromString("http"), tcp)
	for name, builder := range map[string]*harness.PodBuilder{
		"NoSuchName":          pod("a").Ports(harness.Named("https", 8443, tcp)),
		"OtherProtocol":       pod("a").Ports(harness.Named("http", 8080, udp)),
		"OnAnInitContainer":   pod("a").Ports().Init(harness.Named("http", 8080, tcp)),
		"OnePortOfTwoMissing": pod("a").Ports(harness.Named("admin", 9000, tcp)),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			controller := w.StartController()
			w.Pod(builder)
			w.Service(web().Ports(named, harness.Port("admin", 81, intstr.FromInt32(9000), tcp)))
			w.ExpectNobody("web-leader")
			w.ExpectEvent("web", corev1.EventTypeWarning, "PortUnresolved", "http")
			labels := harness.Labels{"namespace": w.Namespace, "service": "web"}
			w.Eventually("the failure to be counted", func() error {
				return expectMetric(controller, "zen_lead_port_resolution_failures", labels, 1)
			})
			w.Pod(pod("b"))
			w.ExpectLeader("web-leader", "b")
			w.KillPod("a")
			w.Eventually("the failure to go", func() error {
				return expectMetric(controller, "zen_lead_port_resolution_failures", labels, 0)
			})
		})
	}
}

func TestTrap18_ALeaderThatLosesItsPortLosesTheLead(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a").Ports(harness.Named("old", 8080, tcp)), pod("b").Ports(harness.Named("new", 9090, tcp)))
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("new") })
	state := w.ExpectLeader("web-leader", "b")
	assert.EqualValues(t, 9090, *state.Primary.Ports[0].Port)
	for _, o := range w.Invariants.History("web-leader-ipv4") {
		assert.NotEmpty(t, o.Name)
	}
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("none") })
	w.ExpectNobody("web-leader")
}

func TestPortsOfTheSourceChange(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web(), pod("a").Ports(harness.Named("http", 8080, tcp), harness.Named("metrics", 9090, tcp)), pod("b").Ports(harness.Named("http", 8080, tcp)))
	before := w.ExpectLeader("web-leader", "a")
	w.UpdateService("web", func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, harness.Port("metrics", 9090, intstr.FromString("metrics"), tcp))
	})
	w.Eventually("two ports everywhere", func() error { return expectPortCount(w, "web-leader", 2) })
	after := w.ExpectLeader("web-leader", "a")
	assert.Equal(t, before.Epoch, after.Epoch)
	assert.Equal(t, before.Service.Spec.ClusterIP, after.Service.Spec.ClusterIP)
	source, err := w.GetService("web")
	require.NoError(t, err)
	assert.Equal(t, source.Spec.Ports, after.Service.Spec.Ports)

	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports = s.Spec.Ports[1:] })
	w.Eventually("one port everywhere", func() error { return expectPortCount(w, "web-leader", 1) })
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Ports[0].Name = "renamed" })
	w.Eventually("the name to follow", func() error {
		s, err := w.State("web-leader")
		if err == nil && (s.Service.Spec.Ports[0].Name != "renamed" || ptr.Deref(s.Primary.Ports[0].Name, "") != "renamed") {
			err = fmt.Errorf("service %v, slice %v", s.Service.Spec.Ports, s.Primary.Ports)
		}
		return err
	})
}

func TestStandbysStayReady_AndStockControllersLeaveOurObjectsAlone(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"), pod("c"))
	before := w.ExpectLeader("web-leader", "a")
	// The stock controllers work on the same pods and the source: their slices have all three pods.
	w.Eventually("the stock slices of the source to have three ready endpoints", func() error {
		list := &discoveryv1.EndpointSliceList{}
		if err := w.Client.List(w.Context(), list, clientIn(w), clientLabels(discoveryv1.LabelServiceName, "web")); err != nil {
			return err
		}
		for i := range list.Items {
			if n := len(list.Items[i].Endpoints); n != 3 {
				return fmt.Errorf("slice %s has %d endpoints", list.Items[i].Name, n)
			}
		}
		if len(list.Items) != 2 {
			return fmt.Errorf("%d slices", len(list.Items))
		}
		return nil
	})
	w.SetReady("c", false)
	w.Fence()
	after := w.ExpectLeader("web-leader", "a")
	for family := range before.Slices {
		assert.Equal(t, before.Slices[family].ResourceVersion, after.Slices[family].ResourceVersion)
	}
	//lint:ignore SA1019 to see that there is none
	endpoints := &corev1.Endpoints{}
	w.Absent(endpoints, "web-leader")
	slices := &discoveryv1.EndpointSliceList{}
	require.NoError(t, w.Client.List(w.Context(), slices, clientIn(w), clientLabels(discoveryv1.LabelServiceName, "web-leader")))
	assert.Len(t, slices.Items, 2, "nobody else makes slices for the leader Service")
}
