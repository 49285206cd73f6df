package main

import (
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, subnets, addresses []string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: subnets}}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

func TestRoutesLeadToEveryOtherNodeInEachFamily(t *testing.T) {
	nodes := []*corev1.Node{
		node("a", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"172.18.0.2", "fc00::2"}),
		node("b", []string{"10.1.1.0/24", "fd00:1:0:1::/64"}, []string{"172.18.0.3", "fc00::3"}),
		node("c", []string{"10.1.2.0/24", "fd00:1:0:2::/64"}, []string{"fc00::4"}),
		node("d", nil, []string{"172.18.0.5"}),
	}
	p, ready, err := newPlan("a", nodes)
	if err != nil || !ready {
		t.Fatalf("newPlan: ready %v, error %v", ready, err)
	}
	want := map[netip.Prefix]netip.Addr{
		netip.MustParsePrefix("10.1.1.0/24"):     netip.MustParseAddr("172.18.0.3"),
		netip.MustParsePrefix("fd00:1:0:1::/64"): netip.MustParseAddr("fc00::3"),
		// c has no IPv4 address: no route is better than a wrong one.
		netip.MustParsePrefix("fd00:1:0:2::/64"): netip.MustParseAddr("fc00::4"),
	}
	if !maps.Equal(p.routes, want) {
		t.Errorf("routes: got %v, want %v", p.routes, want)
	}
}

func TestNodeWithoutPodSubnetWaits(t *testing.T) {
	_, ready, err := newPlan("a", []*corev1.Node{node("a", nil, []string{"172.18.0.2"})})
	if err != nil || ready {
		t.Errorf("got ready %v, error %v; want neither", ready, err)
	}
}

func TestMalformedPodSubnetNamesTheNode(t *testing.T) {
	_, _, err := newPlan("a", []*corev1.Node{node("b", []string{"10.1.1.0"}, nil)})
	if err == nil || !strings.Contains(err.Error(), "node b") {
		t.Errorf("got %v, want an error that names node b", err)
	}
}

func TestConflistHasOneRangeAndOneDefaultRoutePerFamily(t *testing.T) {
	p, _, err := newPlan("a", []*corev1.Node{node("a", []string{"10.1.0.0/24", "fd00:1::/64"}, nil)})
	if err != nil {
		t.Fatal(err)
	}
	content, err := p.conflist(1450)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Plugins []struct {
			Type string
			MTU  int
			IPAM struct {
				Ranges [][]struct{ Subnet string }
				Routes []struct{ Dst string }
			}
		}
	}
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	ptp := got.Plugins[0]
	if ptp.Type != "ptp" || ptp.MTU != 1450 || len(ptp.IPAM.Ranges) != 2 || ptp.IPAM.Ranges[1][0].Subnet != "fd00:1::/64" ||
		len(ptp.IPAM.Routes) != 2 || ptp.IPAM.Routes[0].Dst != "0.0.0.0/0" || ptp.IPAM.Routes[1].Dst != "::/0" {
		t.Errorf("got %s", content)
	}
}

func TestRulesetSparesPodsAndNodesFromMasquerading(t *testing.T) {
	p, _, err := newPlan("a", []*corev1.Node{
		node("a", []string{"10.1.0.0/24", "fd00:1::/64"}, []string{"172.18.0.2", "fc00::2"}),
		node("b", []string{"10.1.1.0/24", "fd00:1:0:1::/64"}, []string{"172.18.0.3", "fc00::3"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ip saddr 10.1.0.0/24 ip daddr != { 10.1.0.0/24, 10.1.1.0/24, 172.18.0.2/32, 172.18.0.3/32 } masquerade",
		"ip6 saddr fd00:1::/64 ip6 daddr != { fc00::2/128, fc00::3/128, fd00:1:0:1::/64, fd00:1::/64 } masquerade",
	} {
		if !strings.Contains(p.ruleset(), line) {
			t.Errorf("ruleset lacks %q:\n%s", line, p.ruleset())
		}
	}
}
