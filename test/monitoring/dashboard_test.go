package monitoring

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/integration/harness"
	"github.com/kube-zen/zen-lead/test/monitoring/picture"
)

func readDashboard(t *testing.T) *picture.Dashboard {
	t.Helper()
	dashboard, err := picture.Read(chartDir + "/files/dashboard.json")
	require.NoError(t, err)
	return dashboard
}

// TestDashboard asks every query of the dashboard, of its variables and of the alerts while leaders fail over, and runs
// the commands of the runbooks. With ZEN_LEAD_PICTURE=FILE it goes on for two minutes and draws the dashboard.
func TestDashboard(t *testing.T) {
	plane, err := harness.StartControlPlane(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, plane.Stop()) })
	require.NoError(t, plane.Define(t.Context(), harness.Rights{
		Served: rules(t, "role.yaml"), Election: rules(t, "leader-election-role.yaml"),
	}))
	s := startScene(t, plane)

	began := time.Now()
	s.play()
	s.scraped(`sum(zen_lead_drift_repairs_total{kind="Service"})`, 1)
	s.scraped(`sum(zen_lead_suppressed_switches_total{service="sticky"})`, 1)
	dashboard := readDashboard(t)
	t.Run("Queries", func(t *testing.T) { testQueries(t, s, dashboard) })
	t.Run("Numbers", func(t *testing.T) { testNumbers(t, s, dashboard) })
	t.Run("Variables", func(t *testing.T) { testVariables(t, s, dashboard) })
	t.Run("Alerts", func(t *testing.T) { testAlertExpressions(t, s) })
	t.Run("Runbooks", func(t *testing.T) { testRunbookCommands(t, s, plane) })
	t.Run("Picture", func(t *testing.T) { testPicture(t, s, dashboard, began) })
	if file := os.Getenv("ZEN_LEAD_PICTURE"); file != "" {
		draw(t, s, dashboard, began, file)
	}
}

// testQueries: every query has data, no value that is none, and the labels that its legend names.
func testQueries(t *testing.T, s *scene, dashboard *picture.Dashboard) {
	label := regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			series, err := s.query(grafana(target.Expr))
			require.NoError(t, err, panel.Title)
			assert.NotEmpty(t, series, "%s: no data for %s", panel.Title, target.Expr)
			for _, one := range series {
				value := one.Points[0].Value
				assert.False(t, math.IsNaN(value) || math.IsInf(value, 0), "%s: %v is %v", panel.Title, one.Labels, value)
				for _, name := range label.FindAllStringSubmatch(target.Legend, -1) {
					assert.NotEmpty(t, one.Labels[name[1]], "%s: %v has no label %s", panel.Title, one.Labels, name[1])
				}
			}
			if target.Legend == "" && panel.Type != "table" {
				assert.Len(t, series, 1, "%s: a panel without a legend shows one series", panel.Title)
			}
		}
	}
}

