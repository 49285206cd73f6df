package director

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/routing"
)

// ensureSlices brings the leader slices in line, those of two families at the same time: neither waits for the other,
// and a failure of one does not keep the other from being written. It tells whether anything had to be written.
func (r *ServiceDirectorReconciler) ensureSlices(ctx context.Context, p *plan, changes []sliceChange) (wrote bool, err error) {
	if len(changes) == 1 {
		return r.ensureSlice(ctx, p, changes[0])
	}
	written := make([]bool, len(changes))
	errs := make([]error, len(changes))
	var families sync.WaitGroup
	for i, change := range changes {
		families.Go(func() { written[i], errs[i] = r.ensureSlice(ctx, p, change) })
	}
	families.Wait()
	r.noteDoubts(p, changes, errs)
	return slices.Contains(written, true), worst(errs)
}

// noteDoubts has the next look ask what became of writes that failed, since they may have been made all the same. Of a
// single slice the resourceVersion takes care; but with two, the next term would begin in one family under the number
// that the other gave to another pod unseen.
func (r *ServiceDirectorReconciler) noteDoubts(p *plan, changes []sliceChange, errs []error) {
	for i, err := range errs {
		if err != nil && !isStale(err) && !isTaken(err) && !refused(err) {
			r.ledger.doubt(client.ObjectKeyFromObject(p.source), changes[i].desired)
		}
	}
}

// refused tells whether the API server said that it did not make the write.
func refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusRequestTimeout
}

// worst joins the errors of several families. That a name is taken is no reason to wait; what else failed is, and counts
// more.
func worst(errs []error) error {
	others := slices.DeleteFunc(slices.Clone(errs), isTaken)
	if err := errors.Join(others...); err != nil || len(others) == len(errs) {
		return err
	}
	return errs[slices.IndexFunc(errs, isTaken)]
}

func (r *ServiceDirectorReconciler) ensureSlice(ctx context.Context, p *plan, change sliceChange) (wrote bool, err error) {
	key := client.ObjectKeyFromObject(p.source)
	current, desired := change.current, change.desired
	switch {
	case current == nil && !p.creating():
		return false, nil
	case current == nil:
		if r.ledger.known(key, desired) {
			r.Metrics.DriftRepair(kindSlice)
		}
		return true, r.createSlice(ctx, p, desired)
	case current.AddressType != desired.AddressType: // cannot be changed; the deletion's event brings us back
		return true, r.delete(ctx, p.source, current)
	case !routing.SliceChanged(current, desired):
		r.ledger.right(key, current)
		return false, nil
	default:
		if !p.moved() && r.ledger.changedByOthers(key, current) {
			r.Metrics.DriftRepair(kindSlice)
		}
		return true, r.updateSlice(ctx, p.source, desired)
	}
}

func (r *ServiceDirectorReconciler) createSlice(ctx context.Context, p *plan, desired *discoveryv1.EndpointSlice) error {
	err := r.Client.Create(ctx, desired, client.FieldOwner(FieldManager))
	r.Metrics.SliceWrite("create", result(err))
	switch {
	case err == nil:
		r.wroteSlice(p.source, desired)
		return nil
	case apierrors.IsAlreadyExists(err):
		return r.meetSlice(ctx, p, desired)
	default:
		return fmt.Errorf("failed to create EndpointSlice %s/%s: %w", desired.Namespace, desired.Name, err)
	}
}

// meetSlice deals with a slice that exists although the cache does not show it as ours. Either the cache is behind, or
// somebody removed the label by which the cache finds it, or it is somebody else's.
func (r *ServiceDirectorReconciler) meetSlice(ctx context.Context, p *plan, desired *discoveryv1.EndpointSlice) error {
	key := client.ObjectKeyFromObject(desired)
	var existing discoveryv1.EndpointSlice
	if err := r.APIReader.Get(ctx, key, &existing); err != nil {
		return fmt.Errorf("failed to get EndpointSlice %s: %w", key, err)
	}
	owner := routing.OwnerService(&existing)
	switch {
	case owner != nil && owner.Name == p.source.Name && owner.UID != p.source.UID:
		return fmt.Errorf("%w: EndpointSlice %s of the former Service is about to go", errStale, key)
	case !routing.OwnedBy(&existing, p.source):
		return &takenError{name: existing.Name}
	case existing.Labels[discoveryv1.LabelManagedBy] == api.ManagedBy:
		return fmt.Errorf("%w: EndpointSlice %s exists", errStale, key)
	default:
		return r.relabelSlice(ctx, &existing, desired.Labels)
	}
}

// relabelSlice makes the cache show a slice of ours again. What else it says is left as it is, since it is the record of
// who leads, on which nothing has been decided yet: that is done once the cache shows it.
func (r *ServiceDirectorReconciler) relabelSlice(ctx context.Context, slice *discoveryv1.EndpointSlice, labels map[string]string) error {
	key := client.ObjectKeyFromObject(slice)
	r.Metrics.DriftRepair(kindSlice)
	slice.Labels = maps.Clone(slice.Labels)
	if slice.Labels == nil {
		slice.Labels = make(map[string]string, len(labels))
	}
	maps.Copy(slice.Labels, labels)
	slice.ManagedFields = nil
	err := r.Client.Update(ctx, slice, client.FieldOwner(FieldManager))
	r.Metrics.SliceWrite("update", result(err))
	if err != nil {
		return fmt.Errorf("failed to restore the labels of EndpointSlice %s: %w", key, err)
	}
	return fmt.Errorf("%w: EndpointSlice %s had lost its labels", errStale, key)
}

