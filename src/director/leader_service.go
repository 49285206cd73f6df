package director

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/routing"
)

// ensureLeaderService brings the leader Service in line:
//
//	current        desired                          action
//	none           -                                create, unless the source is being deleted
//	being deleted  -                                none; its end brings us back
//	there          cannot become the desired one    delete; its end brings us back
//	there          the same                         none
//	there          other                            patch what is ours
func (r *ServiceDirectorReconciler) ensureLeaderService(ctx context.Context, p *plan) error {
	key := client.ObjectKeyFromObject(p.source)
	current, desired := p.currentService, p.desiredService()
	switch {
	case current == nil && !p.creating():
		return nil
	case current == nil:
		if r.ledger.known(key, desired) {
			r.Metrics.DriftRepair(kindService)
		}
		return r.createLeaderService(ctx, p, desired)
	case current.DeletionTimestamp != nil:
		return nil
	case routing.MustRecreate(current, desired):
		if r.ledger.changedByOthers(key, current) {
			r.Metrics.DriftRepair(kindService)
		}
		return r.delete(ctx, p.source, current)
	case !routing.LeaderServiceChanged(current, desired):
		r.ledger.right(key, current)
		return nil
	default:
		if r.ledger.changedByOthers(key, current) {
			r.Metrics.DriftRepair(kindService)
		}
		return r.patchLeaderService(ctx, p, desired)
	}
}

func (r *ServiceDirectorReconciler) createLeaderService(ctx context.Context, p *plan, desired *corev1.Service) error {
	err := r.Client.Create(ctx, desired, client.FieldOwner(FieldManager))
	switch {
	case err == nil:
		r.wroteService(p.source, desired)
		return nil
	case apierrors.IsAlreadyExists(err):
		// The cache will show it in a moment, as ours or as somebody else's.
		return fmt.Errorf("%w: Service %s/%s exists", errStale, desired.Namespace, desired.Name)
	default:
		return fmt.Errorf("failed to create leader Service %s/%s: %w", desired.Namespace, desired.Name, err)
	}
}

// patchLeaderService writes only what differs, on the version that was read. The cached object lacks what others own,
// and replacing the Service by it would take that away.
func (r *ServiceDirectorReconciler) patchLeaderService(ctx context.Context, p *plan, patched *corev1.Service) error {
	patch := client.MergeFromWithOptions(p.currentService, client.MergeFromWithOptimisticLock{})
	err := r.Client.Patch(ctx, patched, patch, client.FieldOwner(FieldManager))
	switch {
	case err == nil:
		r.wroteService(p.source, patched)
		return nil
	case apierrors.IsNotFound(err):
		r.ledger.vanished(client.ObjectKeyFromObject(p.source), patched)
		return fmt.Errorf("%w: Service %s/%s is gone", errStale, patched.Namespace, patched.Name)
	default:
		r.ledger.vanished(client.ObjectKeyFromObject(p.source), patched)
		return fmt.Errorf("failed to patch leader Service %s/%s: %w", patched.Namespace, patched.Name, err)
	}
}

// wroteService notes the leader Service in the form that the cache will show.
func (r *ServiceDirectorReconciler) wroteService(source, written *corev1.Service) {
	slim, _ := informers.SlimService(written)
	r.ledger.wrote(client.ObjectKeyFromObject(source), slim.(*corev1.Service))
}
