package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// withPolicy installs the chart with its admission policies, and returns once they are in force in the test's namespace.
func withPolicy(w *harness.World, args ...string) release {
	w.Helper()
	args = append(args, "--set", "admissionPolicy.enabled=true")
	r := install(w, args...)
	for _, object := range rendered(w, append(args, "--show-only", "templates/validatingadmissionpolicy.yaml")...) {
		inCluster(w, object)
	}
	forged := func(object client.Object) error {
		object.SetNamespace(w.Namespace)
		object.SetName("probe")
		return w.Client.Create(w.Context(), object, client.DryRunAll)
	}
	w.Eventually("the policies to be in force", func() error {
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		slice.Labels = map[string]string{discoveryv1.LabelManagedBy: api.ManagedBy}
		service := foreign("probe").Label(api.LabelManagedBy, api.ManagedBy).Object()
		if forged(slice) == nil || forged(service) == nil {
			return errors.New("a forged object was accepted")
		}
		as, err := client.New(r.config, client.Options{})
		require.NoError(w, err)
		plain := foreign("probe").Object()
		plain.Namespace = w.Namespace
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: w.Namespace}}
		bare := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: w.Namespace}, AddressType: discoveryv1.AddressTypeIPv4}
		for _, object := range []client.Object{plain, bare, lease} {
			if err := as.Create(w.Context(), object, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "zen-lead may only") {
				return fmt.Errorf("not confined yet: %w", err)
			}
		}
		return nil
	})
	return r
}

// denied says that a request was refused by one of the chart's policies.
func denied(t testing.TB, err error, words string) {
	t.Helper()
	assert.ErrorContains(t, err, "ValidatingAdmissionPolicy")
	assert.ErrorContains(t, err, words)
}

// TestPolicy_TheControllerDoesAllItsWork runs everything that the controller does with the policies in force.
func TestPolicy_TheControllerDoesAllItsWork(t *testing.T) {
	w := newWorld(t)
	r := withPolicy(w)
	controller := r.start(w)
	everyRequest(w, func(meanwhile func()) {
		controller.Stop()
		meanwhile()
		controller = r.start(w)
	})
	w.Service(harness.MakeService("db").Enabled().Spec(func(s *corev1.ServiceSpec) { s.ClusterIP, s.Ports = corev1.ClusterIPNone, nil }))
	w.ExpectLeader("db-leader", "c")
	w.Annotate("db", api.AnnotationLeaderServiceName, "renamed")
	w.ExpectLeader("renamed", "c")
	w.DeleteService("db")
	w.Gone(&corev1.Service{}, "renamed") // the garbage collector is not hindered
	w.Gone(&discoveryv1.EndpointSlice{}, "renamed-ipv4")
	assert.Zero(t, w.CountEvents("web", "WriteRejected")+w.CountEvents("db", "WriteRejected")+w.CountEvents("other", "WriteRejected"))
}

// TestPolicy_OnlyTheControllerEditsWhatIsIts has an administrator try.
func TestPolicy_OnlyTheControllerEditsWhatIsIts(t *testing.T) {
	w := newWorld(t)
	r := withPolicy(w, "--set", "admissionPolicy.exemptUsers={restorer}")
	r.start(w)
	source, _ := routed(w, web(), pod("a"), pod("b"))
	service := func() *corev1.Service { s, err := w.GetService("web-leader"); require.NoError(t, err); return s }
	slice := func() *discoveryv1.EndpointSlice {
		s, err := w.GetSlice("web-leader-ipv4")
		require.NoError(t, err)
		return s
	}
	for name, change := range map[string]func(*corev1.Service){
		"selector":   func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "evil"} },
		"externalIP": func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1"} },
		"owner":      func(s *corev1.Service) { s.OwnerReferences = nil },
		"label":      func(s *corev1.Service) { s.Labels[api.LabelManagedBy] = "me" },
		"epoch":      func(s *corev1.Service) { s.Annotations[api.AnnotationEpoch] = "99" },
		"mirror":     func(s *corev1.Service) { delete(s.Annotations, api.AnnotationLeaderPodName) },
	} {
		s := service()
		change(s)
		t.Run("Service/"+name, func(t *testing.T) { denied(t, w.Client.Update(t.Context(), s), "only zen-lead edits") })
	}
	for name, change := range map[string]func(*discoveryv1.EndpointSlice){
		"endpoint": func(s *discoveryv1.EndpointSlice) { s.Endpoints[0].Addresses = []string{"192.0.2.1"} },
		"empty":    func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil },
		"second":   func(s *discoveryv1.EndpointSlice) { s.Endpoints = append(s.Endpoints, s.Endpoints[0]) },
		"label":    func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelManagedBy] = "me" },
		"service":  func(s *discoveryv1.EndpointSlice) { s.Labels[discoveryv1.LabelServiceName] = "web" },
		"epoch":    func(s *discoveryv1.EndpointSlice) { s.Annotations[api.AnnotationEpoch] = "99" },
	} {
		s := slice()
		change(s)
		t.Run("EndpointSlice/"+name, func(t *testing.T) { denied(t, w.Client.Update(t.Context(), s), "only zen-lead edits") })
	}

	// What is the user's stays the user's.
	w.Annotate("web-leader", "example.org/note", "mine")
	w.UpdateSlice("web-leader-ipv4", func(s *discoveryv1.EndpointSlice) { s.Labels["example.org/note"] = "mine" })
	w.UpdateService("web", func(s *corev1.Service) { s.Spec.Selector["extra"] = "no" })
	w.ExpectNobody("web-leader")
	w.UpdateService("web", func(s *corev1.Service) { delete(s.Spec.Selector, "extra") })
	w.ExpectLeader("web-leader", "a")
	w.DeleteSlice("web-leader-ipv4") // it is made anew
	w.DeleteService("web-leader")
	w.ExpectLeader("web-leader", "a")
	exempt(w, source)
}