// testNumbers compares panels with what happened.
func testNumbers(t *testing.T, s *scene, dashboard *picture.Dashboard) {
	for title, want := range map[string]float64{
		"Services with a leader": 4, "Without a leader": 4, "Not routed": 3, "Without a standby": 1,
		"Controller pods": 2, "Active controllers": 1,
	} {
		assert.Equal(t, want, s.value(grafana(dashboard.Panel(title).Targets[0].Expr)), title)
	}
	by := func(title, label string) map[string]float64 {
		series, err := s.query(grafana(dashboard.Panel(title).Targets[0].Expr))
		require.NoError(t, err)
		found := map[string]float64{}
		for _, one := range series {
			found[one.Labels[label]] = one.Points[0].Value
		}
		return found
	}
	assert.Equal(t, map[string]float64{"leader_deselected": 1, "leader_terminating": 1, "leader_not_ready": 1 + flaps},
		by("Changes of leader by reason", "reason"))
	passedOver := s.chosen(dashboard.Panel("Better candidates that were passed over").Targets[0].Expr, "sticky")
	assert.EqualValues(t, 1, s.value(passedOver), "the sticky leader stayed")
	leaderless := by("Services without a Ready leader", "service")
	for _, name := range []string{"cache", "last", "idle", "ports", "taken", "bare"} {
		assert.Contains(t, leaderless, name)
	}
	assert.Zero(t, leaderless["idle"], "never")
	assert.Len(t, leaderless, 6)
	assert.InDelta(t, float64(time.Now().UnixMilli()), leaderless["cache"], 600_000, "milliseconds, as Grafana's dates are")
	assert.Equal(t, map[string]float64{"web": 1}, by("Services without a standby", "service"))
	assert.Equal(t, map[string]float64{"leader_service_taken": 1, "port_unresolved": 1, "no_selector": 1, "invalid_enabled": 1},
		by("Services that cannot be used as they are", "reason"))
	// increase() extrapolates beyond a series' samples, and by more than a third while there are few of them.
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		moved := by("Most changes of leader", "service")
		assert.InDelta(t, flaps, moved["flap"], 2)
		assert.InDelta(t, 3, moved["db"], 1)
		assert.Len(t, moved, 2)
	}, 30*time.Second, time.Second)
	assert.Less(t, s.value(grafana(dashboard.Panel("From the pod's event to the written slice").Targets[0].Expr)), 5.0)
	assert.EqualValues(t, 1, s.value("count(count by (pod) (zen_lead_leader_ready))"), "the standby reports no Service")
	s.scraped(grafana(dashboard.Panel("Queue").Targets[0].Expr), 0)
	one := s.chosen(dashboard.Panel("Changes of leader by reason").Targets[0].Expr, "flap")
	assert.EqualValues(t, flaps, s.value(one), "the variables choose")
}

func testVariables(t *testing.T, s *scene, dashboard *picture.Dashboard) {
	want := map[string][]string{
		"job": {"zen-lead-metrics"}, "namespace": {s.Namespace},
		"service": {"bare", "cache", "db", "flap", "idle", "last", "ports", "sticky", "taken", "web"},
	}
	for _, variable := range dashboard.Templating.List {
		if variable.Type != "query" {
			continue
		}
		values, err := s.labelValues(grafana(variable.Definition))
		require.NoError(t, err)
		assert.Equal(t, want[variable.Name], values, variable.Name)
		delete(want, variable.Name)
	}
	assert.Empty(t, want)
}

// testAlertExpressions: what each alert would be about now, if it had been so for long enough.
func testAlertExpressions(t *testing.T, s *scene) {
	want := map[string][]string{
		"ZenLeadServiceLeaderless": {"cache", "last"}, "ZenLeadServiceNeverLed": {"idle"}, "ZenLeadServiceStandbyMissing": {"web"},
		"ZenLeadServiceFlapping": {"flap"}, "ZenLeadServiceMisconfigured": {"bare", "ports", "taken", "typo"},
	}
	for _, r := range alerts(t)[0].Rules {
		series, err := s.query(r.Expr)
		require.NoError(t, err, r.Alert)
		var services []string
		for _, one := range series {
			services = append(services, one.Labels["service"])
		}
		slices.Sort(services)
		assert.Equal(t, want[r.Alert], services, r.Alert)
	}
}

// testRunbookCommands runs them as they are, on this control plane. It has no pods of the controller, so that there are no
// logs to show.
func testRunbookCommands(t *testing.T, s *scene, plane *harness.ControlPlane) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, plane.Kubeconfig, 0o600))
	for name, page := range pages(t) {
		for _, block := range commands(page) {
			command := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", block)
			command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "NAMESPACE="+s.Namespace, "SERVICE=db",
				"CONTROLLER_NAMESPACE="+s.Namespace, "PATH="+os.Getenv("KUBEBUILDER_ASSETS")+":"+os.Getenv("PATH"))
			out, err := command.CombinedOutput()
			assert.NoError(t, err, "%s:\n%s", name, out)
			if regexp.MustCompile(`zen-lead\.io/source-service=`).MatchString(block) {
				assert.Regexp(t, `db-leader-ipv4 +db-3 +true`, string(out), name)
			}
		}
	}
}
