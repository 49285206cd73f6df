package harness

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func TestInvariantsFindWhatMustNeverHappen(t *testing.T) {
	slice := func(epoch int, conditions ...discoveryv1.EndpointConditions) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{}
		s.Namespace, s.Name, s.UID = "ns", "my-app-leader-ipv4", "uid"
		s.Annotations = map[string]string{api.AnnotationEpoch: strconv.Itoa(epoch)}
		for _, c := range conditions {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Conditions: c})
		}
		return s
	}
	yes, no := true, false
	ready := discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no}
	fallback := discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	dead := discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &no}
	for name, c := range map[string]struct {
		states []*discoveryv1.EndpointSlice
		want   int
	}{
		"an ordinary life":    {[]*discoveryv1.EndpointSlice{slice(0), slice(1, ready), slice(1, fallback), slice(1), slice(2, ready)}, 0},
		"two endpoints":       {[]*discoveryv1.EndpointSlice{slice(1, ready, ready)}, 1},
		"a dead endpoint":     {[]*discoveryv1.EndpointSlice{slice(1, dead)}, 1},
		"an epoch that falls": {[]*discoveryv1.EndpointSlice{slice(2, ready), slice(1, ready)}, 1},
	} {
		i := &Invariants{epochs: map[types.UID]int{}, violations: map[string][]string{}}
		for _, state := range c.states {
			i.check(state)
		}
		assert.Len(t, i.Violations("ns"), c.want, name)
		assert.Empty(t, i.Violations("other"), name)
	}
}

func TestOnlyItsOwnObjectsAreZenLeadsToWrite(t *testing.T) {
	event := func(verb, resource, namespace, name, subresource string, code int) auditEvent {
		e := auditEvent{Verb: verb}
		e.ObjectRef.Resource, e.ObjectRef.Namespace, e.ObjectRef.Name, e.ObjectRef.Subresource = resource, namespace, name, subresource
		e.ResponseStatus.Code = code
		return e
	}
	created := map[string]bool{}
	for _, c := range []struct {
		event auditEvent
		want  bool
	}{
		{event("patch", "services", "ns", "my-app-leader", "", 200), false},
		{event("create", "services", "ns", "my-app-leader", "", 409), true},
		{event("patch", "services", "ns", "my-app-leader", "", 200), false},
		{event("create", "services", "ns", "my-app-leader", "", 201), true},
		{event("patch", "services", "ns", "my-app-leader", "", 200), true},
		{event("patch", "services", "ns", "my-app", "", 200), false},
		{event("patch", "pods", "ns", "my-app-1", "status", 200), false},
		{event("delete", "pods", "ns", "my-app-1", "", 200), false},
		{event("create", "events", "ns", "e", "", 201), true},
		{event("create", "events", "other", "e", "", 201), false},
		{event("update", "leases", "ns", "zen-lead", "", 200), true},
	} {
		assert.Equal(t, c.want, c.event.allowed("ns", created), "%+v", c.event)
	}
}

func TestViewLeavesOutWhatFailedBeforeTheServicesWereKnown(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := func(d time.Duration) time.Time { return start.Add(d) }
	run := report.Run{
		Target:   "leader-service",
		Segments: []report.Segment{{AnsweredBy: "a"}, {AnsweredBy: "a"}, {AnsweredBy: "b"}},
		Failures: []report.Failure{{Start: after(0)}, {Start: after(2 * time.Second)}},
		Summary:  &report.Summary{Sent: 5, Answered: 3, Failed: 2},
	}
	v := View(run, after(time.Second))
	assert.Equal(t, 4, v.Sent)
	assert.Equal(t, 1, v.Failed)
	assert.Equal(t, []string{"a", "b"}, v.AnsweredBy)

	path := filepath.Join(t.TempDir(), "folder", "results.jsonl")
	for range 2 {
		require.NoError(t, Result{Row: "row", Clients: []ClientView{v}}.Append(path))
	}
	assert.FileExists(t, path)
}

func TestFamilyIsThatOfTheNodesPods(t *testing.T) {
	for want, cidrs := range map[string][]string{
		"ipv4": {"10.244.0.0/24"}, "ipv6": {"fd00:10:244::/64"}, "dual": {"10.244.0.0/24", "fd00:10:244::/64"},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: corev1.NodeSpec{PodCIDRs: cidrs}}
		got, err := Family(t.Context(), fake.NewClientset(node))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestReplacedWaitsForThoseThatComeAndThoseThatGo(t *testing.T) {
	pod := func(name string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{"app": "a"}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	going := pod("going", corev1.ConditionTrue)
	now := metav1.Now()
	going.DeletionTimestamp, going.Finalizers = &now, []string{"example.com/wait"}
	for _, c := range []struct {
		pods []runtime.Object
		want bool
	}{
		{[]runtime.Object{pod("a", corev1.ConditionTrue), pod("b", corev1.ConditionTrue)}, true},
		{[]runtime.Object{pod("a", corev1.ConditionTrue)}, false},
		{[]runtime.Object{pod("a", corev1.ConditionTrue), pod("b", corev1.ConditionFalse)}, false},
		{[]runtime.Object{pod("a", corev1.ConditionTrue), going}, false},
	} {
		got, err := Replaced(t.Context(), fake.NewClientset(c.pods...), "ns", "app=a", 2)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%d pods", len(c.pods))
	}
}
