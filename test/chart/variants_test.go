package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{
		"app.kubernetes.io/name": "zen-lead", "app.kubernetes.io/instance": release,
	}}
}

func TestPodDisruptionBudget(t *testing.T) {
	tests := map[string]struct {
		values           values
		minimum, maximum *intstr.IntOrString
		replicas, mayGo  int32
	}{
		"default":          {values: values{}, maximum: ptr.To(intstr.FromInt32(1)), replicas: 2, mayGo: 1},
		"one replica":      {values: set("replicaCount", "1"), maximum: ptr.To(intstr.FromInt32(1)), replicas: 1, mayGo: 1},
		"minimum":          {values: set("replicaCount", "3", "podDisruptionBudget.minAvailable", "2"), minimum: ptr.To(intstr.FromInt32(2)), replicas: 3, mayGo: 1},
		"minimum of zero":  {values: set("podDisruptionBudget.minAvailable", "0"), minimum: ptr.To(intstr.FromInt32(0)), replicas: 2, mayGo: 2},
		"minimum in parts": {values: set("podDisruptionBudget.minAvailable", `"50%"`), minimum: ptr.To(intstr.FromString("50%")), replicas: 2, mayGo: 1},
		"maximum":          {values: set("podDisruptionBudget.maxUnavailable", "2"), maximum: ptr.To(intstr.FromInt32(2)), replicas: 2, mayGo: 2},
		"maximum of zero":  {values: set("podDisruptionBudget.maxUnavailable", "0"), maximum: ptr.To(intstr.FromInt32(0)), replicas: 2, mayGo: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := render(t, test.values)
			budget := one[*policyv1.PodDisruptionBudget](t, found).Spec
			assert.Equal(t, test.minimum, budget.MinAvailable)
			assert.Equal(t, test.maximum, budget.MaxUnavailable)
			assert.Equal(t, selector(), budget.Selector)
			replicas := *one[*appsv1.Deployment](t, found).Spec.Replicas
			assert.Equal(t, test.replicas, replicas)
			assert.Equal(t, test.mayGo, disruptionsAllowed(t, budget, replicas))
		})
	}
	assert.Empty(t, all[*policyv1.PodDisruptionBudget](render(t, set("podDisruptionBudget.enabled", "false"))))
}

// disruptionsAllowed computes as the disruption controller does: percentages are rounded up, on either side.
func disruptionsAllowed(t *testing.T, budget policyv1.PodDisruptionBudgetSpec, replicas int32) int32 {
	t.Helper()
	scale := func(value *intstr.IntOrString) int32 {
		n, err := intstr.GetScaledValueFromIntOrPercent(value, int(replicas), true)
		require.NoError(t, err)
		return int32(n)
	}
	if budget.MaxUnavailable != nil {
		return scale(budget.MaxUnavailable)
	}
	return max(0, replicas-scale(budget.MinAvailable))
}

func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	tests := map[string]struct {
		values values
		want   string
	}{
		"default":        {values{}, "ghcr.io/kube-zen/zen-lead:" + chart(t).AppVersion},
		"tag":            {set("image.tag", `"1.2.3"`), "ghcr.io/kube-zen/zen-lead:1.2.3"},
		"digest":         {set("image.digest", `"`+digest+`"`), "ghcr.io/kube-zen/zen-lead@" + digest},
		"tag and digest": {set("image.tag", `"1"`, "image.digest", `"`+digest+`"`), "ghcr.io/kube-zen/zen-lead:1@" + digest},
		"repository":     {set("image.repository", `"example.com:5000/mirror/zen-lead"`), "example.com:5000/mirror/zen-lead:" + chart(t).AppVersion},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, container(t, render(t, test.values)).Image)
		})
	}
}

func TestAntiAffinity(t *testing.T) {
	affinity := func(v values) *corev1.Affinity {
		return one[*appsv1.Deployment](t, render(t, v)).Spec.Template.Spec.Affinity
	}
	term := corev1.PodAffinityTerm{TopologyKey: "kubernetes.io/hostname", LabelSelector: selector()}
	assert.Equal(t, &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: term}},
	}}, affinity(values{}))
	assert.Equal(t, &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term},
	}}, affinity(set("podAntiAffinity", `"hard"`)))
	assert.Nil(t, affinity(set("podAntiAffinity", `"none"`)))
	// What the user brings of the same kind replaces the chart's, anything else stands beside it.
	own := affinity(set("affinity.podAntiAffinity", `{"preferredDuringSchedulingIgnoredDuringExecution":[]}`))
	assert.Empty(t, own.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	beside := affinity(set("affinity.podAffinity", `{}`))
	assert.NotNil(t, beside.PodAffinity)
	assert.NotNil(t, beside.PodAntiAffinity)
}

func TestTopologySpread(t *testing.T) {
	spread := func(v values) []corev1.TopologySpreadConstraint {
		return one[*appsv1.Deployment](t, render(t, v)).Spec.Template.Spec.TopologySpreadConstraints
	}
	assert.Equal(t, []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: "topology.kubernetes.io/zone", WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selector(),
	}}, spread(values{}))
	assert.Empty(t, spread(set("topologySpreadConstraints", "[]")))
	own := spread(set("topologySpreadConstraints",
		`[{"maxSkew":2,"topologyKey":"rack","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"a":"b"}}}]`))
	assert.Equal(t, map[string]string{"a": "b"}, own[0].LabelSelector.MatchLabels)
}

