package director

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/routing"
)

// source is the Service of that name, nil if there is none.
func (r *ServiceDirectorReconciler) source(ctx context.Context, key types.NamespacedName) (*corev1.Service, error) {
	var service corev1.Service
	if err := r.Client.Get(ctx, key, &service); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("failed to get Service %s: %w", key, err)
	}
	return &service, nil
}

// made is what was made for the source, including what the cache has not seen yet. What was written is looked up first:
// in the other order, it could reach the cache just after that was read, and be found in neither.
func (r *ServiceDirectorReconciler) made(ctx context.Context, source *corev1.Service, leaderServiceName string) (madeObjects, error) {
	key := client.ObjectKeyFromObject(source)
	written := r.ledger.ahead(key, source.UID)
	services, endpointSlices, err := informers.OwnedBy(ctx, r.Client, source)
	if err != nil {
		return madeObjects{}, err
	}
	services = slices.DeleteFunc(services, func(s *corev1.Service) bool { return !routing.MadeFor(s, source, leaderServiceName) })
	slices.SortFunc(services, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	made := madeObjects{
		services: merge(r.ledger, key, services, written),
		slices:   merge(r.ledger, key, endpointSlices, written),
	}
	made.unseen = r.ledger.unseen(key)
	return made, nil
}

// gather reads the rest of what the decision needs.
func (r *ServiceDirectorReconciler) gather(ctx context.Context, source *corev1.Service, settings api.Settings, made madeObjects) (*observed, error) {
	o := &observed{source: source, settings: settings, made: made}
	named, err := r.source(ctx, types.NamespacedName{Namespace: source.Namespace, Name: settings.LeaderServiceName})
	if err != nil {
		return nil, err
	}
	o.named = named
	if o.pods, err = informers.SelectedPods(ctx, r.Client, source); err != nil {
		return nil, err
	}

	leadership := routing.ReadLeadership(made.slices, o.ours(settings.LeaderServiceName))
	selected := func(pod *corev1.Pod) bool { return pod.UID == leadership.UID }
	if leadership.UID == "" || slices.ContainsFunc(o.pods, selected) {
		return o, nil
	}
	var pod corev1.Pod
	err = r.Client.Get(ctx, types.NamespacedName{Namespace: source.Namespace, Name: leadership.PodName}, &pod)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("failed to get pod %s/%s: %w", source.Namespace, leadership.PodName, err)
	}
	if err == nil && pod.UID == leadership.UID {
		o.incumbent = &pod
	}
	return o, nil
}

// ours is the leader Service of that name if it was made for the source, nil otherwise.
func (o *observed) ours(name string) *corev1.Service {
	for _, service := range o.made.services {
		if service.Name == name {
			return service
		}
	}
	return nil
}
