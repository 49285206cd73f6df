package chart

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestExtrasOfThePods(t *testing.T) {
	t.Parallel()
	deployment := one[*appsv1.Deployment](t, render(t, set(
		"extraEnv", `[{"name":"GOGC","value":"50"}]`,
		"extraVolumes", `[{"name":"v","emptyDir":{}}]`, "extraVolumeMounts", `[{"name":"v","mountPath":"/v"}]`,
		"extraContainers", `[{"name":"beside","image":"a"}]`, "extraInitContainers", `[{"name":"before","image":"b"}]`,
		"metrics.secure", `{"enabled":true,"certificateSecret":"tls"}`,
	)))
	pod := deployment.Spec.Template.Spec
	require.Len(t, pod.Containers, 2)
	controller := pod.Containers[0]
	assert.Equal(t, "zen-lead", controller.Name)
	assert.Equal(t, corev1.Container{Name: "beside", Image: "a"}, pod.Containers[1])
	assert.Equal(t, []corev1.Container{{Name: "before", Image: "b"}}, pod.InitContainers)
	assert.Len(t, controller.Env, 2)
	assert.Equal(t, corev1.EnvVar{Name: "GOGC", Value: "50"}, controller.Env[1])
	require.Len(t, pod.Volumes, 2, "beside the chart's own")
	assert.Equal(t, corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, pod.Volumes[1])
	require.Len(t, controller.VolumeMounts, 2)
	assert.Equal(t, corev1.VolumeMount{Name: "v", MountPath: "/v"}, controller.VolumeMounts[1])
}

func TestTokenOfOnesOwn(t *testing.T) {
	t.Parallel()
	pod := one[*appsv1.Deployment](t, render(t, set("automountServiceAccountToken", "false", "extraVolumes", `[{"name":"token","projected":{"sources":[]}}]`,
		"extraVolumeMounts", `[{"name":"token","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount/"}]`))).Spec.Template.Spec
	assert.Equal(t, ptr.To(false), pod.AutomountServiceAccountToken)
	assert.Equal(t, "token", pod.Containers[0].VolumeMounts[0].Name)
}

// A parent chart's secrets come as objects or, as others have them, as plain names.
func TestPullSecretsOfAParent(t *testing.T) {
	t.Parallel()
	for _, deployment := range all[*appsv1.Deployment](renderAll(t, set("global.imagePullSecrets", `[{"name":"a"},"b"]`, "imagePullSecrets", `[{"name":"b"},{"name":"c"}]`))) {
		assert.Equal(t, []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}, {Name: "c"}}, deployment.Spec.Template.Spec.ImagePullSecrets)
	}
}

func TestExtraObjects(t *testing.T) {
	t.Parallel()
	found := render(t, set("extraObjects",
		`[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"plain"},"data":{"a":"{{ .Release.Name }}"}},`+
			`"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-made}\ndata: {a: {{ .Values.scope }}}"]`))
	maps := all[*corev1.ConfigMap](found)
	require.Len(t, maps, 2)
	assert.Equal(t, map[string]string{"plain": "{{ .Release.Name }}", "zen-lead-made": "release"},
		map[string]string{maps[0].Name: maps[0].Data["a"], maps[1].Name: maps[1].Data["a"]}, "an object is left as it is, a string is a template")
}

func TestNetworkPolicy(t *testing.T) {
	t.Parallel()
	tcp := ptr.To(corev1.ProtocolTCP)
	port := func(p intstr.IntOrString) []networkingv1.NetworkPolicyPort {
		return []networkingv1.NetworkPolicyPort{{Port: &p, Protocol: tcp}}
	}
	health := networkingv1.NetworkPolicyIngressRule{Ports: port(intstr.FromString("health"))}
	scrapes := networkingv1.NetworkPolicyIngressRule{Ports: port(intstr.FromString("http-metrics"))}
	out := networkingv1.NetworkPolicyEgressRule{Ports: append(port(intstr.FromInt32(443)), port(intstr.FromInt32(6443))...)}
	policy := func(pairs ...string) networkingv1.NetworkPolicySpec {
		found := render(t, set(append(pairs, "networkPolicy.enabled", "true")...))
		ports := map[string]bool{}
		for _, p := range container(t, found).Ports {
			ports[p.Name] = true
		}
		spec := one[*networkingv1.NetworkPolicy](t, found).Spec
		for _, rule := range spec.Ingress {
			assert.True(t, ports[rule.Ports[0].Port.StrVal], "the container has no port %s", rule.Ports[0].Port)
		}
		return spec
	}
	want := networkingv1.NetworkPolicySpec{
		PodSelector: *selector(),
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{health, scrapes},
		Egress:      []networkingv1.NetworkPolicyEgressRule{out},
	}
	assert.Equal(t, want, policy())

	got := policy("networkPolicy.metricsFrom", `[{"podSelector":{"matchLabels":{"a":"b"}}}]`, "networkPolicy.apiServerPorts", "[16443]",
		"networkPolicy.extraEgress", `[{"ports":[{"port":53,"protocol":"UDP"}]}]`)
	assert.Equal(t, map[string]string{"a": "b"}, got.Ingress[1].From[0].PodSelector.MatchLabels)
	assert.Empty(t, got.Ingress[0].From, "the kubelet is nobody's peer")
	assert.Equal(t, port(intstr.FromInt32(16443)), got.Egress[0].Ports)
	assert.EqualValues(t, 53, got.Egress[1].Ports[0].Port.IntVal)

	assert.Equal(t, []networkingv1.NetworkPolicyIngressRule{health}, policy("metrics.enabled", "false").Ingress)
	assert.Empty(t, all[*networkingv1.NetworkPolicy](render(t, values{})))
}

func TestServiceFamiliesAndEviction(t *testing.T) {
	t.Parallel()
	found := render(t, set("metrics.service.ipFamilyPolicy", `"PreferDualStack"`, "metrics.service.ipFamilies", `["IPv6","IPv4"]`,
		"podDisruptionBudget.unhealthyPodEvictionPolicy", `"AlwaysAllow"`))
	service := one[*corev1.Service](t, found).Spec
	assert.Equal(t, ptr.To(corev1.IPFamilyPolicyPreferDualStack), service.IPFamilyPolicy)
	assert.Equal(t, []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, service.IPFamilies)
	assert.Equal(t, ptr.To(policyv1.AlwaysAllow), one[*policyv1.PodDisruptionBudget](t, found).Spec.UnhealthyPodEvictionPolicy)
	found = render(t, values{})
	assert.Nil(t, one[*corev1.Service](t, found).Spec.IPFamilyPolicy)
	assert.Nil(t, one[*policyv1.PodDisruptionBudget](t, found).Spec.UnhealthyPodEvictionPolicy)
}
