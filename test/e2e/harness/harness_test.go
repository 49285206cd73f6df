package harness

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/kube-zen/zen-lead/src/api"
)

func client() TrafficClient {
	return TrafficClient{
		Namespace: "ns", Name: "client", Image: "traffic:dev", AwayFrom: "worker", Duration: 10 * time.Second, Interval: 5 * time.Millisecond,
		Targets: []Target{{"dns", "http://my-app-leader/hostname"}, {"clusterip", "http://10.96.0.17/hostname"}},
	}
}

func TestTrafficPod(t *testing.T) {
	pod := client().Pod()
	assert.Equal(t, []string{"--duration=10s", "--interval=5ms", "dns=http://my-app-leader/hostname", "clusterip=http://10.96.0.17/hostname"},
		pod.Spec.Containers[0].Args)

	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	restricted := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
		assert.True(t, result.Allowed, "%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
	}
}

func TestSchedulable(t *testing.T) {
	node := func(change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
		change(n)
		return n
	}
	taint := func(effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "key", Effect: effect}} }
	}
	assert.True(t, schedulable(node(func(*corev1.Node) {})))
	assert.True(t, schedulable(node(taint(corev1.TaintEffectPreferNoSchedule))))
	assert.False(t, schedulable(node(taint(corev1.TaintEffectNoSchedule))))
	assert.False(t, schedulable(node(func(n *corev1.Node) { n.Spec.Unschedulable = true })))
	assert.False(t, schedulable(node(func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown })))
	assert.False(t, schedulable(&corev1.Node{}))
}

func TestWhyNotReady(t *testing.T) {
	assert.Equal(t, "the pod is pending", whyNotReady(&corev1.Pod{}))
	assert.Equal(t, "the pod is not scheduled: no room", whyNotReady(&corev1.Pod{Status: corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "no room"}},
	}}))
	assert.Equal(t, "the container waits: ErrImagePull not found", whyNotReady(&corev1.Pod{Status: corev1.PodStatus{
		ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}}},
	}}))
}

func leaderSlice(pod string, ready bool) *discoveryv1.EndpointSlice {
	node := "node-of-" + pod
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "my-app-leader-ipv4",
			Labels:      map[string]string{discoveryv1.LabelServiceName: "my-app-leader"},
			Annotations: map[string]string{api.AnnotationEpoch: "epoch-of-" + pod},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if pod != "" {
		slice.Endpoints = []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Name: pod, UID: types.UID("uid-of-" + pod)},
		}}
	}
	return slice
}

func TestRecorder(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "uid-of-a"}}
	cluster := fake.NewClientset(leaderSlice("a", true), old)
	recorder, err := Record(ctx, cluster, "ns", "my-app-leader")
	require.NoError(t, err)

	first, err := recorder.WaitForLeader(ctx, "")
	require.NoError(t, err)
	assert.Equal(t, "a", first.Pod)
	assert.Equal(t, "node-of-a", first.Node)
	assert.Equal(t, "epoch-of-a", first.Epoch)
	assert.True(t, first.Serving, "a condition that is not said is true")

	update := func(slice *discoveryv1.EndpointSlice) {
		_, err := cluster.DiscoveryV1().EndpointSlices("ns").Update(ctx, slice, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	update(leaderSlice("", false))
	update(leaderSlice("b", false))
	update(leaderSlice("b", true))
	second, err := recorder.WaitForLeader(ctx, first.UID)
	require.NoError(t, err)
	assert.Equal(t, "b", second.Pod)
	assert.False(t, second.At.Before(first.At))
	var states []string
	for _, l := range recorder.Leaderships() {
		state := l.Pod
		if !l.Ready {
			state += " not ready"
		}
		states = append(states, state)
	}
	assert.Equal(t, []string{"a", " not ready", "b not ready", "b"}, states, "every state, in order")

	for _, ready := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionFalse, corev1.ConditionTrue} {
		old.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		_, err = cluster.CoreV1().Pods("ns").Update(ctx, old, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	_, err = recorder.WaitForPod(ctx, old.UID, PodNotReady)
	require.NoError(t, err)
	dying := old.DeepCopy()
	dying.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	for range 2 {
		_, err = cluster.CoreV1().Pods("ns").Update(ctx, dying, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	terminating, err := recorder.WaitForPod(ctx, old.UID, PodTerminating)
	require.NoError(t, err)
	require.NoError(t, cluster.CoreV1().Pods("ns").Delete(ctx, "a", metav1.DeleteOptions{}))
	gone, err := recorder.WaitForPod(ctx, old.UID, PodGone)
	require.NoError(t, err)
	assert.False(t, gone.Before(terminating))
	assert.Len(t, recorder.Pods(), 3, "each event once")

	expired, stop := context.WithCancel(ctx)
	stop()
	_, err = recorder.WaitForLeader(expired, second.UID)
	assert.ErrorContains(t, err, "failed to wait for a leader")
}

func TestDeletePodsThatDoNotExist(t *testing.T) {
	cluster := fake.NewClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}})
	require.NoError(t, DeletePods(t.Context(), cluster, "ns", "a", "b"))
}

func TestNotReady(t *testing.T) {
	pod := func(name string, phase corev1.PodPhase, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
			Status:     corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	cluster := fake.NewClientset(pod("fine", corev1.PodRunning, corev1.ConditionTrue), pod("done", corev1.PodSucceeded, corev1.ConditionFalse),
		pod("sick", corev1.PodRunning, corev1.ConditionFalse), pod("young", corev1.PodPending, corev1.ConditionFalse))
	waiting, err := NotReady(t.Context(), cluster, "ns", "empty")
	require.NoError(t, err)
	assert.Equal(t, []string{"pod ns/sick: it runs, and is not ready", "pod ns/young: the pod is pending"}, waiting)
}
