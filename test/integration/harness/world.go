package harness

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
)

// kubeControllerManager is the field manager of the stock controllers, as far as its beginning tells.
const kubeControllerManager = "kube-controller-manager"

// World is one test's namespace, with everything that happens in it.
type World struct {
	testing.TB
	Namespace string
	Client    client.WithWatch
	// Requests are those of the controller that runs inside the test process.
	Requests   *Recorder
	Invariants *Invariants

	plane      *ControlPlane
	controller *Controller
	recorders  []*Recorder
	protected  map[string]bool
	addresses  atomic.Int32
	fences     int
	// anywhere is true if the test's controller serves other namespaces too.
	anywhere bool
	// rights are those of the test's controllers, nil before the first.
	rights *rest.Config
}

// NewWorld makes a namespace for the test and watches over it until the test ends.
func NewWorld(t testing.TB, plane *ControlPlane) *World {
	t.Helper()
	w := &World{
		TB: t, Client: plane.Client, Requests: &Recorder{}, Invariants: newInvariants(),
		plane: plane, protected: map[string]bool{},
	}
	w.recorders = []*Recorder{w.Requests}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := w.Client.Create(w.Context(), namespace); err != nil {
		t.Fatalf("failed to create a namespace: %v", err)
	}
	w.Namespace = namespace.Name
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	if err := w.Invariants.start(ctx, w.Client, w.Namespace); err != nil {
		cancel()
		t.Fatal(err)
	}
	w.Cleanup(func() {
		w.checkInvariants(ctx)
		cancel()
	})
	return w
}

// ServesOthers allows the test's controller to write to other namespaces.
func (w *World) ServesOthers() { w.anywhere = true }

// Config is an administrator's.
func (w *World) Config() *rest.Config { return rest.CopyConfig(w.plane.Config) }

func (w *World) checkInvariants(ctx context.Context) {
	for _, violation := range w.Invariants.Violations() {
		w.Errorf("invariant broken: %s", violation)
	}
	for _, recorder := range w.recorders {
		requests := recorder.All()
		if w.anywhere {
			requests = requests.Where(func(r Request) bool { return r.Namespace == w.Namespace })
		}
		for _, line := range forbidden(requests, w.Namespace, w.protected) {
			w.Errorf("invariant broken: %s", line)
		}
	}
	var sources, ours []client.Object
	services, slices, pods := &corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}, &corev1.PodList{}
	for _, list := range []client.ObjectList{services, slices, pods} {
		if err := w.Client.List(ctx, list, client.InNamespace(w.Namespace)); err != nil {
			w.Errorf("failed to list %T: %v", list, err)
		}
	}
	sources = items(pods)
	for i := range services.Items {
		if w.protected[services.Items[i].Name] {
			sources = append(sources, &services.Items[i])
		}
	}
	for i := range slices.Items {
		if slices.Items[i].Labels[discoveryv1.LabelManagedBy] == api.ManagedBy {
			ours = append(ours, &slices.Items[i])
		}
	}
	for _, line := range append(strangers(sources, Tester, kubeControllerManager), strangers(ours, Tester, UserAgent)...) {
		w.Errorf("invariant broken: %s", line)
	}
	if w.Failed() {
		w.Log(w.Dump())
	}
}

// Create creates an object in the test's namespace. Services and EndpointSlices that a test makes are the user's: the
// controller must never write them.
func (w *World) Create(object client.Object) {
	w.Helper()
	object.SetNamespace(w.Namespace)
	if err := w.Client.Create(w.Context(), object); err != nil {
		w.Fatalf("failed to create %T %s: %v", object, object.GetName(), err)
	}
	switch object.(type) {
	case *corev1.Service:
		w.protected[object.GetName()] = true
	case *discoveryv1.EndpointSlice:
		w.protected["endpointslice/"+object.GetName()] = true
	}
}

// Unprotect lets the controller have a name that a test's own object had before it was deleted.
func (w *World) Unprotect(service string) { delete(w.protected, service) }

// Service creates a Service.
func (w *World) Service(b *ServiceBuilder) *corev1.Service {
	w.Helper()
	service := b.Object()
	w.Create(service)
	return service
}

