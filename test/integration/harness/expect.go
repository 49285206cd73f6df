package harness

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/kube-zen/zen-lead/src/api"
)

// State is what is published for a leader Service.
type State struct {
	Service *corev1.Service
	// Slices are the leader slices by IP family.
	Slices map[corev1.IPFamily]*discoveryv1.EndpointSlice
	// Primary is the slice of the leader Service's first IP family.
	Primary *discoveryv1.EndpointSlice
	// Epoch and Switched are those of the primary slice.
	Epoch    int64
	Switched time.Time
}

// ExpectLeader waits until a leader Service and each of its slices name one pod, ready, in every detail, and the mirror
// on the leader Service is up to date.
func (w *World) ExpectLeader(leaderService, pod string) State {
	w.Helper()
	return w.expect(leaderService, pod, discoveryv1.EndpointConditions{
		Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)})
}

// ExpectServing waits until a leader Service's slices name one pod as the last resort: terminating, not ready, serving.
func (w *World) ExpectServing(leaderService, pod string) State {
	w.Helper()
	return w.expect(leaderService, pod, discoveryv1.EndpointConditions{
		Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)})
}

func (w *World) expect(leaderService, podName string, conditions discoveryv1.EndpointConditions) State {
	w.Helper()
	var state State
	w.Eventually(fmt.Sprintf("service %s to be led by pod %s", leaderService, podName), func() error {
		pod, err := w.GetPod(podName)
		if err != nil {
			return err
		}
		if state, err = w.State(leaderService); err != nil {
			return err
		}
		for family, slice := range state.Slices {
			if err := checkSlice(slice, family, pod, conditions); err != nil {
				return fmt.Errorf("slice %s: %w", slice.Name, err)
			}
		}
		return checkMirror(state, pod)
	})
	return state
}

// ExpectNobody waits until every slice of a leader Service is there and has no endpoint.
func (w *World) ExpectNobody(leaderService string) State {
	w.Helper()
	var state State
	w.Eventually(fmt.Sprintf("service %s to be led by nobody", leaderService), func() (err error) {
		if state, err = w.State(leaderService); err != nil {
			return err
		}
		for _, slice := range state.Slices {
			if len(slice.Endpoints) > 0 {
				return fmt.Errorf("slice %s has the endpoints %+v", slice.Name, slice.Endpoints)
			}
		}
		return nil
	})
	return state
}

// State reads a leader Service and its slices, of which there has to be one for each of its IP families.
func (w *World) State(leaderService string) (State, error) {
	service, err := w.GetService(leaderService)
	if err != nil {
		return State{}, err
	}
	slices, err := w.Slices(leaderService)
	if err != nil {
		return State{}, err
	}
	if len(slices) != len(service.Spec.IPFamilies) {
		return State{}, fmt.Errorf("service %s has the families %v and %d slices", leaderService, service.Spec.IPFamilies, len(slices))
	}
	state := State{Service: service, Slices: map[corev1.IPFamily]*discoveryv1.EndpointSlice{}}
	for i, family := range service.Spec.IPFamilies {
		slice, err := w.GetSlice(SliceName(leaderService, family))
		if err != nil {
			return State{}, err
		}
		if slice.AddressType != addressType(family) {
			return State{}, fmt.Errorf("slice %s is of %s", slice.Name, slice.AddressType)
		}
		state.Slices[family] = slice
		if i == 0 {
			state.Primary = slice
		}
	}
	state.Epoch, _ = strconv.ParseInt(state.Primary.Annotations[api.AnnotationEpoch], 10, 64)
	state.Switched, _ = time.Parse(time.RFC3339, state.Primary.Annotations[api.AnnotationLastSwitchTime])
	return state, nil
}

func checkSlice(slice *discoveryv1.EndpointSlice, family corev1.IPFamily, pod *corev1.Pod, want discoveryv1.EndpointConditions) error {
	address := PodIP(pod, family)
	if address == "" {
		if len(slice.Endpoints) > 0 {
			return fmt.Errorf("the pod has no %s address, but there is the endpoint %+v", family, slice.Endpoints[0])
		}
		return nil
	}
	if len(slice.Endpoints) != 1 {
		return fmt.Errorf("it has %d endpoints", len(slice.Endpoints))
	}
	e := slice.Endpoints[0]
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.Name != pod.Name || e.TargetRef.Namespace != pod.Namespace || e.TargetRef.UID != pod.UID {
		return fmt.Errorf("it names %+v, not pod %s %s", e.TargetRef, pod.Name, pod.UID)
	}
	if len(e.Addresses) != 1 || e.Addresses[0] != address {
		return fmt.Errorf("it has the addresses %v, not %s", e.Addresses, address)
	}
	if ptr.Deref(e.NodeName, "") != pod.Spec.NodeName || ptr.Deref(e.Zone, "") != Zone(pod.Spec.NodeName) {
		return fmt.Errorf("it is on node %q in zone %q, not on %s", ptr.Deref(e.NodeName, ""), ptr.Deref(e.Zone, ""), pod.Spec.NodeName)
	}
	return checkConditions(e.Conditions, want)
}

