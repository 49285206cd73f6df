// Command podnet is the pod network of a node image that was made from nothing: it writes the node's CNI configuration,
// keeps a route to every other node's pods, and masquerades what leaves the cluster.
//
// It runs as a service of the node and not as a pod, reads Nodes with the kubelet's own identity, and derives everything
// from what it reads, again and again. So a node that restarts, and comes back with another address, needs nobody's help.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// resync repairs what somebody else changed in this node's network.
const resync = 10 * time.Second

func main() {
	kubeconfig := flag.String("kubeconfig", "/etc/kubernetes/kubelet.conf", "the kubelet's kubeconfig")
	conflist := flag.String("conflist", "/etc/cni/net.d/10-podnet.conflist", "the CNI configuration to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *conflist); err != nil {
		slog.Error("podnet stopped", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, conflist string) error {
	self, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("failed to read host name: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("failed to load kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("failed to create client: %w", err)
	}
	nodes, changed, err := watchNodes(ctx, client)
	if err != nil {
		return err
	}
	n := &network{self: self, conflistPath: conflist}
	ticker := time.NewTicker(resync)
	defer ticker.Stop()
	for {
		if err := n.sync(nodes); err != nil {
			slog.Error("sync failed, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-ticker.C:
		}
	}
}

// watchNodes returns once the cache is filled; the channel holds at most one pending notice.
func watchNodes(ctx context.Context, client kubernetes.Interface) (corelisters.NodeLister, <-chan struct{}, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		DeleteFunc: func(any) { notify() },
		UpdateFunc: func(before, after any) {
			if networkChanged(before.(*corev1.Node), after.(*corev1.Node)) {
				notify()
			}
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("failed to watch nodes: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.Informer().HasSynced) {
		return nil, nil, fmt.Errorf("failed to read nodes: %w", ctx.Err())
	}
	return informer.Lister(), changed, nil
}

func networkChanged(before, after *corev1.Node) bool {
	return fmt.Sprint(before.Spec.PodCIDRs, internalAddresses(before)) != fmt.Sprint(after.Spec.PodCIDRs, internalAddresses(after))
}

func (n *network) sync(lister corelisters.NodeLister) error {
	nodes, err := lister.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("failed to list nodes: %w", err)
	}
	p, ready, err := newPlan(n.self, nodes)
	if err != nil || !ready {
		return err
	}
	return n.apply(p)
}