// Pod creates a pod and writes the status that a kubelet would write.
func (w *World) Pod(b *PodBuilder) *corev1.Pod {
	w.Helper()
	pod := b.pod.DeepCopy()
	status := pod.Status
	if len(status.PodIPs) == 0 {
		n := w.addresses.Add(1)
		v4, v6 := fmt.Sprintf("10.244.%d.%d", n/200, n%200+1), fmt.Sprintf("fd00:10:244::%x", n)
		status.PodIPs, status.PodIP = []corev1.PodIP{{IP: v4}, {IP: v6}}, v4
	}
	w.Create(pod)
	pod.Status = status
	if err := w.Client.Status().Update(w.Context(), pod); err != nil {
		w.Fatalf("failed to write the status of pod %s: %v", pod.Name, err)
	}
	return pod
}

// Pods creates several pods.
func (w *World) Pods(builders ...*PodBuilder) []*corev1.Pod {
	w.Helper()
	pods := make([]*corev1.Pod, len(builders))
	for i, b := range builders {
		pods[i] = w.Pod(b)
	}
	return pods
}

// SetReady changes a pod's readiness, as of now.
func (w *World) SetReady(pod string, ready bool) {
	w.Helper()
	w.UpdatePodStatus(pod, func(p *corev1.Pod) { SetReady(p, ready, time.Now()) })
}

// UpdatePodStatus changes a pod's status.
func (w *World) UpdatePodStatus(name string, change func(*corev1.Pod)) {
	w.Helper()
	w.retry("update the status of pod "+name, func() error {
		pod := &corev1.Pod{}
		if err := w.Client.Get(w.Context(), w.Key(name), pod); err != nil {
			return err
		}
		change(pod)
		return w.Client.Status().Update(w.Context(), pod)
	})
}

// Update changes an object, read afresh.
func (w *World) Update(object client.Object, name string, change func()) {
	w.Helper()
	w.retry(fmt.Sprintf("update %T %s", object, name), func() error {
		if err := w.Client.Get(w.Context(), w.Key(name), object); err != nil {
			return err
		}
		change()
		return w.Client.Update(w.Context(), object)
	})
}

// withMaps lets a test set labels and annotations without a look at whether there are any.
func withMaps(meta *metav1.ObjectMeta) {
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	if meta.Annotations == nil {
		meta.Annotations = map[string]string{}
	}
}

// UpdateService changes a Service.
func (w *World) UpdateService(name string, change func(*corev1.Service)) {
	w.Helper()
	service := &corev1.Service{}
	w.Update(service, name, func() { withMaps(&service.ObjectMeta); change(service) })
}

// UpdatePod changes a pod's metadata.
func (w *World) UpdatePod(name string, change func(*corev1.Pod)) {
	w.Helper()
	pod := &corev1.Pod{}
	w.Update(pod, name, func() { withMaps(&pod.ObjectMeta); change(pod) })
}

// UpdateSlice changes an EndpointSlice.
func (w *World) UpdateSlice(name string, change func(*discoveryv1.EndpointSlice)) {
	w.Helper()
	slice := &discoveryv1.EndpointSlice{}
	w.Update(slice, name, func() { withMaps(&slice.ObjectMeta); change(slice) })
}

// Annotate sets an annotation on a Service; an empty value removes it.
func (w *World) Annotate(service, key, value string) {
	w.Helper()
	w.UpdateService(service, func(s *corev1.Service) {
		if value == "" {
			delete(s.Annotations, key)
			return
		}
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, key, value)
	})
}

func (w *World) retry(what string, f func() error) {
	w.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			w.Fatalf("failed to %s: %v", what, err)
		}
	}
}

// TerminatePod deletes a pod the polite way. With no kubelet to end it, it stays, terminating.
func (w *World) TerminatePod(name string) { w.Helper(); w.deletePod(name, 600) }

// KillPod makes a pod go at once.
func (w *World) KillPod(name string) { w.Helper(); w.deletePod(name, 0) }

func (w *World) deletePod(name string, grace int64) {
	w.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace}}
	if err := w.Client.Delete(w.Context(), pod, client.GracePeriodSeconds(grace)); err != nil {
		w.Fatalf("failed to delete pod %s: %v", name, err)
	}
}

