package chart

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	appsv1 "k8s.io/api/apps/v1"
)

// FuzzValues sets values to anything: Helm refuses them in words that name the value, or what it renders can be decoded and
// the controller takes its arguments.
func FuzzValues(f *testing.F) {
	for _, seed := range [][2]string{
		{"kubeAPI.qps", `1e-9`}, {"kubeAPI.qps", `1e300`}, {"kubeAPI.burst", `1000000`}, {"concurrentReconciles", `2147483648`},
		{"defaultMinReadyDuration", `"1h1m1s1ms"`}, {"leaderElection.leaseDuration", `"1000ms"`},
		{"leaderElection.leaseName", `"a\nb"`}, {"log.level", `"info --version"`}, {"metrics.port", `8080.5`},
		{"scope", `"cluster\n"`}, {"extraArgs", `["--version\n--x"]`}, {"commonLabels", `{"a\nb":"c"}`}, {"image.tag", `"1\"; x"`},
		{"admissionPolicy", `{"enabled":true,"exemptUsers":["a' || true || '"]}`}, {"admissionPolicy", `{"enabled":true,"exemptUsers":["a\nb"]}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		if !json.Valid([]byte(value)) || key == "" || strings.ContainsAny(key, "=,\\{}[]") {
			t.Skip("Helm's own syntax")
		}
		out, stderr, err := helm.RenderTemplateAndGetStdOutErrE(t, set(key, value).options(), chartDir, release, nil)
		if err != nil {
			if last := key[strings.LastIndexByte(key, '.')+1:]; !strings.Contains(stderr, last) {
				t.Errorf("%s=%s is refused without a word about it: %s", key, value, stderr)
			}
			return
		}
		found := decode(t, out).installed()
		for _, deployment := range all[*appsv1.Deployment](found) {
			for _, container := range deployment.Spec.Template.Spec.Containers {
				if _, err := parse(container.Args); err != nil && !strings.HasPrefix(key, "extraArgs") {
					t.Errorf("%s=%s is accepted, and the controller does not start: %v", key, value, err)
				}
			}
		}
	})
}
