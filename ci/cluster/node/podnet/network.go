package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeProtocol marks the routes that are ours to remove.
const routeProtocol = 0x5a

// network applies plans to this node.
type network struct {
	self         string
	conflistPath string
	// appliedRules is what nft has accepted: unlike routes, the rules are nobody else's to change.
	appliedRules string
}

// apply writes the CNI configuration last: it is what declares the node's network ready.
func (n *network) apply(p plan) error {
	if err := errors.Join(syncRoutes(p.routes), n.syncRules(p.ruleset())); err != nil {
		return err
	}
	mtu, err := uplinkMTU()
	if err != nil {
		return err
	}
	content, err := p.conflist(mtu)
	if err != nil {
		return fmt.Errorf("failed to render CNI configuration: %w", err)
	}
	return writeIfChanged(n.conflistPath, content)
}

func syncRoutes(want map[netip.Prefix]netip.Addr) error {
	have, err := netlink.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("failed to list routes: %w", err)
	}
	var errs []error
	current := map[netip.Prefix]netip.Addr{}
	for _, route := range have {
		destination, via := prefixOf(route.Dst), addressOf(route.Gw)
		if want[destination] == via {
			current[destination] = via
			continue
		}
		slog.Info("removing route", "to", destination, "via", via)
		errs = append(errs, wrap("remove", destination, netlink.RouteDel(&route)))
	}
	for destination, via := range want {
		if current[destination] == via {
			continue
		}
		slog.Info("adding route", "to", destination, "via", via)
		errs = append(errs, wrap("add", destination, netlink.RouteReplace(&netlink.Route{
			Dst: &net.IPNet{IP: destination.Addr().AsSlice(), Mask: net.CIDRMask(destination.Bits(), destination.Addr().BitLen())},
			Gw:  via.AsSlice(), Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN,
		})))
	}
	return errors.Join(errs...)
}

func wrap(verb string, destination netip.Prefix, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("failed to %s route to %s: %w", verb, destination, err)
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addressOf(n.IP), bits)
}

func addressOf(ip net.IP) netip.Addr {
	address, _ := netip.AddrFromSlice(ip)
	return address.Unmap()
}

func (n *network) syncRules(rules string) error {
	if rules == n.appliedRules {
		return nil
	}
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("failed to load nftables rules: %w: %s", err, bytes.TrimSpace(out))
	}
	n.appliedRules = rules
	return nil
}

// uplinkMTU is that of the link with a default route: the network that nodes reach each other by.
func uplinkMTU() (int, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("failed to list routes: %w", err)
	}
	for _, route := range routes {
		if route.Dst != nil && !route.Dst.IP.IsUnspecified() {
			continue
		}
		link, err := netlink.LinkByIndex(route.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("failed to read uplink: %w", err)
		}
		return link.Attrs().MTU, nil
	}
	return 0, errors.New("failed to find uplink: no default route")
}

func writeIfChanged(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("failed to create folder of %s: %w", path, err)
	}
	// containerd reads every file of the folder that ends in .conflist: it must never see half of one.
	partial := path + ".partial"
	if err := os.WriteFile(partial, content, 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", partial, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	slog.Info("CNI configuration written", "path", path)
	return nil
}