// exempt has a user edit whom the values exempt.
func exempt(w *harness.World, source *corev1.Service) {
	w.Helper()
	config := w.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: "restorer", Groups: []string{"system:masters"}}
	as, err := client.New(config, client.Options{FieldOwner: harness.Tester})
	require.NoError(w, err)
	forged := foreign("restored").Label(api.LabelManagedBy, api.ManagedBy).Object()
	forged.Namespace = source.Namespace
	assert.NoError(w, as.Create(w.Context(), forged, client.DryRunAll))
}

// TestPolicy_AStolenTokenIsConfined has a thief with the controller's token try what the token's rights allow.
func TestPolicy_AStolenTokenIsConfined(t *testing.T) {
	w := newWorld(t)
	r := withPolicy(w)
	thief, err := client.New(r.config, client.Options{})
	require.NoError(t, err)
	victim := w.Service(harness.MakeService("victim"))
	w.Pod(pod("a"))
	stock := stockSlice(w, "victim")
	in := func(object client.Object) client.Object { object.SetNamespace(w.Namespace); return object }
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"selector":{"app":"evil"}}}`))
	claimed := []metav1.OwnerReference{*metav1.NewControllerRef(victim, corev1.SchemeGroupVersion.WithKind("Service"))}
	ours := func(s *corev1.Service) *corev1.Service {
		s.OwnerReferences, s.Labels[api.LabelManagedBy] = claimed, api.ManagedBy
		return s
	}
	slice := func(service, name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: claimed, Labels: map[string]string{
				discoveryv1.LabelManagedBy: api.ManagedBy, discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		}
	}
	for name, try := range map[string]func() error{
		"PatchAServiceOfSomebody":  func() error { return thief.Patch(t.Context(), victim.DeepCopy(), patch) },
		"DeleteAServiceOfSomebody": func() error { return thief.Delete(t.Context(), victim.DeepCopy()) },
		"CreateAService":           func() error { return thief.Create(t.Context(), in(harness.MakeService("new").Object())) },
		"CreateWithASelector":      func() error { return thief.Create(t.Context(), in(ours(harness.MakeService("new").Object()))) },
		"CreateALoadBalancer": func() error {
			return thief.Create(t.Context(), in(ours(harness.MakeService("new").Spec(func(s *corev1.ServiceSpec) {
				s.Selector, s.Type = nil, corev1.ServiceTypeLoadBalancer
			}).Object())))
		},
		"CreateWithAnExternalIP": func() error {
			return thief.Create(t.Context(), in(ours(harness.MakeService("new").Spec(func(s *corev1.ServiceSpec) {
				s.Selector, s.ExternalIPs = nil, []string{"192.0.2.1"}
			}).Object())))
		},
		"DeleteAStockSlice": func() error { return thief.Delete(t.Context(), stock.DeepCopy()) },
		"EditAStockSlice": func() error {
			s := stock.DeepCopy()
			s.Endpoints, s.ResourceVersion = nil, ""
			return thief.Update(t.Context(), s)
		},
		"PublishAnyAddress": func() error {
			return thief.Create(t.Context(), in(slice("victim", "victim-ipv4", discoveryv1.Endpoint{Addresses: []string{"192.0.2.1"}})))
		},
		"SliceOfAnotherName": func() error { return thief.Create(t.Context(), in(slice("victim", "hidden"))) },
		"CreateALease": func() error {
			return thief.Create(t.Context(), in(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "kube-scheduler"}}))
		},
	} {
		t.Run(name, func(t *testing.T) { denied(t, try(), "zen-lead may") })
	}
	t.Run("NoRightAtAll", func(t *testing.T) { outOfReach(t, w, thief) })
}

// stockSlice is what Kubernetes made for a Service.
func stockSlice(w *harness.World, service string) *discoveryv1.EndpointSlice {
	w.Helper()
	list := &discoveryv1.EndpointSliceList{}
	w.Eventually("the slice of service "+service, func() error {
		err := w.Client.List(w.Context(), list, clientIn(w), clientLabels(discoveryv1.LabelServiceName, service))
		if err == nil && len(list.Items) == 0 {
			err = errors.New("there is none yet")
		}
		return err
	})
	return &list.Items[0]
}

// outOfReach has the controller's token try what its rights do not allow, policies or not.
func outOfReach(t *testing.T, w *harness.World, thief client.Client) {
	t.Helper()
	secrets := &corev1.SecretList{}
	for name, err := range map[string]error{
		"list secrets":            thief.List(t.Context(), secrets, clientIn(w)),
		"list secrets elsewhere":  thief.List(t.Context(), secrets, client.InNamespace("kube-system")),
		"list config maps":        thief.List(t.Context(), &corev1.ConfigMapList{}, clientIn(w)),
		"list services elsewhere": thief.List(t.Context(), &corev1.ServiceList{}, client.InNamespace("kube-system")),
		"delete a pod":            thief.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: w.Namespace}}),
		"create a pod":            thief.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: w.Namespace}}),
		"create a binding":        thief.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: w.Namespace}}),
		"make a token":            thief.SubResource("token").Create(context.WithoutCancel(t.Context()), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: w.Namespace}}, &corev1.Pod{}),
	} {
		assert.Error(t, err, name)
		assert.ErrorContains(t, err, "forbidden", name)
	}
}
