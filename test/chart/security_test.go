package chart

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

// assertRestricted checks all pods, those of helm test too.
func assertRestricted(t *testing.T, found objects) {
	t.Helper()
	for _, deployment := range all[*appsv1.Deployment](found) {
		assert.Empty(t, violations(t, deployment), deployment.Name)
	}
	for _, pod := range all[*corev1.Pod](found) {
		assert.Empty(t, podViolations(t, &pod.ObjectMeta, &pod.Spec), pod.Name)
	}
}

func violations(t *testing.T, deployment *appsv1.Deployment) []string {
	t.Helper()
	template := deployment.Spec.Template
	return podViolations(t, &template.ObjectMeta, &template.Spec)
}

// podViolations asks the code that admits pods.
func podViolations(t *testing.T, metadata *metav1.ObjectMeta, spec *corev1.PodSpec) []string {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	level := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	var found []string
	for _, result := range evaluator.EvaluatePod(level, metadata, spec) {
		if !result.Allowed {
			found = append(found, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return found
}

func TestSecurityContexts(t *testing.T) {
	t.Parallel()
	found := render(t, values{})
	assert.Equal(t, &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532), FSGroup: ptr.To[int64](65532),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}, one[*appsv1.Deployment](t, found).Spec.Template.Spec.SecurityContext)
	assert.Equal(t, &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), Privileged: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true), RunAsNonRoot: ptr.To(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}, container(t, found).SecurityContext)
}

func TestPodsStayRestrictedWhenOneFieldIsSet(t *testing.T) {
	for name, v := range map[string]values{
		"user":     set("podSecurityContext.runAsUser", "1000"),
		"group":    set("podSecurityContext", `{"fsGroup":1000}`),
		"none":     set("podSecurityContext.fsGroup", "null", "podSecurityContext.runAsUser", "null", "podSecurityContext.runAsGroup", "null"),
		"seccomp":  set("podSecurityContext.seccompProfile", `{"type":"Localhost","localhostProfile":"p.json"}`),
		"writable": set("securityContext", `{"readOnlyRootFilesystem":false}`),
		"add":      set("securityContext.capabilities", `{"add":["NET_BIND_SERVICE"]}`),
		"empty":    set("podSecurityContext", "{}", "securityContext", "{}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Empty(t, violations(t, one[*appsv1.Deployment](t, render(t, v))))
		})
	}
}

// The check itself must be able to fail.
func TestViolationsAreSeen(t *testing.T) {
	for name, v := range map[string]values{
		"root":        set("podSecurityContext.runAsNonRoot", "false", "securityContext.runAsNonRoot", "false"),
		"escalation":  set("securityContext.allowPrivilegeEscalation", "true"),
		"capability":  set("securityContext.capabilities.add", `["NET_ADMIN"]`),
		"no seccomp":  set("podSecurityContext.seccompProfile", "null"),
		"all dropped": set("podSecurityContext", "null", "securityContext", "null"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.NotEmpty(t, violations(t, one[*appsv1.Deployment](t, render(t, v))))
		})
	}
}
