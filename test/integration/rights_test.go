package integration

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// chartRules are the rules that the chart gives the controller, read from its template: the lists of rules are plain
// YAML there, but for the Lease's name and what the values add.
func chartRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	text, err := os.ReadFile("../../charts/zen-lead/templates/_rules.tpl")
	require.NoError(t, err)
	rules, _, found := strings.Cut(string(text), `define "zen-lead.subjects"`) // what follows are no rules
	require.True(t, found)
	plain := regexp.MustCompile(`\{\{[^}]*leaseName[^}]*\}\}`).ReplaceAllString(rules, "zen-lead")
	var kept []string
	for _, line := range strings.Split(plain, "\n") {
		if strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "  ") && !strings.Contains(line, "{{") {
			kept = append(kept, line)
		}
	}
	var list []rbacv1.PolicyRule
	require.NoError(t, yaml.UnmarshalStrict([]byte(strings.Join(kept, "\n")), &list), "rules: %s", kept)
	require.GreaterOrEqual(t, len(list), 5)
	return list
}

// restricted is a user of the test's namespace with these rules and no others.
func restricted(w *harness.World, rules []rbacv1.PolicyRule) {
	w.Helper()
	w.Create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "zen-lead"}, Rules: rules})
	w.Create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "zen-lead"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "zen-lead"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: w.Namespace}},
	})
}

func TestTrap20_TheChartsRulesAreEnough(t *testing.T) {
	w := newWorld(t)
	restricted(w, chartRules(t))
	config, err := suite.plane.User(w.Namespace)
	require.NoError(t, err)
	controller := w.StartControllerAs(config)

	routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"))
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
	w.DeleteSlice("web-leader-ipv6")
	w.UpdateService("web-leader", func(s *corev1.Service) { s.Spec.Ports[0].Port = 99 })
	w.Eventually("the repair", func() error { return expectPort(w, "web-leader", 80) })
	w.ExpectLeader("web-leader", "b")
	w.Annotate("web", api.AnnotationLeaderServiceName, "renamed")
	w.ExpectLeader("renamed", "b")
	expectRemoved(w, "web-leader")
	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderChanged")

	// Conflicts take reads of their own.
	w.Create(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "other-leader-ipv4"}, AddressType: discoveryv1.AddressTypeIPv4,
	})
	w.Service(foreign("third-leader"))
	w.Service(harness.MakeService("other").Enabled())
	w.Service(harness.MakeService("third").Enabled())
	w.ExpectEvent("other", corev1.EventTypeWarning, "LeaderSliceConflict")
	w.ExpectEvent("third", corev1.EventTypeWarning, "LeaderServiceConflict")

	w.Annotate("web", api.AnnotationEnabled, "false")
	expectRemoved(w, "renamed")
	w.Quiet()
	controller.Stop()
	for _, r := range w.Requests.All() {
		assert.NotEqual(t, http.StatusForbidden, r.Code, "%s", r)
	}
}

func TestTrap20_TheChartsRulesAreNoMoreThanIsUsed(t *testing.T) {
	for _, rule := range chartRules(t) {
		assert.NotContains(t, rule.Verbs, "*")
		assert.NotContains(t, rule.Resources, "*")
		for _, resource := range rule.Resources {
			assert.Contains(t, []string{"services", "pods", "endpointslices", "events", "leases"}, resource)
			if resource == "pods" {
				assert.Subset(t, []string{"get", "list", "watch"}, rule.Verbs, "pods are read-only")
			}
		}
	}
}
