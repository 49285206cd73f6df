package chart

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testHooks is what `helm test` makes.
func testHooks(in string) []string {
	return []string{
		fmt.Sprintf("Deployment %s/zen-lead-test", in),
		fmt.Sprintf("Pod %s/zen-lead-test-client", in),
		fmt.Sprintf("Service %s/zen-lead-test", in),
	}
}

func TestHelmTestOptsAServiceInAndAsksItsLeader(t *testing.T) {
	t.Parallel()
	hooks := renderAll(t, values{}).hooks()
	service, pods, asking := one[*corev1.Service](t, hooks), one[*appsv1.Deployment](t, hooks), one[*corev1.Pod](t, hooks)
	assert.Equal(t, "true", service.Annotations["zen-lead.io/enabled"])
	assert.Equal(t, service.Spec.Selector, pods.Spec.Selector.MatchLabels)
	assert.Subset(t, pods.Spec.Template.Labels, service.Spec.Selector)
	assert.EqualValues(t, 2, *pods.Spec.Replicas)
	assert.Equal(t, []string{"connect", "--timeout=2s", service.Annotations["zen-lead.io/leader-service-name"] + ":80"}, asking.Spec.Containers[0].Args)
	server := pods.Spec.Template.Spec.Containers[0]
	assert.Contains(t, server.Args, "--http-port="+service.Spec.Ports[0].TargetPort.String())
	assert.Equal(t, service.Spec.Ports[0].TargetPort, server.ReadinessProbe.HTTPGet.Port)
	// Failing again and again must come to an end, and what was made must go.
	assert.Equal(t, ptr.To[int64](120), asking.Spec.ActiveDeadlineSeconds)
	for _, object := range hooks {
		assert.Equal(t, "test", object.GetAnnotations()["helm.sh/hook"], object.GetName())
		assert.Equal(t, "before-hook-creation,hook-succeeded", object.GetAnnotations()["helm.sh/hook-delete-policy"], object.GetName())
	}
	assert.Equal(t, "1", asking.Annotations["helm.sh/hook-weight"], "asks once the others are there")
	assert.Empty(t, renderAll(t, set("tests.enabled", "false")).hooks())
}

func TestHelmTestTakesTheSettingsOfPods(t *testing.T) {
	t.Parallel()
	hooks := renderAll(t, set("imagePullSecrets", `[{"name":"pull"}]`, "nodeSelector", `{"a":"b"}`, "tolerations", `[{"key":"k"}]`,
		"commonLabels", `{"cl":"5"}`, "commonAnnotations", `{"cn":"6"}`,
		"tests.image", `{"repository":"example.com/agnhost","tag":"1.0","pullPolicy":"Always"}`)).hooks()
	deployment, asking := one[*appsv1.Deployment](t, hooks), one[*corev1.Pod](t, hooks)
	for _, pod := range []corev1.PodTemplateSpec{deployment.Spec.Template, {ObjectMeta: asking.ObjectMeta, Spec: asking.Spec}} {
		assert.Equal(t, []corev1.LocalObjectReference{{Name: "pull"}}, pod.Spec.ImagePullSecrets)
		assert.Equal(t, map[string]string{"a": "b", "kubernetes.io/os": "linux"}, pod.Spec.NodeSelector)
		assert.Equal(t, []corev1.Toleration{{Key: "k"}}, pod.Spec.Tolerations)
		assert.Equal(t, "example.com/agnhost:1.0", pod.Spec.Containers[0].Image)
		assert.Equal(t, corev1.PullAlways, pod.Spec.Containers[0].ImagePullPolicy)
		assert.Equal(t, ptr.To(false), pod.Spec.AutomountServiceAccountToken)
		assert.Equal(t, "5", pod.Labels["cl"])
	}
	for _, object := range hooks {
		assert.Equal(t, "5", object.GetLabels()["cl"], object.GetName())
		assert.Equal(t, "6", object.GetAnnotations()["cn"], object.GetName())
	}
}

