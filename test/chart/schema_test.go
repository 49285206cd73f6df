package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refused are values that the schema must refuse, as JSON, for every value of the chart.
func refused() map[string][]string {
	number, text, boolean, object, list := `7`, `"text"`, `true`, `{"a":1}`, `["a"]`
	texts := []string{number, list, object}
	objects := []string{number, text, list}
	return map[string][]string{
		"global":                             objects,
		"enabled":                            {text, number},
		"scope":                              {`"namespace"`, `""`, number},
		"namespaces":                         {text, `["A"]`, `["a","a"]`, `["a_b"]`, `[""]`, `[1]`, `["-a"]`},
		"replicaCount":                       {`-1`, `11`, `1.5`, text},
		"image":                              {text, `{"name":"a"}`},
		"image.repository":                   {`""`, number},
		"image.tag":                          {`"a b"`, `"a:b"`, `"-a"`, `1.5`},
		"image.digest":                       {`"sha256:abc"`, `"latest"`, number},
		"image.pullPolicy":                   {`"always"`, `""`},
		"imagePullSecrets":                   {text, `["a"]`, `[{}]`, `[{"name":""}]`, `[{"name":"a","x":"b"}]`},
		"nameOverride":                       {`"A"`, `"a_b"`, `"1a"`, `"` + long(41) + `"`, number},
		"fullnameOverride":                   {`"A"`, `"a."`, `"1a"`, `"` + long(41) + `"`, number},
		"namespaceOverride":                  {`"A"`, `"a."`, `"` + long(64) + `"`, number},
		"commonLabels":                       {text, `{"a":1}`, `{"a":true}`},
		"commonAnnotations":                  {text, `{"a":1}`},
		"defaultMinReadyDuration":            {`"-5s"`, `"5"`, `"5 s"`, `"s"`, `""`, `5`},
		"concurrentReconciles":               {`0`, `1.5`, text},
		"kubeAPI":                            {text, `{"rps":1}`},
		"kubeAPI.qps":                        {`0`, `-1`, text},
		"kubeAPI.burst":                      {`0`, `1.5`, text},
		"leaderElection":                     {text, `{"enabled":true}`},
		"leaderElection.leaseName":           {`"A"`, `"a."`, number},
		"leaderElection.leaseDuration":       {`"15"`, `"-15s"`, `"1m30s"`, `15`},
		"leaderElection.renewDeadline":       {`"10"`, `"-10s"`, `"1m30s"`, `10`},
		"leaderElection.retryPeriod":         {`"2"`, `"-2s"`, `"1m30s"`, `2`},
		"log":                                {text, `{"verbosity":1}`},
		"log.level":                          {`"trace"`, `""`, number},
		"log.format":                         {`"logfmt"`, `""`, number},
		"metrics":                            {text, `{"path":"/m"}`},
		"metrics.enabled":                    {text, number},
		"metrics.port":                       {`80`, `65536`, text},
		"metrics.service":                    {text, `{"type":"NodePort"}`},
		"metrics.service.enabled":            {text, number},
		"metrics.service.port":               {`0`, `65536`, text},
		"metrics.service.labels":             {text, `{"a":1}`},
		"metrics.service.annotations":        {text, `{"a":1}`},
		"health":                             {text, `{"path":"/h"}`},
		"health.port":                        {`80`, `65536`, text},
		"startupProbe":                       objects,
		"startupProbe.periodSeconds":         {text, boolean},
		"startupProbe.failureThreshold":      {text, boolean},
		"livenessProbe":                      objects,
		"livenessProbe.periodSeconds":        {text, boolean},
		"livenessProbe.timeoutSeconds":       {text, boolean},
		"livenessProbe.failureThreshold":     {text, boolean},
		"readinessProbe":                     objects,
		"readinessProbe.periodSeconds":       {text, boolean},
		"readinessProbe.timeoutSeconds":      {text, boolean},
		"readinessProbe.failureThreshold":    {text, boolean},
		"extraArgs":                          {text, `["log-level=debug"]`, `["-v"]`, `["--a","--a"]`, `[1]`},
		"serviceAccount":                     {text, `{"automount":true}`},
		"serviceAccount.create":              {text, number},
		"serviceAccount.name":                {`"A"`, `"a_b"`, `"` + long(254) + `"`, number},
		"serviceAccount.annotations":         {text, `{"a":1}`},
		"rbac":                               {text, `{"enabled":true}`},
		"rbac.create":                        {text, number},
		"rbac.extraRules":                    {text, `["a"]`},
		"podDisruptionBudget":                {text, `{"a":1}`},
		"podDisruptionBudget.enabled":        {text, number},
		"podDisruptionBudget.minAvailable":   {`-1`, `"1"`, `"101%"`, `1.5`, boolean},
		"podDisruptionBudget.maxUnavailable": {`-1`, `"1"`, `"101%"`, `1.5`, boolean},
		"updateStrategy":                     objects,
		"revisionHistoryLimit":               {`-1`, `1.5`, text},
		"terminationGracePeriodSeconds":      {`0`, `1.5`, text},
		"deploymentLabels":                   {text, `{"a":1}`},
		"deploymentAnnotations":              {text, `{"a":1}`},
		"podLabels":                          {text, `{"a":1}`},
		"podAnnotations":                     {text, `{"a":1}`},
		"podSecurityContext":                 objects,
		"securityContext":                    objects,
		"resources":                          objects,
		"priorityClassName":                  texts,
		"nodeSelector":                       {text, `{"a":1}`},
		"nodeSelector.kubernetes\\.io/os":    {number},
		"tolerations":                        {text, `["a"]`},
		"podAntiAffinity":                    {`"weak"`, `""`, `{}`},
		"affinity":                           objects,
		"topologySpreadConstraints": {text, `["a"]`, `[{"maxSkew":0}]`, `[{"topologyKey":""}]`, `[{"whenUnsatisfiable":"Maybe"}]`,
			`[{"labelselector":{}}]`, `[{"labelSelector":"a"}]`, `[{"minDomains":"a"}]`, `[{"matchLabelKeys":[1]}]`,
			`[{"nodeAffinityPolicy":1}]`, `[{"nodeTaintsPolicy":1}]`},
	}
}

