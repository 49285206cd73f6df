package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/kube-zen/zen-lead/src/api"
)

// Leadership is one state of a leader slice, as a watch of the API server delivered it.
type Leadership struct {
	At        time.Time // when the watch delivered it
	Slice     string
	Endpoints int
	// The first endpoint; empty if there is none.
	Pod     string
	UID     types.UID
	Node    string
	Ready   bool
	Serving bool
	Epoch   string
}

// PodChange is one event in the life of a pod that the watch saw.
type PodChange struct {
	At   time.Time
	Pod  string
	UID  types.UID
	What string // PodTerminating, PodGone or PodNotReady
}

// What happens to pods.
const (
	PodTerminating = "terminating" // has a deletionTimestamp: the API server knows that it goes
	PodGone        = "gone"
	PodNotReady    = "not ready" // and was before
)

// Recorder records who leads, and which pods of a namespace go, from a watch of the API server.
type Recorder struct {
	mu          sync.Mutex
	leaderships []Leadership
	pods        []PodChange
	terminating map[types.UID]bool
	ready       map[types.UID]bool
}

// Record starts a recording for the leader Service called leaderService, which ends with ctx.
func Record(ctx context.Context, client kubernetes.Interface, namespace, leaderService string) (*Recorder, error) {
	return RecordSlices(ctx, client, namespace, discoveryv1.LabelServiceName+"="+leaderService)
}

// RecordSlices starts a recording of all slices that a label selector selects.
func RecordSlices(ctx context.Context, client kubernetes.Interface, namespace, selector string) (*Recorder, error) {
	r := &Recorder{terminating: map[types.UID]bool{}, ready: map[types.UID]bool{}}
	// Two factories, as the label selector is the slices' alone.
	ofSlices := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
	ofPods := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))

	_, errSlices := ofSlices.Discovery().V1().EndpointSlices().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.sliceChanged(o) },
		UpdateFunc: func(_, o any) { r.sliceChanged(o) },
	})
	_, errPods := ofPods.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.podChanged(o) },
		UpdateFunc: func(_, o any) { r.podChanged(o) },
		DeleteFunc: func(o any) { r.podGone(o) },
	})
	if err := errors.Join(errSlices, errPods); err != nil {
		return nil, fmt.Errorf("failed to watch namespace %s: %w", namespace, err)
	}
	for _, factory := range []informers.SharedInformerFactory{ofSlices, ofPods} {
		factory.Start(ctx.Done())
		synced := factory.WaitForCacheSync(ctx.Done())
		if slices.Contains(slices.Collect(maps.Values(synced)), false) {
			return nil, fmt.Errorf("failed to watch namespace %s: %w", namespace, context.Cause(ctx))
		}
	}
	return r, nil
}

func (r *Recorder) sliceChanged(object any) {
	now := time.Now()
	slice, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return
	}
	l := Leadership{At: now, Slice: slice.Name, Endpoints: len(slice.Endpoints), Epoch: slice.Annotations[api.AnnotationEpoch]}
	if len(slice.Endpoints) > 0 {
		e := slice.Endpoints[0]
		l.Ready, l.Serving = isTrue(e.Conditions.Ready), isTrue(e.Conditions.Serving)
		if e.NodeName != nil {
			l.Node = *e.NodeName
		}
		if e.TargetRef != nil {
			l.Pod, l.UID = e.TargetRef.Name, e.TargetRef.UID
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaderships = append(r.leaderships, l)
}

// isTrue reads a condition of an endpoint as proxies do: what is not said is true.
func isTrue(condition *bool) bool { return condition == nil || *condition }

func (r *Recorder) podChanged(object any) {
	now := time.Now()
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	if r.ready[pod.UID] && !ready {
		r.pods = append(r.pods, PodChange{At: now, Pod: pod.Name, UID: pod.UID, What: PodNotReady})
	}
	r.ready[pod.UID] = ready
	if !pod.DeletionTimestamp.IsZero() && !r.terminating[pod.UID] {
		r.terminating[pod.UID] = true
		r.pods = append(r.pods, PodChange{At: now, Pod: pod.Name, UID: pod.UID, What: PodTerminating})
	}
}

func (r *Recorder) podGone(object any) {
	now := time.Now()
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods = append(r.pods, PodChange{At: now, Pod: pod.Name, UID: pod.UID, What: PodGone})
}

// Leaderships returns the recording so far.
func (r *Recorder) Leaderships() []Leadership {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.leaderships)
}

// Pods returns what happened to pods so far.
func (r *Recorder) Pods() []PodChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.pods)
}

// Leader returns the latest state that names a leader who is ready.
func (r *Recorder) Leader() (Leadership, bool) {
	recorded := r.Leaderships()
	if len(recorded) == 0 {
		return Leadership{}, false
	}
	last := recorded[len(recorded)-1]
	return last, last.Endpoints > 0 && last.Ready
}

// WaitForLeader waits until a pod leads and is ready; any but the one with the UID in other than.
func (r *Recorder) WaitForLeader(ctx context.Context, otherThan types.UID) (Leadership, error) {
	var leader Leadership
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		var leads bool
		leader, leads = r.Leader()
		return leads && leader.UID != otherThan, nil
	})
	if err != nil {
		return Leadership{}, fmt.Errorf("failed to wait for a leader: %w", err)
	}
	return leader, nil
}

// WaitForPod waits until something has happened to a pod and returns when.
func (r *Recorder) WaitForPod(ctx context.Context, uid types.UID, what string) (time.Time, error) {
	var at time.Time
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		for _, change := range r.Pods() {
			if change.UID == uid && change.What == what {
				at = change.At
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to wait until pod %s is %s: %w", uid, what, err)
	}
	return at, nil
}
