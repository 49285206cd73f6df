package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/options"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// grant is one right: a verb on a resource in a namespace, or in all of them; on one object if it names one.
type grant struct{ namespace, group, resource, verb, name string }

// covers tells whether a request made use of a right.
func (g grant) covers(u harness.Use) bool {
	o := u.Object
	return g.verb == u.Verb && g.group == o.APIGroup && g.resource == o.Resource && o.Subresource == "" &&
		(g.namespace == metav1.NamespaceAll || g.namespace == o.Namespace) && (g.name == "" || g.name == o.Name)
}

// release is the chart as it is installed for a test: who the controller is, what it may do, and how it is started.
type release struct {
	user   string
	config *rest.Config
	args   []string
	grants []grant
}

// install creates what the chart gives the controller's rights with; the Deployment is not created, but run by the test.
func install(w *harness.World, args ...string) release {
	w.Helper()
	r := release{user: fmt.Sprintf("system:serviceaccount:%s:zen-lead", w.Namespace)}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, object := range rendered(w, args...) {
		if object.GetAnnotations()["helm.sh/hook"] != "" {
			continue
		}
		if object.GetNamespace() == "" && isNamespaced(w, object) {
			object.SetNamespace(w.Namespace)
		}
		switch object.GetKind() {
		case "Deployment":
			deployment := convert(w, object, &appsv1.Deployment{})
			r.args = deployment.Spec.Template.Spec.Containers[0].Args
		case "Role", "ClusterRole":
			role := convert(w, object, &rbacv1.ClusterRole{})
			rules[role.Namespace+"/"+role.Name] = role.Rules
		}
		switch object.GetKind() {
		case "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount":
			require.NoError(w, w.Client.Create(w.Context(), object), "%s %s", object.GetKind(), object.GetName())
			w.Cleanup(func() { assert.NoError(w, w.Client.Delete(context.WithoutCancel(w.Context()), object)) })
		}
		switch object.GetKind() {
		case "RoleBinding", "ClusterRoleBinding":
			binding := convert(w, object, &rbacv1.ClusterRoleBinding{})
			r.grants = append(r.grants, granted(binding.Namespace, rules[binding.Namespace+"/"+binding.RoleRef.Name])...)
		}
	}
	require.NotEmpty(w, r.args)
	r.config = account(w, "zen-lead")
	return r
}

// convert reads an object as what it is, or as what has the same fields.
func convert[T any](w *harness.World, object *unstructured.Unstructured, into *T) *T {
	w.Helper()
	require.NoError(w, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into))
	return into
}

// granted takes rules apart.
func granted(namespace string, rules []rbacv1.PolicyRule) []grant {
	var grants []grant
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						grants = append(grants, grant{namespace, group, resource, verb, name})
					}
				}
			}
		}
	}
	return grants
}

// account is the way to the API server of a ServiceAccount, with a token as its pods would have it.
func account(w *harness.World, name string) *rest.Config {
	w.Helper()
	serviceAccount := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace}}
	request := &authenticationv1.TokenRequest{}
	require.NoError(w, w.Client.SubResource("token").Create(w.Context(), serviceAccount, request))
	config := rest.AnonymousClientConfig(w.Config())
	config.BearerToken = request.Status.Token
	return config
}

// start runs the controller with the arguments of the chart's Deployment, but for addresses and what a busy machine needs.
func (r release) start(w *harness.World) *harness.Controller {
	w.Helper()
	args := strings.Split(strings.ReplaceAll(strings.Join(r.args, "\n"), "$(POD_NAMESPACE)", w.Namespace), "\n")
	parsed, err := options.Parse(args, func(string) string { return "" }, io.Discard)
	require.NoError(w, err)
	return w.StartControllerAs(r.config, func(o *options.Options) {
		parsed.MetricsBindAddress, parsed.HealthProbeBindAddress = o.MetricsBindAddress, o.HealthProbeBindAddress
		parsed.LeaderElectionLeaseDuration, parsed.LeaderElectionRenewDeadline = o.LeaderElectionLeaseDuration, o.LeaderElectionRenewDeadline
		*o = parsed
	})
}

// everyRequest brings the controller to everything that it ever does in a namespace.
func everyRequest(w *harness.World, restart func(meanwhile func())) {
	w.Helper()
	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"))
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
	w.KillPod("a")
	// A controller that has just started asks whether a leader that it does not see is gone indeed.
	restart(func() { w.KillPod("b"); w.Pod(pod("c")) })
	w.ExpectLeader("web-leader", "c")
	w.DeleteSlice("web-leader-ipv6")
	w.ExpectLeader("web-leader", "c")
	// One Event twice makes a series.
	for range 2 {
		w.SetReady("c", false)
		w.ExpectNobody("web-leader")
		w.SetReady("c", true)
		w.ExpectLeader("web-leader", "c")
	}
	w.Eventually("the Event to become a series", func() error {
		events, err := w.Events("web", "NoLeader")
		if err == nil && (len(events) == 0 || events[0].Series == nil) {
			err = fmt.Errorf("%d events: %v", len(events), events)
		}
		return err
	})
	// Only the API server knows a slice that does not carry our label.
	w.Create(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "other-leader-ipv4"}, AddressType: discoveryv1.AddressTypeIPv4})
	w.Service(harness.MakeService("other").Enabled())
	w.ExpectEvent("other", corev1.EventTypeWarning, "LeaderSliceConflict")
	w.Annotate("web", api.AnnotationEnabled, "false")
	expectRemoved(w, "web-leader")
}

