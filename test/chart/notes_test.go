package chart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// notes are what a user reads after the installation. Helm renders them for nothing else, and wants a cluster for it: so
// a copy of the chart has them as a ConfigMap.
func notes(t *testing.T, v values) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "zen-lead")
	require.NoError(t, os.CopyFS(dir, os.DirFS(chartDir)))
	text, err := os.ReadFile(filepath.Join(dir, "templates", "NOTES.txt"))
	require.NoError(t, err)
	const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata:\n  text: {{ include \"notes\" . | toJson }}\n"
	template := "{{- define \"notes\" -}}\n" + string(text) + "{{- end -}}\n" + configMap
	require.NoError(t, os.WriteFile(filepath.Join(dir, "templates", "notes.yaml"), []byte(template), 0o600))
	found := decode(t, helm.RenderTemplate(t, v.options(), dir, release, []string{"templates/notes.yaml"}))
	return one[*corev1.ConfigMap](t, found).Data["text"]
}

func TestNotesSayWhatToDoNext(t *testing.T) {
	t.Parallel()
	text := notes(t, values{})
	assert.Contains(t, text, "It serves the Services of: zen-lead-system.")
	assert.Contains(t, text, "kubectl annotate service my-app --namespace zen-lead-system zen-lead.io/enabled=true")
	assert.Contains(t, text, "kubectl get services --selector app.kubernetes.io/managed-by=zen-lead --namespace zen-lead-system")
	assert.NotContains(t, text, "WARNING")
	assert.NotRegexp(t, `(?m)[ \t]+$`, text)
}

func TestNotesWarn(t *testing.T) {
	tests := map[string]struct {
		values values
		want   []string
	}{
		"replicas":   {set("replicaCount", "1"), []string{"replicaCount is 1"}},
		"budget":     {set("podDisruptionBudget.enabled", "false"), []string{"podDisruptionBudget.enabled is false"}},
		"cluster":    {set("scope", `"cluster"`), []string{"scope is cluster", "--all-namespaces", "the Services of every namespace"}},
		"unverified": {set("metrics.secure.enabled", "true", "serviceMonitor.enabled", "true"), []string{"serviceMonitor.tlsConfig is empty"}},
		"renamed":    {set("serviceMonitor.enabled", "true", "serviceMonitor.honorLabels", "false"), []string{"serviceMonitor.honorLabels is false"}},
		"unscraped": {set("prometheusRule.enabled", "true"),
			[]string{"prometheusRule.enabled is true without the chart's ServiceMonitor", "\njob=zen-lead-metrics."}},
		"rights": {set("rbac.create", "false"), []string{"rbac.create is false", "ServiceAccount zen-lead."}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := notes(t, test.values)
			assert.Contains(t, text, "WARNING: ")
			for _, want := range test.want {
				assert.Contains(t, text, want)
			}
		})
	}
}

func TestNotesDoNotWarnOfWhatIsInOrder(t *testing.T) {
	for name, v := range map[string]values{
		"verified": set("metrics.secure.enabled", "true", "serviceMonitor.enabled", "true", "serviceMonitor.tlsConfig", `{"serverName":"a"}`),
		"own job":  set("prometheusRule.enabled", "true", "prometheusRule.job", `"mine"`),
		"scraped":  set("prometheusRule.enabled", "true", "serviceMonitor.enabled", "true"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := notes(t, v)
			assert.NotContains(t, text, "WARNING")
			assert.NotRegexp(t, `(?m)[ \t]+$|\n\n\n`, text)
		})
	}
}

func TestNotesSayWhoMayScrapeAndHowToTest(t *testing.T) {
	t.Parallel()
	text := notes(t, set("metrics.secure.enabled", "true"))
	assert.Contains(t, text, "kubectl create clusterrolebinding zen-lead-metrics-reader.zen-lead-system --clusterrole zen-lead-metrics-reader.zen-lead-system ")
	assert.Contains(t, text, "helm test zen-lead --namespace zen-lead-system")
	text = notes(t, set("tests.enabled", "false"))
	assert.NotContains(t, text, "helm test")
	assert.NotContains(t, text, "metrics-reader")
}

func TestNotesNameTheNamespaces(t *testing.T) {
	t.Parallel()
	text := notes(t, set("scope", `"namespaces"`, "namespaces", `["shop","billing"]`))
	assert.Contains(t, text, "It serves the Services of: shop, billing.")
	assert.Contains(t, text, "kubectl annotate service my-app --namespace shop ")
	assert.Contains(t, text, "--all-namespaces")
}
