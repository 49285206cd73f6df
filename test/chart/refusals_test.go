package chart

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Values that contradict each other are refused with a sentence that says what to change.
func TestContradictions(t *testing.T) {
	tests := map[string]struct {
		values values
		want   string
	}{
		"namespaces without a list": {set("scope", `"namespaces"`), "scope is namespaces, but namespaces is empty: list"},
		"list without namespaces":   {set("namespaces", `["a"]`), "namespaces is set, but scope is release: set scope to namespaces"},
		"list and cluster":          {set("namespaces", `["a"]`, "scope", `"cluster"`), "namespaces is set, but scope is cluster: set scope to namespaces"},
		"nobody's account":          {set("serviceAccount.create", "false"), "set serviceAccount.name"},
		"two budgets": {set("podDisruptionBudget.minAvailable", "1", "podDisruptionBudget.maxUnavailable", "1"),
			"podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set"},
		"undrainable":               {set("podDisruptionBudget.minAvailable", "2"), "minAvailable 2 with replicaCount 2 would block every node drain"},
		"undrainable with one":      {set("podDisruptionBudget.minAvailable", "1", "replicaCount", "1"), "minAvailable 1 with replicaCount 1 would block"},
		"one port for two":          {set("metrics.port", "8081"), "metrics.port and health.port are both 8081"},
		"deadline after the lease":  {set("leaderElection.renewDeadline", `"15s"`), "renewDeadline 15s must be less than leaderElection.leaseDuration 15s"},
		"retry after the deadline":  {set("leaderElection.retryPeriod", `"10s"`), "retryPeriod 10s must be more than 0, and times 1.2 less than"},
		"retry just too slow":       {set("leaderElection.retryPeriod", `"8334ms"`), "retryPeriod 8334ms must be"},
		"no pause between retries":  {set("leaderElection.retryPeriod", `"0s"`), "retryPeriod 0s must be more than 0"},
		"lease under a second":      {set("leaderElection.leaseDuration", `"900ms"`), "leaseDuration 900ms is too short"},
		"units are looked at":       {set("leaderElection.renewDeadline", `"1m"`), "renewDeadline 1m must be less than leaderElection.leaseDuration 15s"},
		"argument of the chart":     {set("extraArgs", `["--log-level=debug"]`), "extraArgs holds --log-level, which the chart sets itself"},
		"argument of the chart too": {set("extraArgs", `["--namespaces"]`), "extraArgs holds --namespaces, which the chart sets itself"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, refuse(t, test.values), test.want)
		})
	}
}

// What is close to a contradiction and is none.
func TestNoContradictions(t *testing.T) {
	for name, v := range map[string]values{
		"retry just fast enough":  set("leaderElection.retryPeriod", `"8333ms"`),
		"budget off":              set("podDisruptionBudget.minAvailable", "2", "podDisruptionBudget.enabled", "false"),
		"same port, metrics off":  set("metrics.port", "8081", "metrics.enabled", "false"),
		"no pods for now":         set("replicaCount", "0"),
		"a namespace of its own":  set("scope", `"namespaces"`, "namespaces", `["zen-lead-system"]`),
		"a longer flag":           set("extraArgs", `["--log-level-of-something"]`),
		"minimum in parts of two": set("podDisruptionBudget.minAvailable", `"50%"`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.NotEmpty(t, render(t, v))
		})
	}
}

// The cluster scope serves every namespace, so no flag may narrow it unseen.
func TestClusterScopeCannotBeNarrowedByAnArgument(t *testing.T) {
	t.Parallel()
	assert.Contains(t, refuse(t, set("scope", `"cluster"`, "extraArgs", `["--namespaces=a"]`)), "extraArgs holds --namespaces")
}
