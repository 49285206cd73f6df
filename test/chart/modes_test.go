package chart

import (
	"cmp"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// modes are the ways of use that have a values file, and what each must give.
func modes() map[string]mode {
	return map[string]mode{
		"default-values.yaml": {
			inventory: []string{
				"Deployment zen-lead-system/zen-lead",
				"PodDisruptionBudget zen-lead-system/zen-lead",
				"Role zen-lead-system/zen-lead",
				"Role zen-lead-system/zen-lead-leader-election",
				"RoleBinding zen-lead-system/zen-lead",
				"RoleBinding zen-lead-system/zen-lead-leader-election",
				"Service zen-lead-system/zen-lead-metrics",
				"ServiceAccount zen-lead-system/zen-lead",
			},
			replicas: 2,
			args:     map[string]string{"--namespaces": "zen-lead-system"},
		},
		"cluster-values.yaml": {
			inventory: []string{
				"ClusterRole /zen-lead.zen-lead-system",
				"ClusterRoleBinding /zen-lead.zen-lead-system",
				"Deployment zen-lead-system/zen-lead",
				"PodDisruptionBudget zen-lead-system/zen-lead",
				"Role zen-lead-system/zen-lead-leader-election",
				"RoleBinding zen-lead-system/zen-lead-leader-election",
				"Service zen-lead-system/zen-lead-metrics",
				"ServiceAccount zen-lead-system/zen-lead",
			},
			replicas: 3,
			args:     map[string]string{"--log-level": "debug"},
		},
		"namespaces-values.yaml": {
			inventory: []string{
				"Deployment zen-lead-system/zen-lead",
				"PodDisruptionBudget zen-lead-system/zen-lead",
				"Role default/zen-lead.zen-lead-system",
				"Role kube-public/zen-lead.zen-lead-system",
				"Role zen-lead-system/zen-lead-leader-election",
				"RoleBinding default/zen-lead.zen-lead-system",
				"RoleBinding kube-public/zen-lead.zen-lead-system",
				"RoleBinding zen-lead-system/zen-lead-leader-election",
				"Service zen-lead-system/zen-lead-metrics",
				"ServiceAccount zen-lead-system/zen-lead",
			},
			replicas: 2,
			testedIn: "default",
			args: map[string]string{
				"--namespaces": "default,kube-public", "--default-min-ready-duration": "5s",
				"--kube-api-qps": "50.5", "--kube-api-burst": "100", "--log-format": "text",
				"--leader-election-lease-duration": "30s", "--leader-election-renew-deadline": "20s",
				"--leader-election-retry-period": "1500ms",
			},
		},
		"minimal-values.yaml": {
			inventory: []string{
				"Deployment zen-lead-system/zen-lead",
				"Role zen-lead-system/zen-lead",
				"Role zen-lead-system/zen-lead-leader-election",
				"RoleBinding zen-lead-system/zen-lead",
				"RoleBinding zen-lead-system/zen-lead-leader-election",
				"ServiceAccount zen-lead-system/zen-lead",
			},
			replicas: 1,
			args:     map[string]string{"--namespaces": "zen-lead-system", "--metrics-bind-address": "0"},
		},
		"everything-values.yaml": {
			inventory: []string{
				"ClusterRole /zen-lead-metrics-auth.zen-lead-system",
				"ClusterRole /zen-lead-metrics-reader.zen-lead-system",
				"ClusterRoleBinding /zen-lead-metrics-auth.zen-lead-system",
				"ConfigMap /zen-lead-extra",
				"ConfigMap /zen-lead-extra-template",
				"ConfigMap zen-lead-system/zen-lead-dashboard",
				"Deployment zen-lead-system/zen-lead",
				"NetworkPolicy zen-lead-system/zen-lead",
				"PodDisruptionBudget zen-lead-system/zen-lead",
				"PrometheusRule zen-lead-system/zen-lead",
				"Role default/zen-lead.zen-lead-system",
				"Role zen-lead-system/zen-lead-leader-election",
				"RoleBinding default/zen-lead.zen-lead-system",
				"RoleBinding zen-lead-system/zen-lead-leader-election",
				"Service zen-lead-system/zen-lead-metrics",
				"ServiceAccount zen-lead-system/zen-lead",
				"ServiceMonitor zen-lead-system/zen-lead",
				"ValidatingAdmissionPolicy /zen-lead-confine-endpointslices.zen-lead-system",
				"ValidatingAdmissionPolicy /zen-lead-confine-leases.zen-lead-system",
				"ValidatingAdmissionPolicy /zen-lead-confine-services.zen-lead-system",
				"ValidatingAdmissionPolicy /zen-lead-protect-endpointslices.zen-lead-system",
				"ValidatingAdmissionPolicy /zen-lead-protect-services.zen-lead-system",
				"ValidatingAdmissionPolicyBinding /zen-lead-confine-endpointslices.zen-lead-system",
				"ValidatingAdmissionPolicyBinding /zen-lead-confine-leases.zen-lead-system",
				"ValidatingAdmissionPolicyBinding /zen-lead-confine-services.zen-lead-system",
				"ValidatingAdmissionPolicyBinding /zen-lead-protect-endpointslices.zen-lead-system",
				"ValidatingAdmissionPolicyBinding /zen-lead-protect-services.zen-lead-system",
			},
			replicas: 2,
			args:     map[string]string{"--namespaces": "default", "--metrics-secure": "true"},
			testedIn: "default",
		},
	}
}

type mode struct {
	// inventory is all that is rendered, sorted.
	inventory []string
	replicas  int32
	// args are the arguments that differ from those of an installation without values, or that it lacks.
	args map[string]string
	// testedIn is the namespace of the hooks of helm test; empty means the controller's.
	testedIn string
}

func TestEveryValuesFileIsExpected(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*"))
	require.NoError(t, err)
	expected := modes()
	for _, file := range files {
		name := filepath.Base(file)
		// chart-testing takes files of this name only, and says nothing about others.
		assert.Regexp(t, `-values\.yaml$`, name)
		assert.Contains(t, expected, name, "this file has no expectations")
	}
	assert.Len(t, files, len(expected), "a values file is missing")
}

func TestModes(t *testing.T) {
	for file, want := range modes() {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			rendered := renderAll(t, values{file: file})
			found := rendered.installed()
			assert.Equal(t, want.inventory, found.inventory())
			assert.Equal(t, testHooks(cmp.Or(want.testedIn, namespace)), rendered.hooks().inventory())
			deployment := one[*appsv1.Deployment](t, found)
			assert.Equal(t, want.replicas, *deployment.Spec.Replicas)
			assert.Equal(t, argumentList(want.args), container(t, found).Args)
			assertRestricted(t, rendered)
			assertLabels(t, found, deployment)
		})
	}
}