// Whatever the names, nothing of the release takes the test's pods for the controller's.
func TestPodsOfHelmTestAreNotTheControllers(t *testing.T) {
	for name, v := range map[string]values{
		"defaults":         everything(),
		"names that clash": everything("fullnameOverride", `"a"`, "nameOverride", `"a-test"`),
		"labels that clash": everything("commonLabels", `{"app.kubernetes.io/name":"zen-lead","app.kubernetes.io/instance":"zen-lead"}`,
			"podLabels", `{"app.kubernetes.io/name":"zen-lead-test"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered := renderAll(t, v)
			installed, hooks := rendered.installed(), rendered.hooks()
			selectors := podSelectors(t, installed)
			require.Len(t, selectors, 4)
			for _, pod := range []map[string]string{one[*appsv1.Deployment](t, hooks).Spec.Template.Labels, one[*corev1.Pod](t, hooks).Labels} {
				for _, selector := range selectors {
					assert.False(t, selector.Matches(labels.Set(pod)), "%s selects %v", selector, pod)
				}
			}
			own := one[*appsv1.Deployment](t, installed).Spec.Template.Labels
			for _, selector := range selectors {
				assert.True(t, selector.Matches(labels.Set(own)), "%s does not select %v", selector, own)
			}
			for _, selector := range podSelectors(t, hooks) {
				assert.False(t, selector.Matches(labels.Set(own)), "%s selects the controller", selector)
			}
		})
	}
}

// podSelectors are all by which objects find pods.
func podSelectors(t *testing.T, found objects) []labels.Selector {
	t.Helper()
	var selectors []labels.Selector
	add := func(selector *metav1.LabelSelector) {
		converted, err := metav1.LabelSelectorAsSelector(selector)
		require.NoError(t, err)
		require.False(t, converted.Empty())
		selectors = append(selectors, converted)
	}
	for _, object := range found {
		switch o := object.(type) {
		case *corev1.Service:
			add(&metav1.LabelSelector{MatchLabels: o.Spec.Selector})
		case *appsv1.Deployment:
			add(o.Spec.Selector)
		case *policyv1.PodDisruptionBudget:
			add(o.Spec.Selector)
		case *networkingv1.NetworkPolicy:
			add(&o.Spec.PodSelector)
		}
	}
	return selectors
}

// leaderSuffix is what the controller appends to the name of an object that is opted in.
func leaderSuffix(object client.Object) string {
	if object.GetAnnotations()["zen-lead.io/enabled"] == "true" {
		return "-leader"
	}
	return ""
}

func TestNamesOfEverythingAreShortEnough(t *testing.T) {
	longest := strings.Repeat("r", 53) // what Helm admits as the name of a release
	for name, v := range map[string]values{
		"release":  everything(),
		"cluster":  set("scope", `"cluster"`),
		"override": everything("fullnameOverride", `"`+long(40)+`"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := map[string]bool{}
			for _, object := range decode(t, helm.RenderTemplate(t, v.options(), chartDir, longest, nil)) {
				key := object.GetObjectKind().GroupVersionKind().Kind + " " + object.GetNamespace() + "/" + object.GetName()
				name, _ := strings.CutSuffix(object.GetName(), "."+namespace) // none of these kinds has a limit under 253
				assert.LessOrEqual(t, len(name+leaderSuffix(object)), 63, key)
				assert.False(t, seen[key], "%s is there twice", key)
				seen[key] = true
				for label, value := range object.GetLabels() {
					assert.LessOrEqual(t, len(value), 63, "label %s of %s", label, key)
				}
			}
		})
	}
}

func TestReleasesOfOneNameInTwoNamespacesShareNothing(t *testing.T) {
	monitoring := []string{
		"metrics.secure.enabled", "true", "serviceMonitor", `{"enabled":true,"namespace":"monitoring"}`,
		"prometheusRule", `{"enabled":true,"namespace":"monitoring"}`, "dashboard", `{"enabled":true,"namespace":"monitoring"}`, "tests.enabled", "false",
	}
	for name, v := range map[string]values{
		"release":    set(monitoring...),
		"cluster":    set(append(monitoring, "scope", `"cluster"`)...),
		"namespaces": set(append(monitoring, "scope", `"namespaces"`, "namespaces", `["a","b"]`)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			owner := map[string]string{}
			for _, in := range []string{"one", "two"} {
				o := v.options()
				o.KubectlOptions.Namespace = in
				for _, object := range decode(t, helm.RenderTemplate(t, o, chartDir, release, nil)) {
					key := object.GetObjectKind().GroupVersionKind().Kind + " " + object.GetNamespace() + "/" + object.GetName()
					assert.Empty(t, owner[key], "%s belongs to both", key)
					owner[key] = in
				}
			}
			assert.Greater(t, len(owner), 20)
		})
	}
}