func long(n int) string { return strings.Repeat("a", n) }

func TestSchemaRefuses(t *testing.T) {
	for path, bad := range refused() {
		for _, value := range bad {
			t.Run(path+"="+value, func(t *testing.T) {
				t.Parallel()
				message := refuse(t, set(path, value))
				assert.Contains(t, message, "values don't meet the specifications of the schema")
				// Helm names what is wrong by its path in the values.
				assert.Contains(t, message, strings.Split(path, ".")[0])
			})
		}
	}
}

func TestSchemaRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, path := range []string{"replicas", "image.name", "metrics.service.type", "podDisruptionBudget.unhealthyPodEvictionPolicy"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			assert.Contains(t, refuse(t, set(path, "1")), "additional properties")
		})
	}
}

// property is the part of JSON schema that the chart's schema is made of.
type property struct {
	Description          string              `json:"description"`
	Type                 any                 `json:"type"`
	Properties           map[string]property `json:"properties"`
	AdditionalProperties any                 `json:"additionalProperties"`
}

func schema(t *testing.T) property {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	require.NoError(t, err)
	var root property
	require.NoError(t, json.Unmarshal(content, &root))
	return root
}

// walk visits every property below, with its path as --set writes it.
func walk(p property, path string, visit func(path string, p property)) {
	for name, child := range p.Properties {
		childPath := strings.ReplaceAll(name, ".", `\.`)
		if path != "" {
			childPath = path + "." + childPath
		}
		visit(childPath, child)
		walk(child, childPath, visit)
	}
}

func TestEveryValueHasRefusals(t *testing.T) {
	var paths []string
	walk(schema(t), "", func(path string, _ property) { paths = append(paths, path) })
	slices.Sort(paths)
	assert.Equal(t, paths, slices.Sorted(maps.Keys(refused())))
}

func TestEveryValueIsDescribed(t *testing.T) {
	walk(schema(t), "", func(path string, p property) {
		// What is below a described object that is handed to Kubernetes as it is needs no words of its own.
		parent, _, nested := strings.Cut(path, ".")
		passedThrough := nested && (strings.HasSuffix(parent, "Probe") || parent == "nodeSelector")
		if len(p.Properties) == 0 && !passedThrough {
			assert.NotEmpty(t, p.Description, "%s has no comment that starts with # --", path)
		}
	})
}

// An object either says what may be in it, or is handed on to Kubernetes, which knows.
func TestObjectsAreClosed(t *testing.T) {
	open := []string{"global", "startupProbe", "livenessProbe", "readinessProbe", "updateStrategy", "podSecurityContext", "securityContext",
		"resources", "affinity"}
	root := schema(t)
	assert.Equal(t, false, root.AdditionalProperties)
	walk(root, "", func(path string, p property) {
		if p.Type == "object" && !slices.Contains(open, path) {
			assert.NotEqual(t, true, p.AdditionalProperties, fmt.Sprintf("%s takes anything", path))
			assert.NotNil(t, p.AdditionalProperties, fmt.Sprintf("%s takes anything", path))
		}
	})
}

// Helm takes a value away when it is set to null. What is left renders, or is refused by name.
func TestEveryValueCanBeTakenAway(t *testing.T) {
	walk(schema(t), "", func(path string, _ property) {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			v := set(path, "null")
			stdout, stderr, err := helm.RenderTemplateAndGetStdOutErrE(t, v.options(), chartDir, release, nil)
			if err != nil {
				assert.Contains(t, stderr, "missing property")
				return
			}
			assert.NotEmpty(t, decode(t, stdout))
		})
	})
}

func TestProbesCanBeTakenAway(t *testing.T) {
	t.Parallel()
	c := container(t, render(t, set("startupProbe", "null", "livenessProbe", "null", "readinessProbe", "null")))
	assert.Nil(t, c.StartupProbe)
	assert.Nil(t, c.LivenessProbe)
	assert.Nil(t, c.ReadinessProbe)
}