func checkConditions(have, want discoveryv1.EndpointConditions) error {
	if !ptr.Equal(have.Ready, want.Ready) || !ptr.Equal(have.Serving, want.Serving) || !ptr.Equal(have.Terminating, want.Terminating) {
		return fmt.Errorf("its conditions are %s, not %s", conditionsText(have), conditionsText(want))
	}
	return nil
}

func conditionsText(c discoveryv1.EndpointConditions) string {
	text := func(b *bool) string {
		if b == nil {
			return "unset"
		}
		return strconv.FormatBool(*b)
	}
	return fmt.Sprintf("ready=%s serving=%s terminating=%s", text(c.Ready), text(c.Serving), text(c.Terminating))
}

// checkMirror compares the leader Service's annotations with the slice, and with the pod.
func checkMirror(state State, pod *corev1.Pod) error {
	annotations := state.Service.Annotations
	for key, want := range map[string]string{
		api.AnnotationLeaderPodName:  pod.Name,
		api.AnnotationLeaderPodUID:   string(pod.UID),
		api.AnnotationEpoch:          state.Primary.Annotations[api.AnnotationEpoch],
		api.AnnotationLastSwitchTime: state.Primary.Annotations[api.AnnotationLastSwitchTime],
	} {
		if want == "" {
			return fmt.Errorf("slice %s lacks %s", state.Primary.Name, key)
		}
		if annotations[key] != want {
			return fmt.Errorf("service %s says %s=%q, not %q", state.Service.Name, key, annotations[key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339, annotations[api.AnnotationLastSwitchTime]); err != nil {
		return fmt.Errorf("service %s: %w", state.Service.Name, err)
	}
	return nil
}

// PodIP is the pod's address in a family, "" if it has none.
func PodIP(pod *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range pod.Status.PodIPs {
		address, err := netip.ParseAddr(ip.IP)
		if err == nil && address.Is4() == (family == corev1.IPv4Protocol) {
			return ip.IP
		}
	}
	return ""
}

// OwnedBy checks the controller ownerReference of one of our objects.
func OwnedBy(object metav1.Object, source *corev1.Service) error {
	owner := metav1.GetControllerOf(object)
	switch {
	case owner == nil:
		return errors.New(object.GetName() + " has no controller")
	case owner.UID != source.UID || owner.Kind != "Service" || owner.APIVersion != "v1" || owner.Name != source.Name:
		return fmt.Errorf("%s is controlled by %+v, not by service %s %s", object.GetName(), *owner, source.Name, source.UID)
	case ptr.Deref(owner.BlockOwnerDeletion, false):
		return fmt.Errorf("%s blocks the deletion of its owner", object.GetName())
	}
	return nil
}

// fenceService is the name of the Service that Fence uses.
const fenceService = "fence"

// Fence returns when the controller has acted on everything about pods and Services that was written before, and has
// nothing left to do.
func (w *World) Fence() { w.Helper(); w.Barrier(); w.Quiet() }

// Barrier returns when the controller has seen everything about pods and Services that was written before: what it
// watches comes in order, so a change that is made now and acted on shows that earlier ones were seen.
func (w *World) Barrier() {
	w.Helper()
	w.fences++
	pod := fmt.Sprintf("fence-%d", w.fences)
	w.Pod(MakePod(pod).App(fenceService))
	if w.fences == 1 {
		w.Service(MakeService(fenceService).App(fenceService).Enabled())
	} else {
		w.UpdateService(fenceService, func(s *corev1.Service) { s.Spec.Ports[0].Port++ })
		w.KillPod(fmt.Sprintf("fence-%d", w.fences-1))
	}
	w.ExpectLeader(fenceService+api.LeaderSuffix, pod)
	w.Eventually("the fence's ports to follow", func() error {
		source, err := w.GetService(fenceService)
		if err != nil {
			return err
		}
		leader, err := w.GetService(fenceService + api.LeaderSuffix)
		if err == nil && leader.Spec.Ports[0].Port != source.Spec.Ports[0].Port {
			err = fmt.Errorf("port %d, not %d", leader.Spec.Ports[0].Port, source.Spec.Ports[0].Port)
		}
		return err
	})
}

// SinceFenced is what the controller requested since a mark, apart from what a Fence made it do.
func (w *World) SinceFenced(mark int) Requests {
	return w.Requests.Since(mark).Where(func(r Request) bool {
		return len(r.Name) < len(fenceService) || r.Name[:len(fenceService)] != fenceService
	})
}
