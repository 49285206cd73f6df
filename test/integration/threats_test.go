package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// The claims of docs/security.md that no other test checks.

// tenant is a user who may read and annotate the Services of one namespace, and nothing else.
func tenant(w *harness.World) client.Client {
	w.Helper()
	name := "tenant-" + w.Namespace
	w.Create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"get", "list", "patch"}}}})
	w.Create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
	})
	config := w.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: name}
	as, err := client.New(config, client.Options{FieldOwner: harness.Tester})
	require.NoError(w, err)
	w.Eventually("the tenant to have its rights", func() error { return as.List(w.Context(), &corev1.ServiceList{}, clientIn(w)) })
	return as
}

// says has a tenant annotate a Service.
func says(w *harness.World, as client.Client, service string, annotations map[string]string) {
	w.Helper()
	s, err := w.GetService(service)
	require.NoError(w, err)
	changed := s.DeepCopy()
	for key, value := range annotations {
		metav1.SetMetaDataAnnotation(&changed.ObjectMeta, key, value)
	}
	require.NoError(w, as.Patch(w.Context(), changed, client.MergeFrom(s)))
}

// TestThreat_ATenantReachesNoOtherNamespace has two namespaces served by one controller with rights in all.
func TestThreat_ATenantReachesNoOtherNamespace(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.ServesOthers()
	process := w.StartProcess(suite.binary, "--namespaces="+w.Namespace+","+other.Namespace)
	process.WaitReady()
	other.Pod(pod("theirs"))
	other.Service(web())
	other.ExpectLeader("web-leader", "theirs")
	w.Pod(pod("mine"))
	w.Service(harness.MakeService("web"))
	as := tenant(w)
	victim, err := other.GetService("web-leader")
	require.NoError(t, err)
	mark := process.Proxy.Requests.Mark()
	for _, name := range []string{other.Namespace + "/web-leader", "../" + other.Namespace + "/web-leader", "web-leader." + other.Namespace, "web-leader"} {
		says(w, as, "web", map[string]string{api.AnnotationEnabled: "true", api.AnnotationLeaderServiceName: name})
		w.ExpectLeader("web-leader", "mine")
	}
	w.Barrier()
	expectUntouched(other, victim)
	other.ExpectLeader("web-leader", "theirs")
	for _, r := range process.Proxy.Requests.Since(mark).Writes() {
		assert.Equal(t, w.Namespace, r.Namespace, "%s", r)
	}
	// Nor does it gain a right that it lacks: what it cannot write, it cannot write still.
	slice, err := w.GetSlice("web-leader-ipv4")
	require.NoError(t, err)
	assert.ErrorContains(t, as.Delete(t.Context(), slice), "forbidden")
}

// TestThreat_PodsOfOtherNamespacesAreNoCandidates gives a pod elsewhere the labels that a Service selects.
func TestThreat_PodsOfOtherNamespacesAreNoCandidates(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.ServesOthers()
	process := w.StartProcess(suite.binary, "--namespaces="+w.Namespace+","+other.Namespace)
	process.WaitReady()
	other.Pod(pod("stranger"))
	w.Service(web())
	w.ExpectNobody("web-leader")
	other.Service(web()) // which shows that the stranger was seen
	other.ExpectLeader("web-leader", "stranger")
	w.ExpectNobody("web-leader")
}

// TestThreat_WhatTheControllerWritesCannotBeSaidForIt sets on a source what zen-lead writes on its own objects.
func TestThreat_WhatTheControllerWritesCannotBeSaidForIt(t *testing.T) {
	w := newWorld(t)
	w.StartController()
	_, pods := routed(w, web(), pod("a"), pod("b"))
	as := tenant(w)
	mine := map[string]string{
		api.AnnotationLeaderPodName: "b", api.AnnotationLeaderPodUID: string(pods[1].UID),
		api.AnnotationEpoch: "7", api.AnnotationLastSwitchTime: "2001-01-01T00:00:00Z",
	}
	mark := w.Requests.Mark()
	says(w, as, "web", mine)
	w.Fence()
	assert.Empty(t, w.SinceFenced(mark).Writes(), "on the source they mean nothing")
	before := w.ExpectLeader("web-leader", "a")

	// On the leader Service they are a copy, which is put right. A term can be made to jump, and never to fall.
	w.Invariants.AllowUserEdits()
	says(w, as, "web-leader", mine)
	w.Eventually("the copy to be put right", func() error { _, err := soundLeader(w); return err })
	after := w.ExpectLeader("web-leader", "a")
	assert.GreaterOrEqual(t, after.Epoch, before.Epoch)
	for _, epoch := range []string{"9007199254740991", "9223372036854775807", "99999999999999999999", "-1", "x\ny"} {
		says(w, as, "web-leader", map[string]string{api.AnnotationEpoch: epoch})
		w.ExpectLeader("web-leader", "a")
	}
	w.KillPod("a")
	last := w.ExpectLeader("web-leader", "b")
	assert.Greater(t, last.Epoch, after.Epoch, "terms go on")
	w.Pod(pod("c"))
	w.KillPod("b")
	end := w.ExpectLeader("web-leader", "c")
	t.Logf("terms %d, %d, %d, %d", before.Epoch, after.Epoch, last.Epoch, end.Epoch)
	assert.Greater(t, end.Epoch, last.Epoch, "and on")
}

// TestThreat_ForgedEndpointsDoNotLast writes into the leader slice what no election named.
func TestThreat_ForgedEndpointsDoNotLast(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.Invariants.AllowUserEdits()
	forged := func(change func(*discoveryv1.EndpointSlice)) {
		w.UpdateSlice("web-leader-ipv4", change)
		w.ExpectLeader("web-leader", "a")
	}
	forged(func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"192.0.2.1"} })
	forged(func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].NodeName = nil })
	forged(func(s *discoveryv1.EndpointSlice) { *s.Ports[0].Port = 22 })
	require.NoError(t, expectMetric(controller, "zen_lead_drift_repairs_total", nil, 3))

	// A slice of the leader Service's that zen-lead did not make is left alone: whoever may write slices may write those of
	// any Service.
	stranger := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "stranger", Labels: map[string]string{discoveryv1.LabelServiceName: "web-leader", discoveryv1.LabelManagedBy: "somebody"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}},
	}
	w.Create(stranger)
	w.Fence()
	_, err := w.GetSlice("stranger")
	assert.NoError(t, err)
}

// TestThreat_DefaultRolesForTenantsWriteNoSlices asks what Kubernetes gives those whom it calls editors and admins.
func TestThreat_DefaultRolesForTenantsWriteNoSlices(t *testing.T) {
	w := newWorld(t)
	seen := 0
	for _, name := range []string{"edit", "admin", "view"} {
		// The roles themselves are put together from these by a controller.
		role := &rbacv1.ClusterRole{}
		require.NoError(t, w.Client.Get(t.Context(), client.ObjectKey{Name: "system:aggregate-to-" + name}, role))
		require.NotEmpty(t, role.Rules, name)
		for _, g := range granted("", role.Rules) {
			if g.resource == "endpointslices" {
				assert.Contains(t, []string{"get", "list", "watch"}, g.verb, name)
				seen++
			}
		}
	}
	assert.Positive(t, seen, "nobody may even read slices: is this the right place to look?")
}
