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
		"deadline after the lease":  {set("leaderElection.renewDeadline", `"6s"`), "renewDeadline 6s must be less than leaderElection.leaseDuration 6s"},
		"retry after the deadline":  {set("leaderElection.retryPeriod", `"4s"`), "retryPeriod 4s must be more than 0, and times 1.2 less than"},
		"retry just too slow":       {set("leaderElection.retryPeriod", `"3334ms"`), "retryPeriod 3334ms must be"},
		"no pause between retries":  {set("leaderElection.retryPeriod", `"0s"`), "retryPeriod 0s must be more than 0"},
		"lease under a second":      {set("leaderElection.leaseDuration", `"900ms"`), "leaseDuration 900ms is too short"},
		"units are looked at":       {set("leaderElection.renewDeadline", `"1m"`), "renewDeadline 1m must be less than leaderElection.leaseDuration 6s"},
		"argument of the chart":     {set("extraArgs", `["--log-level=debug"]`), "extraArgs holds --log-level, which the chart sets itself"},
		"argument of the chart too": {set("extraArgs", `["--namespaces"]`), "extraArgs holds --namespaces, which the chart sets itself"},
		"security by argument":      {set("extraArgs", `["--metrics-secure"]`), "extraArgs holds --metrics-secure, which the chart sets itself"},
		"certificate by argument":   {set("extraArgs", `["--metrics-cert-dir=/a"]`), "extraArgs holds --metrics-cert-dir, which the chart sets itself"},
		"certificate for nothing": {set("metrics.secure.certificateSecret", `"tls"`),
			"metrics.secure.certificateSecret is tls, but metrics.secure.enabled is false: set it to true"},
		"secure without metrics":    {off("metrics.secure"), "metrics.secure.enabled is true, but metrics.enabled is false: set metrics.enabled to true"},
		"monitored without metrics": {off("serviceMonitor"), "serviceMonitor.enabled is true, but metrics.enabled is false"},
		"alerts without metrics":    {off("prometheusRule"), "prometheusRule.enabled is true, but metrics.enabled is false"},
		"dashboard without metrics": {off("dashboard"), "dashboard.enabled is true, but metrics.enabled is false"},
		"monitor without service": {set("serviceMonitor.enabled", "true", "metrics.service.enabled", "false"),
			"a ServiceMonitor scrapes a Service: set metrics.service.enabled to true"},
		"TLS of plain HTTP":           {set("serviceMonitor.tlsConfig", `{"serverName":"a"}`), "serviceMonitor.tlsConfig is set, but metrics.secure.enabled is false"},
		"authorization of plain HTTP": {set("serviceMonitor.authorization", `{"type":"a"}`), "serviceMonitor.authorization is set, but metrics.secure.enabled is false"},
		"scrapes that overlap": {set("serviceMonitor.interval", `"1m"`, "serviceMonitor.scrapeTimeout", `"61s"`),
			"serviceMonitor.scrapeTimeout 61s must not be more than serviceMonitor.interval 1m"},
		"no such alert": {set("prometheusRule.alerts", `{"ZenLeadLeaderless":{"for":"1m"}}`),
			"prometheusRule.alerts holds ZenLeadLeaderless, which is none of the alerts: name one of ZenLeadNoActiveController, "},
		"no DNS server": {set("dnsPolicy", `"None"`), "dnsPolicy is None, but dnsConfig.nameservers is empty: name a DNS server"},
		"no token":      {set("automountServiceAccountToken", "false"), "automountServiceAccountToken is false, and the controller has no other way to the API server"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, refuse(t, test.values), test.want)
		})
	}
}

// off switches something on that needs metrics, and metrics off.
func off(path string) values { return set(path+".enabled", "true", "metrics.enabled", "false") }

// What is close to a contradiction and is none.
func TestNoContradictions(t *testing.T) {
	for name, v := range map[string]values{
		"retry just fast enough":  set("leaderElection.retryPeriod", `"3333ms"`),
		"budget off":              set("podDisruptionBudget.minAvailable", "2", "podDisruptionBudget.enabled", "false"),
		"same port, metrics off":  set("metrics.port", "8081", "metrics.enabled", "false"),
		"no pods for now":         set("replicaCount", "0"),
		"a namespace of its own":  set("scope", `"namespaces"`, "namespaces", `["zen-lead-system"]`),
		"a longer flag":           set("extraArgs", `["--log-level-of-something"]`),
		"scrapes back to back":    set("serviceMonitor.interval", `"1m"`, "serviceMonitor.scrapeTimeout", `"60s"`),
		"timeout alone":           set("serviceMonitor.scrapeTimeout", `"60s"`),
		"own DNS":                 set("dnsPolicy", `"None"`, "dnsConfig", `{"nameservers":["10.0.0.1"]}`),
		"own kubeconfig":          set("automountServiceAccountToken", "false", "extraArgs", `["--kubeconfig=/a"]`),
		"alert that is left out":  set("replicaCount", "1", "prometheusRule.alerts", `{"ZenLeadControllerNotRedundant":{"for":"1m"}}`),
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
