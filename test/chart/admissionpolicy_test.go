package chart

import (
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the policies admit and deny is asked of a real API server: test/integration/policy_test.go.

func TestAdmissionPoliciesAreAChoice(t *testing.T) {
	t.Parallel()
	found := render(t, set())
	assert.Empty(t, all[*admissionv1.ValidatingAdmissionPolicy](found))
	assert.Empty(t, all[*admissionv1.ValidatingAdmissionPolicyBinding](found))
}

func TestAdmissionPolicies(t *testing.T) {
	for name, test := range map[string]struct {
		values values
		action admissionv1.ValidationAction
		served []string
	}{
		"release":    {set(), admissionv1.Deny, []string{"zen-lead-system"}},
		"namespaces": {set("scope", `"namespaces"`, "namespaces", `["a","b"]`, "admissionPolicy.action", `"Audit"`), admissionv1.Audit, []string{"a", "b"}},
		"cluster":    {set("scope", `"cluster"`, "admissionPolicy.action", `"Warn"`), admissionv1.Warn, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.values.set["admissionPolicy.enabled"] = "true"
			found := render(t, test.values)
			policies := all[*admissionv1.ValidatingAdmissionPolicy](found)
			bindings := all[*admissionv1.ValidatingAdmissionPolicyBinding](found)
			require.Len(t, policies, 5)
			require.Len(t, bindings, 5)
			for i, policy := range policies {
				assert.Equal(t, policy.Name, bindings[i].Spec.PolicyName)
				assert.Equal(t, admissionv1.Fail, *policy.Spec.FailurePolicy)
				assert.Equal(t, []admissionv1.ValidationAction{test.action}, bindings[i].Spec.ValidationActions)
				assertWhere(t, policy.Spec.MatchConditions[0].Name, bindings[i].Spec.MatchResources, test.served)
			}
		})
	}
}

// assertWhere sees the controller confined everywhere, and others kept out only where this release serves Services: a
// second release has a controller of its own.
func assertWhere(t *testing.T, condition string, where *admissionv1.MatchResources, served []string) {
	t.Helper()
	if condition == "the-controller" || served == nil {
		assert.Nil(t, where)
		return
	}
	require.NotNil(t, where)
	assert.Equal(t, []metav1.LabelSelectorRequirement{{Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpIn, Values: served}},
		where.NamespaceSelector.MatchExpressions)
}

func TestAdmissionPoliciesNameTheController(t *testing.T) {
	t.Parallel()
	found := render(t, set("admissionPolicy.enabled", "true", "serviceAccount.name", `"mine"`, "leaderElection.leaseName", `"lock"`,
		"namespaceOverride", `"elsewhere"`, "admissionPolicy.exemptUsers", `["system:serviceaccount:velero:velero"]`))
	exempt := 0
	for _, policy := range all[*admissionv1.ValidatingAdmissionPolicy](found) {
		assert.Contains(t, policy.Spec.MatchConditions[0].Expression, "'system:serviceaccount:elsewhere:mine'")
		for _, condition := range policy.Spec.MatchConditions {
			if condition.Name == "not-exempt" {
				exempt++
				assert.Equal(t, `!(request.userInfo.username in ["system:serviceaccount:velero:velero"])`, condition.Expression)
			}
		}
		if policy.Spec.MatchConstraints.ResourceRules[0].Resources[0] == "leases" {
			assert.Equal(t, "object.metadata.name == 'lock'", policy.Spec.Validations[0].Expression)
		}
	}
	assert.Equal(t, 2, exempt)
}

func TestAdmissionPoliciesTakeKubernetes130(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"1.29.9": "admissionPolicy.enabled is true, but Kubernetes v1.29.9 has no ValidatingAdmissionPolicy", "1.30.0": "",
	} {
		_, stderr, err := helm.RenderTemplateAndGetStdOutErrE(t, set("admissionPolicy.enabled", "true").options(), chartDir, release, nil, "--kube-version", version)
		if want == "" {
			assert.NoError(t, err)
			continue
		}
		assert.Error(t, err)
		assert.Contains(t, stderr, want)
	}
}