// DeleteService deletes a Service.
func (w *World) DeleteService(name string) {
	w.Helper()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace}}
	if err := w.Client.Delete(w.Context(), service); err != nil {
		w.Fatalf("failed to delete service %s: %v", name, err)
	}
}

// DeleteSlice deletes an EndpointSlice.
func (w *World) DeleteSlice(name string) {
	w.Helper()
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace}}
	if err := w.Client.Delete(w.Context(), slice); err != nil {
		w.Fatalf("failed to delete slice %s: %v", name, err)
	}
}

// Key is the key of a name in the test's namespace.
func (w *World) Key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.Namespace, Name: name}
}

// GetService reads a Service.
func (w *World) GetService(name string) (*corev1.Service, error) {
	service := &corev1.Service{}
	return service, w.Client.Get(w.Context(), w.Key(name), service)
}

// GetSlice reads an EndpointSlice.
func (w *World) GetSlice(name string) (*discoveryv1.EndpointSlice, error) {
	slice := &discoveryv1.EndpointSlice{}
	return slice, w.Client.Get(w.Context(), w.Key(name), slice)
}

// GetPod reads a pod.
func (w *World) GetPod(name string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	return pod, w.Client.Get(w.Context(), w.Key(name), pod)
}

// Slices are the leader slices of a leader Service.
func (w *World) Slices(leaderService string) ([]discoveryv1.EndpointSlice, error) {
	list := &discoveryv1.EndpointSliceList{}
	err := w.Client.List(w.Context(), list, client.InNamespace(w.Namespace), client.MatchingLabels{
		discoveryv1.LabelServiceName: leaderService, discoveryv1.LabelManagedBy: api.ManagedBy,
	})
	return list.Items, err
}

// Events are the Events about a Service with a reason, whatever namespace zen-lead's recorder put them in.
func (w *World) Events(service, reason string) ([]corev1.Event, error) {
	list := &corev1.EventList{}
	if err := w.Client.List(w.Context(), list, client.InNamespace(w.Namespace)); err != nil {
		return nil, err
	}
	var found []corev1.Event
	for i := range list.Items {
		e := &list.Items[i]
		if e.InvolvedObject.Kind == "Service" && e.InvolvedObject.Name == service && (reason == "" || e.Reason == reason) {
			found = append(found, *e)
		}
	}
	return found, nil
}

// CountEvents is how often an Event with a reason happened to a Service.
func (w *World) CountEvents(service, reason string) int {
	w.Helper()
	events, err := w.Events(service, reason)
	if err != nil {
		w.Fatalf("failed to list events: %v", err)
	}
	count := 0
	for i := range events {
		count += EventCount(&events[i])
	}
	return count
}

// ExpectEvent waits for an Event about a Service whose message has all the words, and returns it.
func (w *World) ExpectEvent(service, kind, reason string, words ...string) corev1.Event {
	w.Helper()
	var found corev1.Event
	w.Eventually(fmt.Sprintf("a %s event %s about service %s that says %q", kind, reason, service, words), func() error {
		events, err := w.Events(service, reason)
		if err != nil {
			return err
		}
		var seen []string
	next:
		for _, e := range events {
			seen = append(seen, e.Type+": "+e.Message)
			for _, word := range words {
				if !strings.Contains(e.Message, word) {
					continue next
				}
			}
			if e.Type == kind {
				found = e
				return nil
			}
		}
		return fmt.Errorf("events with that reason: %q", seen)
	})
	return found
}

// Gone waits until an object does not exist.
func (w *World) Gone(object client.Object, name string) {
	w.Helper()
	w.EventuallyWithin(LongPatience, fmt.Sprintf("%T %s to be gone", object, name), func() error {
		err := w.Client.Get(w.Context(), w.Key(name), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is still there: %w", err)
	})
}

// Absent fails the test if an object exists.
func (w *World) Absent(object client.Object, name string) {
	w.Helper()
	if err := w.Client.Get(w.Context(), w.Key(name), object); !apierrors.IsNotFound(err) {
		w.Errorf("%T %s should not exist (%v)\n%s", object, name, err, w.Dump())
	}
}

// ReleaseSlice lets the controller have the name of a slice that a test made and deleted.
func (w *World) ReleaseSlice(slice string) { delete(w.protected, "endpointslice/"+slice) }
