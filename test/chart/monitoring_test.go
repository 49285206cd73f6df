package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"
	_ "sigs.k8s.io/controller-runtime/pkg/controller" // registers the metrics of controllers
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/kube-zen/zen-lead/src/metrics"
)

func TestServiceMonitor(t *testing.T) {
	type object = map[string]any
	type list = []any
	token := "/var/run/secrets/kubernetes.io/serviceaccount/token"
	tests := map[string]struct {
		values   values
		endpoint object
	}{
		"default": {values{}, object{"port": "http-metrics", "honorLabels": true}},
		"timing": {
			set("serviceMonitor.interval", `"1m"`, "serviceMonitor.scrapeTimeout", `"60s"`, "serviceMonitor.honorLabels", "false"),
			object{"port": "http-metrics", "honorLabels": false, "interval": "1m", "scrapeTimeout": "60s"},
		},
		"relabelings": {
			set("serviceMonitor.relabelings", `[{"targetLabel":"a"}]`, "serviceMonitor.metricRelabelings", `[{"action":"drop"}]`),
			object{"port": "http-metrics", "honorLabels": true, "relabelings": list{object{"targetLabel": "a"}}, "metricRelabelings": list{object{"action": "drop"}}},
		},
		"secure": {
			set("metrics.secure.enabled", "true"),
			object{"port": "http-metrics", "honorLabels": true, "scheme": "https", "tlsConfig": object{"insecureSkipVerify": true}, "bearerTokenFile": token},
		},
		"secure, certificate and token of one's own": {
			set("metrics.secure.enabled", "true", "serviceMonitor.tlsConfig", `{"serverName":"zen-lead"}`,
				"serviceMonitor.authorization", `{"credentials":{"name":"scraper","key":"token"}}`),
			object{"port": "http-metrics", "honorLabels": true, "scheme": "https", "tlsConfig": object{"serverName": "zen-lead"},
				"authorization": object{"credentials": object{"name": "scraper", "key": "token"}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.values.set = with(test.values.set, "serviceMonitor.enabled", "true")
			assert.Equal(t, object{
				"selector": object{"matchLabels": object{
					"app.kubernetes.io/name": "zen-lead", "app.kubernetes.io/instance": release, "app.kubernetes.io/component": "metrics",
				}},
				"namespaceSelector": object{"matchNames": list{namespace}},
				"endpoints":         list{test.endpoint},
			}, custom(t, render(t, test.values), "ServiceMonitor").Object["spec"])
		})
	}
}

func with(values map[string]string, key, value string) map[string]string {
	more := map[string]string{key: value}
	for k, v := range values {
		more[k] = v
	}
	return more
}

// What Prometheus finds by the ServiceMonitor is the metrics Service, wherever either is, and not the Service of helm test.
func TestServiceMonitorFindsTheMetricsService(t *testing.T) {
	for name, v := range map[string]values{
		"here":               everything(),
		"monitored there":    everything("serviceMonitor.namespace", `"monitoring"`),
		"controller there":   everything("namespaceOverride", `"elsewhere"`),
		"names":              everything("nameOverride", `"other"`, "fullnameOverride", `"`+long(40)+`"`),
		"tested in the same": set("serviceMonitor.enabled", "true"),
		"labels":             set("serviceMonitor", `{"enabled":true,"targetLabels":["team"]}`, "metrics.service.labels", `{"team":"a"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rendered := renderAll(t, v)
			spec := custom(t, rendered, "ServiceMonitor").Object["spec"].(map[string]any)
			matchLabels := map[string]string{}
			for key, value := range spec["selector"].(map[string]any)["matchLabels"].(map[string]any) {
				matchLabels[key] = value.(string)
			}
			selector := labels.SelectorFromSet(matchLabels)
			service := one[*corev1.Service](t, rendered.installed())
			assert.True(t, selector.Matches(labels.Set(service.Labels)))
			assert.False(t, selector.Matches(labels.Set(one[*corev1.Service](t, rendered.hooks()).Labels)))
			assert.Equal(t, []any{service.Namespace}, spec["namespaceSelector"].(map[string]any)["matchNames"])
			endpoint := spec["endpoints"].([]any)[0].(map[string]any)
			assert.Equal(t, service.Spec.Ports[0].Name, endpoint["port"])
			if targetLabels, ok := spec["targetLabels"].([]any); ok {
				assert.Contains(t, service.Labels, targetLabels[0])
			}
		})
	}
}

// ServiceMonitor, PrometheusRule and dashboard go where those who look for them are, with what these select by.
func TestWhereMonitoringGoes(t *testing.T) {
	t.Parallel()
	const there = `{"enabled":true,"namespace":"monitoring","labels":{"release":"p","app.kubernetes.io/instance":"x"},"annotations":{"a":"b"}}`
	found := render(t, set("serviceMonitor", there, "prometheusRule", there, "dashboard", there, "commonLabels", `{"cl":"5"}`, "commonAnnotations", `{"cn":"6"}`))
	for _, object := range append(objects{custom(t, found, "ServiceMonitor"), custom(t, found, "PrometheusRule")}, one[*corev1.ConfigMap](t, found)) {
		assert.Equal(t, "monitoring", object.GetNamespace())
		assert.Subset(t, object.GetLabels(), map[string]string{"release": "p", "cl": "5", "app.kubernetes.io/instance": release})
		assert.Equal(t, map[string]string{"a": "b", "cn": "6"}, object.GetAnnotations())
	}
	found = render(t, values{})
	assert.Empty(t, all[*corev1.ConfigMap](found))
	assert.NotContains(t, strings.Join(found.inventory(), " "), "ServiceMonitor")
	assert.NotContains(t, strings.Join(found.inventory(), " "), "PrometheusRule")
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// rules are those of the only group, by name, and their names in order.
func rules(t *testing.T, v values) (map[string]rule, []string) {
	t.Helper()
	v.set = with(v.set, "prometheusRule.enabled", "true")
	content, err := yaml.Marshal(custom(t, render(t, v), "PrometheusRule").Object["spec"])
	require.NoError(t, err)
	var spec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	require.NoError(t, yaml.UnmarshalStrict(content, &spec))
	require.Len(t, spec.Groups, 1)
	require.Equal(t, "zen-lead", spec.Groups[0].Name)
	require.NotContains(t, string(content), "rules: null")
	byName, names := map[string]rule{}, []string{}
	for _, r := range spec.Groups[0].Rules {
		byName[r.Alert+r.Record] = r
		names = append(names, r.Alert+r.Record)
	}
	require.Len(t, byName, len(names), "a name is there twice")
	return byName, names
}

// alertNames are those of the file that the rule is made of.
func alertNames(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "files", "alerts.yaml"))
	require.NoError(t, err)
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^- alert: (\w+)$`).FindAllStringSubmatch(string(content), -1) {
		names = append(names, match[1])
	}
	require.NotEmpty(t, names)
	return names
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	byName, names := rules(t, set("replicaCount", "3"))
	assert.Equal(t, alertNames(t), names)
	for name, r := range byName {
		assert.Equal(t, "https://github.com/kube-zen/zen-lead/blob/main/docs/runbooks/"+name+".md", r.Annotations["runbook_url"])
		assert.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"], name)
		assert.Len(t, r.Labels, 1, name)
		assert.Regexp(t, `^[0-9]+[smhd]$`, r.For, name)
		assert.Regexp(t, `\.$`, r.Annotations["summary"], name)
		assert.Regexp(t, `\.$`, r.Annotations["description"], name)
		assert.NotRegexp(t, `\b(JOB|REPLICAS)\b`, r.Expr+r.Annotations["description"]+r.Annotations["summary"], name)
		assert.Contains(t, r.Expr, `job="zen-lead-metrics"`, name)
		assertMetricsExist(t, r.Expr)
	}
	redundant := byName["ZenLeadControllerNotRedundant"]
	assert.Regexp(t, `< 3$`, redundant.Expr)
	assert.Contains(t, redundant.Annotations["description"], "of 3 controller pods")
}

func TestAlertsFollowTheValues(t *testing.T) {
	t.Parallel()
	byName, names := rules(t, set("replicaCount", "1", "prometheusRule.job", `"my job"`, "prometheusRule.runbookURL", `"https://example.com/run/"`,
		"prometheusRule.alertLabels", `{"team":"a","severity":"ignored"}`,
		"prometheusRule.alerts", `{"ZenLeadServiceLeaderless":{"for":"1h30m","severity":"page"},"ZenLeadFailoverSlow":{"enabled":false},"ZenLeadDriftRepairs":{"enabled":true}}`,
		"prometheusRule.extraRules", `[{"record":"own","expr":"up"}]`))
	assert.NotContains(t, names, "ZenLeadFailoverSlow")
	assert.NotContains(t, names, "ZenLeadControllerNotRedundant", "one pod is all there is to be")
	assert.Len(t, names, len(alertNames(t))-2+1)
	changed := byName["ZenLeadServiceLeaderless"]
	assert.Equal(t, "1h30m", changed.For)
	assert.Equal(t, map[string]string{"severity": "page", "team": "a"}, changed.Labels)
	assert.Equal(t, "https://example.com/run/ZenLeadServiceLeaderless.md", changed.Annotations["runbook_url"])
	assert.Contains(t, changed.Expr, `job="my job"`)
	assert.Equal(t, map[string]string{"severity": "warning", "team": "a"}, byName["ZenLeadDriftRepairs"].Labels)
	assert.Equal(t, rule{Record: "own", Expr: "up"}, byName["own"])
	assert.Equal(t, "own", names[len(names)-1])
}

func TestAlertsCanAllBeSwitchedOff(t *testing.T) {
	t.Parallel()
	off := values{set: map[string]string{}}
	for _, name := range alertNames(t) {
		off.set["prometheusRule.alerts."+name] = `{"enabled":false}`
	}
	_, names := rules(t, off)
	assert.Empty(t, names)
}

// knownMetrics are those that the controller registers, and the one that Prometheus makes of every target.
func knownMetrics(t *testing.T) map[string]bool {
	t.Helper()
	ours := prometheus.NewPedanticRegistry()
	_, err := metrics.NewRecorder(clock.RealClock{}, "test").Register(ours)
	require.NoError(t, err)
	known := map[string]bool{"up": true}
	name := regexp.MustCompile(`fqName: "(\w+)"`)
	for _, registry := range []any{ours, ctrlmetrics.Registry} {
		descs := make(chan *prometheus.Desc)
		go func() {
			defer close(descs)
			registry.(prometheus.Collector).Describe(descs)
		}()
		for desc := range descs {
			known[name.FindStringSubmatch(desc.String())[1]] = true
		}
	}
	return known
}

// metricsOf are the names of metrics in a PromQL expression: what is left without strings, variables, matchers, ranges, lists of
// labels, functions, keywords and numbers.
func metricsOf(expr string) []string {
	for _, pattern := range []string{`"[^"]*"`, `\$\w+`, `\{[^}]*\}`, `\[[^\]]*\]`, `\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)`, `\b\w+\s*\(`} {
		expr = regexp.MustCompile(pattern).ReplaceAllString(expr, " ")
	}
	var names []string
	for _, word := range regexp.MustCompile(`[a-zA-Z_:][\w:]*`).FindAllString(expr, -1) {
		if !strings.Contains(" and or unless bool offset ", " "+word+" ") {
			names = append(names, word)
		}
	}
	return names
}

func assertMetricsExist(t *testing.T, expr string) {
	t.Helper()
	known, names := knownMetrics(t), metricsOf(expr)
	assert.NotEmpty(t, names, expr)
	for _, name := range names {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		assert.True(t, known[name] || known[base], "%s is no metric, in: %s", name, expr)
	}
}

// The check itself must be able to fail.
func TestUnknownMetricsAreSeen(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"a_total", "b", "c_bucket"},
		metricsOf(`sum by (x, y) (rate(a_total{l="v", m=~"w"}[5m])) / on (z) group_left (k) b > bool 1 or vector(0) and histogram_quantile(0.9, sum by (le) (c_bucket))`))
	known := knownMetrics(t)
	assert.True(t, known["zen_lead_leader_ready"])
	assert.True(t, known["controller_runtime_reconcile_total"])
	assert.False(t, known["zen_lead_no_such_metric"])
}