func TestPodSettings(t *testing.T) {
	t.Parallel()
	deployment := one[*appsv1.Deployment](t, render(t, set(
		"updateStrategy.type", `"Recreate"`, "revisionHistoryLimit", "1", "terminationGracePeriodSeconds", "7",
		"priorityClassName", `"system-cluster-critical"`, "imagePullSecrets", `[{"name":"pull"}]`,
		"nodeSelector", `{"a":"b"}`, "tolerations", `[{"key":"k","operator":"Exists"}]`,
		"podLabels", `{"l":"1"}`, "podAnnotations", `{"n":"2"}`,
		"deploymentLabels", `{"dl":"3"}`, "deploymentAnnotations", `{"dn":"4"}`,
		"commonLabels", `{"cl":"5"}`, "commonAnnotations", `{"cn":"6"}`,
		"livenessProbe.timeoutSeconds", "9",
		"dnsPolicy", `"None"`, "dnsConfig", `{"nameservers":["10.0.0.1"]}`, "runtimeClassName", `"gvisor"`, "schedulerName", `"1e3"`, "hostUsers", "false",
	)))
	spec, pod := deployment.Spec, deployment.Spec.Template.Spec
	assert.Equal(t, appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}, spec.Strategy)
	assert.EqualValues(t, 1, *spec.RevisionHistoryLimit)
	assert.EqualValues(t, 7, *pod.TerminationGracePeriodSeconds)
	assert.Equal(t, "system-cluster-critical", pod.PriorityClassName)
	assert.Equal(t, corev1.DNSNone, pod.DNSPolicy)
	assert.Equal(t, &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.1"}}, pod.DNSConfig)
	assert.Equal(t, ptr.To("gvisor"), pod.RuntimeClassName)
	assert.Equal(t, "1e3", pod.SchedulerName)
	assert.Equal(t, ptr.To(false), pod.HostUsers)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "pull"}}, pod.ImagePullSecrets)
	assert.Equal(t, map[string]string{"a": "b", "kubernetes.io/os": "linux"}, pod.NodeSelector)
	assert.Equal(t, []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}}, pod.Tolerations)
	assert.Equal(t, "1", spec.Template.Labels["l"])
	assert.Equal(t, "5", spec.Template.Labels["cl"])
	assert.Equal(t, map[string]string{"n": "2", "cn": "6"}, spec.Template.Annotations)
	assert.Equal(t, "3", deployment.Labels["dl"])
	assert.Equal(t, "5", deployment.Labels["cl"])
	assert.Equal(t, map[string]string{"dn": "4", "cn": "6"}, deployment.Annotations)
	assert.EqualValues(t, 9, pod.Containers[0].LivenessProbe.TimeoutSeconds)
	assert.EqualValues(t, 3, pod.Containers[0].LivenessProbe.FailureThreshold, "the other fields keep their defaults")
}

func TestCommonMetadataIsOnEveryObject(t *testing.T) {
	t.Parallel()
	for _, object := range render(t, set("scope", `"cluster"`, "commonLabels", `{"cl":"5"}`, "commonAnnotations", `{"cn":"6"}`)) {
		assert.Equal(t, "5", object.GetLabels()["cl"], object.GetName())
		assert.Equal(t, "6", object.GetAnnotations()["cn"], object.GetName())
	}
}

func TestLabelsOfTheChartCannotBeReplaced(t *testing.T) {
	t.Parallel()
	takeover := `{"app.kubernetes.io/name":"x","app.kubernetes.io/instance":"x","app.kubernetes.io/managed-by":"x"}`
	found := render(t, set("commonLabels", takeover, "podLabels", takeover, "deploymentLabels", takeover))
	assertLabels(t, found, one[*appsv1.Deployment](t, found))
}

func TestNumbersAsNames(t *testing.T) {
	t.Parallel()
	v := set("scope", `"namespaces"`, "namespaces", `["123"]`, "serviceAccount.name", `"456"`)
	o := v.options()
	o.KubectlOptions.Namespace = "789"
	for _, object := range decode(t, helm.RenderTemplate(t, o, chartDir, "1e3", nil)) {
		assert.Contains(t, []string{"123", "789"}, object.GetNamespace())
	}
}

// A parent chart hands down its global values, and the condition by which it switches the subchart on.
func TestAsSubchart(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(parent, "charts", "zen-lead"), os.DirFS(chartDir)))
	write := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(parent, name), []byte(content), 0o600))
	}
	write("Chart.yaml", "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies:\n"+
		"  - {name: zen-lead, version: "+chart(t).Version+", condition: zen-lead.enabled}\n")
	write("values.yaml", "global: {registry: example.com}\nzen-lead: {enabled: true, scope: cluster}\n")
	found := decode(t, helm.RenderTemplate(t, values{}.options(), parent, "parent", nil))
	assert.Equal(t, "parent-zen-lead", one[*appsv1.Deployment](t, found.installed()).Name)
}
