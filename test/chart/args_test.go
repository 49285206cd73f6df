package chart

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/options"
)

// argumentList is the exact list of arguments, in order, with some values other than the defaults.
func argumentList(differing map[string]string) []string {
	list := []struct{ flag, value string }{
		{"--namespaces", ""},
		{"--leader-election-namespace", "$(POD_NAMESPACE)"},
		{"--leader-election-id", "zen-lead"},
		{"--leader-election-lease-duration", "6s"},
		{"--leader-election-renew-deadline", "4s"},
		{"--leader-election-retry-period", "200ms"},
		{"--metrics-bind-address", ":8080"},
		{"--metrics-secure", ""},
		{"--metrics-cert-dir", ""},
		{"--health-probe-bind-address", ":8081"},
		{"--kube-api-qps", "500"},
		{"--kube-api-burst", "10000"},
		{"--concurrent-reconciles", "32"},
		{"--default-min-ready-duration", "0s"},
		{"--log-level", "info"},
		{"--log-format", "json"},
	}
	var args []string
	for _, argument := range list {
		value, differs := differing[argument.flag]
		if !differs {
			value = argument.value
		}
		if value != "" {
			args = append(args, argument.flag+"="+value)
		}
	}
	return args
}

// parse gives arguments to the controller's own parser, as the kubelet would.
func parse(args []string) (options.Options, error) {
	expanded := make([]string, 0, len(args))
	for _, arg := range args {
		expanded = append(expanded, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", namespace))
	}
	return options.Parse(expanded, func(string) string { return "" }, io.Discard)
}

func TestControllerTakesTheArguments(t *testing.T) {
	for file := range modes() {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			_, err := parse(container(t, render(t, values{file: file})).Args)
			require.NoError(t, err)
		})
	}
}

// Metrics that are said to be secure are: nothing but the flag makes them so.
func TestSecureMetrics(t *testing.T) {
	t.Parallel()
	deployment := func(v values) (corev1.PodSpec, []string) {
		found := render(t, v)
		return one[*appsv1.Deployment](t, found).Spec.Template.Spec, container(t, found).Args
	}
	pod, args := deployment(set("metrics.secure.enabled", "true"))
	assert.Equal(t, argumentList(map[string]string{"--namespaces": namespace, "--metrics-secure": "true"}), args)
	assert.Empty(t, pod.Volumes)

	const dir = "/etc/zen-lead/metrics-certificate"
	pod, args = deployment(set("metrics.secure", `{"enabled":true,"certificateSecret":"tls"}`))
	assert.Equal(t, argumentList(map[string]string{"--namespaces": namespace, "--metrics-secure": "true", "--metrics-cert-dir": dir}), args)
	assert.Equal(t, []corev1.Volume{{Name: "metrics-certificate", VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: "tls"},
	}}}, pod.Volumes)
	assert.Equal(t, []corev1.VolumeMount{{Name: "metrics-certificate", ReadOnly: true, MountPath: dir}}, pod.Containers[0].VolumeMounts)

	_, args = deployment(values{})
	assert.NotContains(t, strings.Join(args, " "), "secure")
}

func TestChartAndControllerHaveTheSameDefaults(t *testing.T) {
	t.Parallel()
	got, err := parse(container(t, render(t, set("scope", `"cluster"`))).Args)
	require.NoError(t, err)
	want := options.Default(func(string) string { return namespace })
	assert.Equal(t, want, got)
}

func TestEveryFlagIsAValue(t *testing.T) {
	t.Parallel()
	var given []string
	for _, arg := range container(t, render(t, set("metrics.secure", `{"enabled":true,"certificateSecret":"tls"}`))).Args {
		flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		given = append(given, flag)
	}
	// In a cluster there is no kubeconfig, and who asks for the version does not want a controller.
	for _, flag := range options.FlagNames() {
		if flag == "kubeconfig" || flag == "version" {
			assert.NotContains(t, given, flag)
			continue
		}
		assert.Contains(t, given, flag, "no value sets this flag")
	}
	slices.Sort(given)
	assert.Equal(t, slices.Compact(slices.Clone(given)), given, "a flag is given twice")
}

func TestExtraArgsComeLast(t *testing.T) {
	t.Parallel()
	want := append(argumentList(map[string]string{"--namespaces": namespace}), "--kubeconfig=/somewhere")
	assert.Equal(t, want, container(t, render(t, set("extraArgs", `["--kubeconfig=/somewhere"]`))).Args)
}

func TestLargeNumbersStayReadable(t *testing.T) {
	t.Parallel()
	args := container(t, render(t, set("kubeAPI.qps", "20000000", "kubeAPI.burst", "40000000"))).Args
	got, err := parse(args)
	require.NoError(t, err)
	assert.InDelta(t, 2e7, got.KubeAPIQPS, 0)
	assert.Equal(t, 40000000, got.KubeAPIBurst)
}

func fromString(port string) intstr.IntOrString { return intstr.FromString(port) }
