package director

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
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
	if err := r.resolveDoubts(ctx, key); err != nil {
		return madeObjects{}, err
	}
	written := r.ledger.ahead(key, source.UID)
	services, endpointSlices, err := informers.OwnedBy(ctx, r.Client, source)
	if err != nil {
		return madeObjects{}, err
	}
	services = slices.DeleteFunc(services, func(s *corev1.Service) bool { return !routing.MadeFor(s, source, leaderServiceName) })
	made := madeObjects{
		services: merge(r.ledger, key, services, written),
		slices:   merge(r.ledger, key, endpointSlices, written),
	}
	slices.SortFunc(made.services, func(a, b *corev1.Service) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(made.slices, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return made, nil
}

// resolveDoubts asks the API server what became of writes whose outcome is not known.
func (r *ServiceDirectorReconciler) resolveDoubts(ctx context.Context, source types.NamespacedName) error {
	for _, name := range r.ledger.doubts(source) {
		slice := &discoveryv1.EndpointSlice{}
		key := types.NamespacedName{Namespace: source.Namespace, Name: name}
		err := r.APIReader.Get(ctx, key, slice)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("failed to get EndpointSlice %s: %w", key, err)
		}
		slice.Name, slice.ManagedFields = name, nil
		r.ledger.lookedUp(source, slice, err == nil)
	}
	return nil
}

// gather reads the rest of what the decision needs.
func (r *ServiceDirectorReconciler) gather(ctx context.Context, source *corev1.Service, settings api.Settings, made madeObjects) (*observed, error) {
	o := &observed{source: source, settings: settings, made: made}
	named, err := r.source(ctx, types.NamespacedName{Namespace: source.Namespace, Name: settings.LeaderServiceName})
	if err != nil {
		return nil, err
	}
	o.named = named
	if o.pods, err = r.members.of(ctx, r.Client, source); err != nil {
		return nil, err
	}

	o.leadership = routing.ReadLeadership(made.slices, made.services)
	if o.leadership.UID == "" {
		return o, nil
	}
	if i := slices.IndexFunc(o.pods, func(pod *corev1.Pod) bool { return pod.UID == o.leadership.UID }); i >= 0 {
		o.incumbent = o.pods[i]
		return o, nil
	}
	o.incumbent, err = incumbent(ctx, r.Client, source.Namespace, o.leadership)
	return o, err
}

// incumbent is the pod that leads, nil if the reader knows it not (any more).
func incumbent(ctx context.Context, reader client.Reader, namespace string, leadership routing.Leadership) (*corev1.Pod, error) {
	if leadership.PodName == "" || len(content.IsPathSegmentName(leadership.PodName)) > 0 {
		return nil, nil // somebody else wrote that: no pod has such a name, and the API server cannot be asked for it
	}
	var pod corev1.Pod
	err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: leadership.PodName}, &pod)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("failed to get pod %s/%s: %w", namespace, leadership.PodName, err)
	}
	if err != nil || pod.UID != leadership.UID {
		return nil, nil
	}
	return &pod, nil
}

// confirm asks the API server about an incumbent that is to lose the lead because of what the cache says, if the cache
// may be behind the one who made it leader: the slices and the pods come by watches of their own, and a controller that
// takes over may see a leader named before it sees why. One that this process has followed all along needs no asking.
func (r *ServiceDirectorReconciler) confirm(ctx context.Context, p *plan) error {
	if p.refused() || p.before.UID == "" || p.after.UID == p.before.UID || r.followed(p) {
		return nil
	}
	pod, err := incumbent(ctx, r.APIReader, p.source.Namespace, p.before)
	switch {
	case err != nil:
		return err
	case pod == nil || p.incumbent != nil && p.incumbent.ResourceVersion == pod.ResourceVersion:
		return nil
	default:
		return fmt.Errorf("%w: pod %s/%s leads in a state that was not seen yet", errUnseen, pod.Namespace, pod.Name)
	}
}

// followed tells whether this process has seen the incumbent in the state in which it became leader, or in a later one.
func (r *ServiceDirectorReconciler) followed(p *plan) bool {
	if p.incumbent != nil {
		return p.before.PodVersion == "" || !older(p.incumbent.ResourceVersion, p.before.PodVersion)
	}
	key := client.ObjectKeyFromObject(p.source)
	return slices.ContainsFunc(p.made.slices, func(slice *discoveryv1.EndpointSlice) bool {
		return routing.ReadLeadership([]*discoveryv1.EndpointSlice{slice}, nil).UID == p.before.UID && r.ledger.agreed(key, slice)
	})
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
