package chart

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// servedRules are the rights in each namespace whose Services are served: all of them, and no more.
func servedRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch", "create", "patch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"},
			Verbs: []string{"get", "list", "watch", "create", "update", "delete"}},
		{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
}

// electionRules are the rights in the controller's own namespace.
func electionRules(lease string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{lease}, Verbs: []string{"get", "update"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create"}},
	}
}

// metricsAuthRules are the rights in the cluster by which the API server judges who scrapes.
func metricsAuthRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}
}

// grants lists who is given which rules where, resolved through the bindings. A binding to a role that is not rendered
// fails, as does a role that nobody is bound to, but for the one that scrapers are to be bound to.
func grants(t *testing.T, found objects) map[string][]rbacv1.PolicyRule {
	t.Helper()
	roles := map[string][]rbacv1.PolicyRule{}
	for _, role := range all[*rbacv1.Role](found) {
		roles["Role "+role.Namespace+"/"+role.Name] = role.Rules
	}
	for _, role := range all[*rbacv1.ClusterRole](found) {
		require.Nil(t, role.AggregationRule)
		roles["ClusterRole "+role.Name] = role.Rules
	}
	granted := map[string][]rbacv1.PolicyRule{}
	bind := func(where, role string, subjects []rbacv1.Subject) {
		rules, found := roles[role]
		require.True(t, found, "%s is bound and not rendered", role)
		delete(roles, role)
		require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "zen-lead", Namespace: namespace}}, subjects)
		granted[where] = append(granted[where], rules...)
	}
	for _, b := range all[*rbacv1.RoleBinding](found) {
		require.Equal(t, "Role", b.RoleRef.Kind)
		bind(b.Namespace, "Role "+b.Namespace+"/"+b.RoleRef.Name, b.Subjects)
	}
	for _, b := range all[*rbacv1.ClusterRoleBinding](found) {
		require.Equal(t, "ClusterRole", b.RoleRef.Kind)
		bind("*", "ClusterRole "+b.RoleRef.Name, b.Subjects)
	}
	if reader, found := roles["ClusterRole zen-lead-metrics-reader."+namespace]; found {
		require.Equal(t, []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}, reader)
		delete(roles, "ClusterRole zen-lead-metrics-reader."+namespace)
	}
	require.Empty(t, roles, "roles that nobody is bound to")
	return granted
}

func TestRightsByScope(t *testing.T) {
	release := electionRules("zen-lead")
	tests := map[string]struct {
		values values
		want   map[string][]rbacv1.PolicyRule
	}{
		"release": {values{}, map[string][]rbacv1.PolicyRule{namespace: append(release, servedRules()...)}},
		"namespaces": {
			set("scope", `"namespaces"`, "namespaces", `["a","b"]`),
			map[string][]rbacv1.PolicyRule{namespace: release, "a": servedRules(), "b": servedRules()},
		},
		"release namespace among others": {
			set("scope", `"namespaces"`, "namespaces", `["a","zen-lead-system"]`),
			map[string][]rbacv1.PolicyRule{namespace: append(release, servedRules()...), "a": servedRules()},
		},
		"cluster": {set("scope", `"cluster"`), map[string][]rbacv1.PolicyRule{namespace: release, "*": servedRules()}},
		"secure metrics": {
			set("metrics.secure.enabled", "true"),
			map[string][]rbacv1.PolicyRule{namespace: append(release, servedRules()...), "*": metricsAuthRules()},
		},
		"secure metrics of the cluster": {
			set("metrics.secure.enabled", "true", "scope", `"cluster"`),
			map[string][]rbacv1.PolicyRule{namespace: release, "*": append(servedRules(), metricsAuthRules()...)},
		},
		"secure metrics, none": {set("rbac.create", "false", "metrics.secure.enabled", "true"), map[string][]rbacv1.PolicyRule{}},
		"everything":           {everything(), map[string][]rbacv1.PolicyRule{namespace: release, "default": servedRules(), "*": metricsAuthRules()}},
		"none":                 {set("rbac.create", "false"), map[string][]rbacv1.PolicyRule{}},
		"none at all":          {set("rbac.create", "false", "scope", `"cluster"`), map[string][]rbacv1.PolicyRule{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			granted := grants(t, render(t, test.values))
			require.Len(t, granted, len(test.want))
			for where, rules := range test.want {
				assert.ElementsMatch(t, rules, granted[where], "in namespace %s", where)
			}
		})
	}
}

func TestExtraRulesAreAddedWhereServicesAreServed(t *testing.T) {
	t.Parallel()
	extra := `[{"apiGroups":["discovery.k8s.io"],"resources":["endpointslices/restricted"],"verbs":["create"]}]`
	granted := grants(t, render(t, set("rbac.extraRules", extra, "scope", `"namespaces"`, "namespaces", `["a"]`)))
	want := append(servedRules(), rbacv1.PolicyRule{
		APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices/restricted"}, Verbs: []string{"create"},
	})
	assert.Equal(t, want, granted["a"])
	assert.Equal(t, electionRules("zen-lead"), granted[namespace])
}

func TestLeaseNameIsOneValue(t *testing.T) {
	t.Parallel()
	found := render(t, set("leaderElection.leaseName", `"1234"`))
	assert.ElementsMatch(t, append(electionRules("1234"), servedRules()...), grants(t, found)[namespace])
	assert.Contains(t, container(t, found).Args, "--leader-election-id=1234")
}

func TestServiceAccount(t *testing.T) {
	t.Parallel()
	found := render(t, set("serviceAccount.create", "false", "serviceAccount.name", `"mine"`))
	assert.Empty(t, all[*corev1.ServiceAccount](found))
	for _, b := range all[*rbacv1.RoleBinding](found) {
		assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "mine", Namespace: namespace}}, b.Subjects)
	}
	account := one[*corev1.ServiceAccount](t, render(t, set("serviceAccount.name", `"other"`, "serviceAccount.annotations", `{"a":"b"}`, "serviceAccount.labels", `{"c":"d"}`)))
	assert.Equal(t, "d", account.Labels["c"])
	assert.Equal(t, "other", account.Name)
	assert.Equal(t, map[string]string{"a": "b"}, account.Annotations)
}

func TestNamespaceOverrideMovesEverything(t *testing.T) {
	t.Parallel()
	found := render(t, set("namespaceOverride", `"elsewhere"`))
	rendered := renderAll(t, everything("namespaceOverride", `"elsewhere"`, "scope", `"release"`, "namespaces", "[]", "extraObjects", "[]"))
	for _, object := range append(renderAll(t, set("namespaceOverride", `"elsewhere"`)), rendered...) {
		kind := object.GetObjectKind().GroupVersionKind().Kind
		if !strings.HasPrefix(kind, "ClusterRole") && !strings.HasPrefix(kind, "ValidatingAdmissionPolicy") { // in no namespace
			assert.Equal(t, "elsewhere", object.GetNamespace(), object.GetName())
		}
	}
	for _, b := range all[*rbacv1.ClusterRoleBinding](rendered) {
		assert.Equal(t, "elsewhere", b.Subjects[0].Namespace)
	}
	for _, b := range all[*rbacv1.RoleBinding](found) {
		assert.Equal(t, "elsewhere", b.Subjects[0].Namespace)
	}
	assert.Contains(t, container(t, found).Args, "--namespaces=elsewhere")
}
