package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// alertTests is a file of tests, as promtool reads it.
type alertTests struct {
	Tests []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert    string `json:"alertname"`
			Expected []any  `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

// TestAlerts runs the tests in the directory alerts, one file for each alert, on the alerts that the chart renders.
func TestAlerts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rules := writeRules(t, dir, alerts(t))
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rules)
	files, err := filepath.Glob("alerts/*.yaml")
	require.NoError(t, err)
	args := []string{"test", "rules", "--diff"}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		path := filepath.Join(dir, filepath.Base(file))
		require.NoError(t, os.WriteFile(path, content, 0o600))
		args = append(args, path)
	}
	promtool(t, args...)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), args...).CombinedOutput()
	require.NoError(t, err, "promtool %s:\n%s", strings.Join(args, " "), out)
}

// Each alert has tests in which it fires and tests in which it must not; a test file without an alert is of no use.
func TestEveryAlertIsTestedFiringAndQuiet(t *testing.T) {
	t.Parallel()
	var names, tested []string
	for _, r := range alerts(t)[0].Rules {
		names = append(names, r.Alert)
	}
	files, err := filepath.Glob("alerts/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		tested = append(tested, name)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var tests alertTests
		require.NoError(t, yaml.Unmarshal(content, &tests), file)
		firing, quiet := 0, 0
		for _, test := range tests.Tests {
			fires := false
			require.NotEmpty(t, test.Rules, "%s: %s checks nothing", file, test.Name)
			for _, r := range test.Rules {
				require.Equal(t, name, r.Alert, file)
				fires = fires || len(r.Expected) > 0
			}
			if fires {
				firing++
			} else {
				quiet++
			}
		}
		assert.NotZero(t, firing, "%s: no test in which the alert fires", file)
		assert.NotZero(t, quiet, "%s: no test in which it is quiet throughout", file)
	}
	assert.ElementsMatch(t, names, tested)
}
