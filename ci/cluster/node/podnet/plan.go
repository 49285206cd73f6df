package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// plan is the pod network as one node has to set it up.
type plan struct {
	// local are this node's pod subnets, one per IP family.
	local []netip.Prefix
	// routes lead to the other nodes' pods.
	routes map[netip.Prefix]netip.Addr
	// inside are the destinations that must see a pod's own address: all pods and all nodes.
	inside []netip.Prefix
}

// newPlan returns the plan for the node of this name, and false while the node has no pod subnet yet.
func newPlan(self string, nodes []*corev1.Node) (plan, bool, error) {
	p := plan{routes: map[netip.Prefix]netip.Addr{}}
	for _, node := range nodes {
		subnets, err := podSubnets(node)
		if err != nil {
			return plan{}, false, err
		}
		addresses := internalAddresses(node)
		for _, address := range addresses {
			p.inside = append(p.inside, netip.PrefixFrom(address, address.BitLen()))
		}
		p.inside = append(p.inside, subnets...)
		if node.Name == self {
			p.local = subnets
			continue
		}
		for _, subnet := range subnets {
			if via, found := ofFamily(addresses, subnet.Addr()); found {
				p.routes[subnet] = via
			}
		}
	}
	slices.SortFunc(p.inside, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	p.inside = slices.Compact(p.inside)
	return p, len(p.local) > 0, nil
}

func podSubnets(node *corev1.Node) ([]netip.Prefix, error) {
	subnets := make([]netip.Prefix, 0, len(node.Spec.PodCIDRs))
	for _, cidr := range node.Spec.PodCIDRs {
		subnet, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("failed to parse pod subnet of node %s: %w", node.Name, err)
		}
		subnets = append(subnets, subnet.Masked())
	}
	return subnets, nil
}

func internalAddresses(node *corev1.Node) []netip.Addr {
	var addresses []netip.Addr
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if address, err := netip.ParseAddr(a.Address); err == nil {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

func ofFamily(addresses []netip.Addr, like netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(addresses, func(a netip.Addr) bool { return a.Is4() == like.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return addresses[i], true
}

// conflist is the configuration that containerd reads; its appearance makes the kubelet report the node as Ready.
func (p plan) conflist(mtu int) ([]byte, error) {
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for _, subnet := range p.local {
		ranges = append(ranges, []object{{"subnet": subnet.String()}})
		routes = append(routes, object{"dst": everywhere(subnet.Addr()).String()})
	}
	return json.MarshalIndent(object{
		"cniVersion": "0.4.0",
		"name":       "podnet",
		"plugins": []object{
			{
				"type": "ptp",
				"mtu":  mtu,
				// A reboot of the node ends every pod: its addresses must not stay taken, hence /run.
				"ipam": object{"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": ranges, "routes": routes},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}

func everywhere(like netip.Addr) netip.Prefix {
	if like.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// ruleset is for nft: pods that talk to the world outside the cluster borrow the node's address.
func (p plan) ruleset() string {
	var b strings.Builder
	b.WriteString("table inet podnet\ndelete table inet podnet\ntable inet podnet {\n\tchain postrouting {\n")
	b.WriteString("\t\ttype nat hook postrouting priority srcnat; policy accept;\n")
	for _, subnet := range p.local {
		family, inside := "ip", []string{}
		if !subnet.Addr().Is4() {
			family = "ip6"
		}
		for _, destination := range p.inside {
			if destination.Addr().Is4() == subnet.Addr().Is4() {
				inside = append(inside, destination.String())
			}
		}
		fmt.Fprintf(&b, "\t\t%s saddr %s %s daddr != { %s } masquerade\n", family, subnet, family, strings.Join(inside, ", "))
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
