package harness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kube-zen/zen-lead/src/api"
)

// Invariants watches the leader slices of all namespaces and keeps what must never happen and did.
type Invariants struct {
	mu         sync.Mutex
	epochs     map[types.UID]int
	violations map[string][]string
}

// WatchInvariants returns once the watch is open; it ends with ctx.
func WatchInvariants(ctx context.Context, client kubernetes.Interface) (*Invariants, error) {
	i := &Invariants{epochs: map[types.UID]int{}, violations: map[string][]string{}}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = discoveryv1.LabelManagedBy + "=" + api.ManagedBy
	}))
	informer := factory.Discovery().V1().EndpointSlices().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { i.check(o) },
		UpdateFunc: func(_, o any) { i.check(o) },
	})
	if err != nil {
		return nil, fmt.Errorf("failed to watch leader slices: %w", err)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("failed to watch leader slices: %w", context.Cause(ctx))
	}
	return i, nil
}

func (i *Invariants) check(object any) {
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	violate := func(format string, args ...any) {
		i.violations[slice.Namespace] = append(i.violations[slice.Namespace], "slice "+slice.Name+": "+fmt.Sprintf(format, args...))
	}
	ready := 0
	for _, endpoint := range slice.Endpoints {
		switch {
		case isTrue(endpoint.Conditions.Ready):
			ready++
		case !isTrue(endpoint.Conditions.Serving):
			violate("an endpoint is neither ready nor serving")
		}
	}
	if ready > 1 || len(slice.Endpoints) > 1 {
		violate("%d endpoints, %d of them ready", len(slice.Endpoints), ready)
	}
	epoch, err := strconv.Atoi(slice.Annotations[api.AnnotationEpoch])
	if err != nil {
		epoch = 0
	}
	if epoch < i.epochs[slice.UID] {
		violate("the epoch fell from %d to %d", i.epochs[slice.UID], epoch)
	}
	i.epochs[slice.UID] = max(epoch, i.epochs[slice.UID])
}

// Violations is what happened in a namespace that must never happen.
func (i *Invariants) Violations(namespace string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.violations[namespace])
}
