package monitoring

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/utils/clock"

	"github.com/kube-zen/zen-lead/src/metrics"
)

// exported are the controller's own metrics with their labels, in order.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	_, err := metrics.NewRecorder(clock.RealClock{}, "test").Register(registry)
	require.NoError(t, err)
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		registry.Describe(descs)
	}()
	parts := regexp.MustCompile(`fqName: "(\w+)".*constLabels: \{(.*?)\}, variableLabels: \{(.*?)\}`)
	label := regexp.MustCompile(`(\w+)(?:="[^"]*")?`)
	found := map[string][]string{}
	for desc := range descs {
		match := parts.FindStringSubmatch(desc.String())
		require.NotNil(t, match, desc.String())
		names := []string{}
		for _, name := range label.FindAllStringSubmatch(match[2]+","+match[3], -1) {
			names = append(names, name[1])
		}
		found[match[1]] = names
	}
	return found
}

// docs/monitoring.md lists every metric with its labels, and every alert with its severity and duration.
func TestDocsListEveryMetricAndAlert(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(root + "/docs/monitoring.md")
	require.NoError(t, err)
	page := string(content)
	listed := map[string][]string{}
	for _, line := range regexp.MustCompile("(?m)^\\| `(zen_lead_\\w+)` \\| (.*?) ?\\| ").FindAllStringSubmatch(page, -1) {
		names := []string{}
		for _, name := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(line[2], -1) {
			names = append(names, name[1])
		}
		listed[line[1]] = names
	}
	assert.Equal(t, exported(t), listed)
	rules := alerts(t)[0].Rules
	for _, r := range rules {
		row := strings.Join([]string{"| [" + r.Alert + "](runbooks/" + r.Alert + ".md)", r.Labels["severity"], r.For, ""}, " | ")
		assert.Contains(t, page, row)
	}
	assert.Equal(t, len(rules), strings.Count(page, "](runbooks/"))
}