// updateSlice replaces a slice. desired carries the resourceVersion that the decision was based on: if that is not the
// latest any more, the API server refuses, and a second leader cannot come of it.
//
// A single empty entry takes the managedFields from the slice
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields): nobody shares it, keeping
// account of them is a tenth of what the API server needs for the write, and each node would get them with each failover.
func (r *ServiceDirectorReconciler) updateSlice(ctx context.Context, source *corev1.Service, desired *discoveryv1.EndpointSlice) error {
	desired.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	err := r.Client.Update(ctx, desired, client.FieldOwner(FieldManager))
	r.Metrics.SliceWrite("update", result(err))
	switch {
	case err == nil:
		r.wroteSlice(source, desired)
		return nil
	case apierrors.IsNotFound(err):
		r.ledger.vanished(client.ObjectKeyFromObject(source), desired)
		return fmt.Errorf("%w: EndpointSlice %s/%s is gone", errStale, desired.Namespace, desired.Name)
	default:
		r.ledger.vanished(client.ObjectKeyFromObject(source), desired)
		return fmt.Errorf("failed to update EndpointSlice %s/%s: %w", desired.Namespace, desired.Name, err)
	}
}

func (r *ServiceDirectorReconciler) wroteSlice(source *corev1.Service, written *discoveryv1.EndpointSlice) {
	written.ManagedFields = nil
	r.ledger.wrote(client.ObjectKeyFromObject(source), written)
}

// suspend takes the endpoints from all slices of a Service that cannot be routed. The slices stay, and with them the
// epoch; the leader Service stays, and with it its address.
func (r *ServiceDirectorReconciler) suspend(ctx context.Context, p *plan) error {
	for _, slice := range p.made.slices {
		if empty := routing.EmptySlice(slice, p.now); empty != nil {
			if err := r.updateSlice(ctx, p.source, empty); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeSuperseded deletes what an earlier name or an earlier IP family left: only now, when the new is in place.
func (r *ServiceDirectorReconciler) removeSuperseded(ctx context.Context, p *plan) error {
	return r.deleteAll(ctx, p.source, p.made, func(object client.Object) bool {
		if kindOf(object) == kindService {
			return object.GetName() != p.name
		}
		return !p.wants(object.GetName())
	})
}

// deleteAll deletes those of the made objects that are not wanted any more. The slices go first: once the Service is
// gone, its name is free, and a slice that is still there would route whatever Service takes it.
func (r *ServiceDirectorReconciler) deleteAll(ctx context.Context, source *corev1.Service, made madeObjects, unwanted func(client.Object) bool) error {
	for _, slice := range made.slices {
		if unwanted(slice) && slice.DeletionTimestamp == nil {
			if err := r.delete(ctx, source, slice); err != nil {
				return err
			}
		}
	}
	for _, service := range made.services {
		if unwanted(service) && service.DeletionTimestamp == nil {
			if err := r.delete(ctx, source, service); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plan) wants(sliceName string) bool {
	for _, change := range p.desiredSlices {
		if change.desired.Name == sliceName {
			return true
		}
	}
	return false
}

// delete deletes an object of ours, and only that one: not another that has taken its name since.
func (r *ServiceDirectorReconciler) delete(ctx context.Context, source *corev1.Service, object client.Object) error {
	uid := object.GetUID()
	err := r.Client.Delete(ctx, object, client.Preconditions{UID: &uid})
	if kindOf(object) == kindSlice {
		r.Metrics.SliceWrite("delete", result(client.IgnoreNotFound(err)))
	}
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("failed to delete %s %s/%s: %w", kindOf(object), object.GetNamespace(), object.GetName(), err)
	}
	r.ledger.deleted(client.ObjectKeyFromObject(source), object)
	return nil
}

// takenError says that a slice that is not ours has the name of ours.
type takenError struct {
	name string
}

func isTaken(err error) bool {
	var taken *takenError
	return errors.As(err, &taken)
}

func (e *takenError) Error() string {
	return fmt.Sprintf("EndpointSlice %s exists and was not made for this Service", e.name)
}

func (e *takenError) problem() *api.Problem {
	return &api.Problem{Reason: reasonLeaderSliceTaken, Message: e.Error() +
		"; it is left alone, and nothing is routed in its IP family: delete it, or choose another leader Service name with annotation " + api.AnnotationLeaderServiceName}
}

const (
	kindService = "Service"
	kindSlice   = "EndpointSlice"
)

func kindOf(object client.Object) string {
	if _, ok := object.(*corev1.Service); ok {
		return kindService
	}
	return kindSlice
}

// result is the metric's word for how a write ended.
func result(err error) string {
	switch {
	case err == nil:
		return "success"
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		return "stale"
	default:
		return "error"
	}
}

// sourceKey is the Service that an object of ours was made for, by its owner.
func sourceKey(object client.Object) (types.NamespacedName, bool) {
	owner := routing.OwnerService(object)
	if owner == nil {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: owner.Name}, true
}