// assertLabels checks that each object can be told to belong to the release, and that all selectors find the pods.
func assertLabels(t *testing.T, found objects, deployment *appsv1.Deployment) {
	t.Helper()
	selector := map[string]string{"app.kubernetes.io/name": "zen-lead", "app.kubernetes.io/instance": release}
	for _, object := range found {
		if strings.HasPrefix(object.GetName(), "zen-lead-extra") {
			continue // the user's own
		}
		labels := object.GetLabels()
		assert.Subset(t, labels, selector, object.GetName())
		assert.Equal(t, "Helm", labels["app.kubernetes.io/managed-by"], object.GetName())
		assert.Equal(t, "zen-lead-"+chart(t).Version, labels["helm.sh/chart"], object.GetName())
	}
	assert.Equal(t, selector, deployment.Spec.Selector.MatchLabels)
	pods := deployment.Spec.Template.Labels
	assert.Subset(t, pods, selector)
	assert.NotContains(t, pods, "helm.sh/chart", "a new chart version alone must not replace pods")
	for _, service := range all[*corev1.Service](found) {
		assert.Equal(t, selector, service.Spec.Selector)
	}
}

func TestPodTemplate(t *testing.T) {
	t.Parallel()
	found := render(t, values{file: "default-values.yaml"})
	deployment := one[*appsv1.Deployment](t, found)
	pod, c := deployment.Spec.Template.Spec, container(t, found)
	assert.Equal(t, "zen-lead", pod.ServiceAccountName)
	assert.Equal(t, ptr.To(true), pod.AutomountServiceAccountToken)
	assert.Equal(t, ptr.To(false), one[*corev1.ServiceAccount](t, found).AutomountServiceAccountToken)
	assert.Equal(t, "ghcr.io/kube-zen/zen-lead:"+chart(t).AppVersion, c.Image)
	assert.Equal(t, corev1.PullIfNotPresent, c.ImagePullPolicy)
	assert.Equal(t, []corev1.EnvVar{{Name: "POD_NAMESPACE", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"},
	}}}, c.Env)
	assert.Equal(t, []corev1.ContainerPort{
		{Name: "http-metrics", ContainerPort: 8080, Protocol: corev1.ProtocolTCP},
		{Name: "health", ContainerPort: 8081, Protocol: corev1.ProtocolTCP},
	}, c.Ports)
	assert.Equal(t, "/healthz", c.StartupProbe.HTTPGet.Path)
	assert.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path)
	assert.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		assert.Equal(t, "health", probe.HTTPGet.Port.String())
	}
	// A minute: the caches of a big cluster may take that long.
	assert.EqualValues(t, 60, c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold)
	assert.NotZero(t, c.Resources.Requests.Cpu().MilliValue())
	assert.NotZero(t, c.Resources.Requests.Memory().Value())
	assert.NotZero(t, c.Resources.Limits.Memory().Value())
}

func TestMetricsService(t *testing.T) {
	t.Parallel()
	service := one[*corev1.Service](t, render(t, set("metrics.port", "9000", "metrics.service.port", "80",
		"metrics.service.labels", `{"scrape":"yes"}`, "metrics.service.annotations", `{"a":"b"}`)))
	assert.Equal(t, []corev1.ServicePort{{Name: "http-metrics", Port: 80, TargetPort: fromString("http-metrics"), Protocol: "TCP"}},
		service.Spec.Ports)
	assert.Equal(t, "yes", service.Labels["scrape"])
	assert.Equal(t, "metrics", service.Labels["app.kubernetes.io/component"])
	assert.Equal(t, map[string]string{"a": "b"}, service.Annotations)
	assert.Empty(t, all[*corev1.Service](render(t, set("metrics.service.enabled", "false"))))
}