// withoutStreamedLists refuses lists that come as a watch, as an older API server does.
func withoutStreamedLists(r harness.Request, request *http.Request) (*http.Response, error) {
	if r.Verb == "watch" && request.URL.Query().Get("sendInitialEvents") == "true" {
		return harness.Refusal(http.StatusUnprocessableEntity, "Invalid", "sendInitialEvents is forbidden for watch"), nil
	}
	return nil, nil
}

// TestExactRights compares the rights that the chart grants with those that the API server's audit log shows in use:
// none is lacking, and none goes unused.
func TestExactRights(t *testing.T) {
	for scope, test := range map[string]struct {
		args   func(other *harness.World) []string
		others int
	}{
		"Release": {func(*harness.World) []string { return nil }, 0},
		"Namespaces": {func(other *harness.World) []string {
			return []string{"--set", "scope=namespaces", "--set", "namespaces={" + other.Namespace + "}"}
		}, 1},
		"Cluster": {func(*harness.World) []string {
			return []string{"--set", "scope=cluster", "--set", "metrics.secure.enabled=true"}
		}, 1},
	} {
		t.Run(scope, func(t *testing.T) {
			w := newWorld(t)
			served := w
			if test.others > 0 {
				w.ServesOthers()
				served = newWorld(t)
			}
			r := install(w, test.args(served)...)
			w.Requests.Intercept(withoutStreamedLists)
			controller := r.start(w)
			everyRequest(served, func(meanwhile func()) {
				controller.Stop()
				meanwhile()
				controller = r.start(w)
			})
			if controller.Options.MetricsSecure {
				stranger := token(w, "stranger")
				code, _, _ := scrape(w, controller.Options.MetricsBindAddress, stranger)
				assert.Equal(t, http.StatusForbidden, code)
			}
			controller.Stop()
			expectExactly(w, r)
		})
	}
}

// expectExactly compares the rights of a release with what its ServiceAccount did.
func expectExactly(w *harness.World, r release) {
	w.Helper()
	uses, err := suite.plane.Uses(func(u harness.Use) bool { return u.User.Username == r.user })
	require.NoError(w, err)
	require.NotEmpty(w, uses)
	used := map[grant]bool{}
	for _, u := range uses {
		assert.False(w, u.Denied(), "denied: %s", u)
		for _, g := range r.grants {
			if g.covers(u) {
				used[g] = true
			}
		}
	}
	for _, g := range r.grants {
		assert.True(w, used[g], "granted and not used: %+v", g)
	}
	w.Logf("%d requests made use of %d of %d rights", len(uses), len(used), len(r.grants))
}

// chartRights are the rights of the chart's default installation.
func chartRights(ctx context.Context) (harness.Rights, error) {
	rights := harness.Rights{}
	objects, err := render(ctx, "default")
	if err != nil {
		return rights, err
	}
	for _, object := range objects {
		role := &rbacv1.Role{}
		if object.GetKind() != "Role" || object.GetAnnotations()["helm.sh/hook"] != "" {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, role); err != nil {
			return rights, fmt.Errorf("failed to read role %s: %w", object.GetName(), err)
		}
		switch role.Name {
		case "zen-lead":
			rights.Served = role.Rules
		case "zen-lead-leader-election":
			rights.Election = role.Rules
		}
	}
	if len(rights.Served) == 0 || len(rights.Election) == 0 {
		return rights, fmt.Errorf("failed to find the chart's roles: %+v", rights)
	}
	return rights, nil
}

// wholeSuite tells whether no test was left out.
func wholeSuite() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// compareSuite compares what the controllers of all tests were seen to do with what the chart allows: nothing was refused
// to them for lack of a right, and, if whole, every right was used.
func compareSuite(rights harness.Rights, whole bool) error {
	ordinary := func(u harness.Use) bool { return strings.HasSuffix(u.User.Username, ":"+harness.ControllerAccount) }
	uses, err := suite.plane.Uses(func(u harness.Use) bool {
		return ordinary(u) || strings.HasSuffix(u.User.Username, ":zen-lead") // which is that of an installed chart
	})
	if err != nil {
		return err
	}
	var faults []error
	used := map[grant]bool{}
	all := append(granted(metav1.NamespaceAll, rights.Served), granted(metav1.NamespaceAll, rights.Election)...)
	for _, u := range uses {
		if u.Denied() && ordinary(u) {
			faults = append(faults, fmt.Errorf("the chart does not allow what the controller asked for: %s", u))
		}
		for _, g := range all {
			used[g] = used[g] || g.covers(u)
		}
	}
	for _, g := range all {
		if whole && !used[g] {
			faults = append(faults, fmt.Errorf("the chart allows what no test made use of: %+v", g))
		}
	}
	return errors.Join(faults...)
}
