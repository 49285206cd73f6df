package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refused are values that the schema must refuse, as JSON, for every value of the chart.
func refused() map[string][]string {
	number, text, boolean, object, list := `7`, `"text"`, `true`, `{"a":1}`, `["a"]`
	texts := []string{number, list, object}
	objects := []string{number, text, list}
	name := []string{`"A"`, `"a."`, `"` + long(64) + `"`, number}
	strung := []string{text, `{"a":1}`}
	named := []string{text, `["a"]`, `[{}]`, `[{"name":""}]`, `[{"name":1}]`}
	things := []string{text, `["a"]`}
	return map[string][]string{
		"global":                           objects,
		"global.imagePullSecrets":          {text, `[1]`},
		"enabled":                          {text, number},
		"scope":                            {`"namespace"`, `""`, number},
		"namespaces":                       {text, `["A"]`, `["a","a"]`, `["a_b"]`, `[""]`, `[1]`, `["-a"]`, `["` + long(64) + `"]`},
		"replicaCount":                     {`-1`, `11`, `1.5`, text},
		"image":                            {text, `{"name":"a"}`},
		"image.repository":                 {`""`, number},
		"image.tag":                        {`"a b"`, `"a:b"`, `"-a"`, `1.5`},
		"image.digest":                     {`"sha256:abc"`, `"latest"`, number},
		"image.pullPolicy":                 {`"always"`, `""`, number},
		"imagePullSecrets":                 append(named, `[{"name":"a","x":"b"}]`),
		"nameOverride":                     {`"A"`, `"a_b"`, `"1a"`, `"` + long(41) + `"`, number},
		"fullnameOverride":                 {`"A"`, `"a."`, `"1a"`, `"` + long(41) + `"`, number},
		"namespaceOverride":                name,
		"commonLabels":                     append(strung, `{"a":true}`),
		"commonAnnotations":                strung,
		"defaultMinReadyDuration":          {`"-5s"`, `"5"`, `"5 s"`, `"99999999999h"`, `"100000h100000h100000h"`, `"s"`, `""`, `5`},
		"concurrentReconciles":             {`0`, `1.5`, text},
		"kubeAPI":                          {text, `{"rps":1}`},
		"kubeAPI.qps":                      {`0`, `-1`, text},
		"kubeAPI.burst":                    {`0`, `1.5`, text},
		"leaderElection":                   {text, `{"enabled":true}`},
		"leaderElection.leaseName":         name,
		"leaderElection.leaseDuration":     {`"15"`, `"-15s"`, `"1m30s"`, `15`},
		"leaderElection.renewDeadline":     {`"10"`, `"-10s"`, `"1m30s"`, `10`},
		"leaderElection.retryPeriod":       {`"2"`, `"-2s"`, `"1m30s"`, `2`},
		"log":                              {text, `{"verbosity":1}`},
		"log.level":                        {`"trace"`, `""`, number},
		"log.format":                       {`"logfmt"`, `""`, number},
		"metrics":                          {text, `{"path":"/m"}`},
		"metrics.enabled":                  {text, number},
		"metrics.port":                     {`80`, `65536`, text},
		"metrics.service":                  {text, `{"type":"NodePort"}`},
		"metrics.service.enabled":          {text, number},
		"metrics.service.port":             {`0`, `65536`, text},
		"metrics.service.labels":           strung,
		"metrics.service.annotations":      strung,
		"metrics.service.ipFamilyPolicy":   {`"DualStack"`, number},
		"metrics.service.ipFamilies":       {text, `["ipv4"]`, `["IPv4","IPv4"]`, `["IPv4","IPv6","IPv4"]`},
		"metrics.secure":                   {text, `{"tls":true}`},
		"metrics.secure.enabled":           {text, number},
		"metrics.secure.certificateSecret": {`"A"`, `"a_b"`, `"` + long(254) + `"`, number},
		"serviceMonitor":                   {text, `{"port":1}`},
		"serviceMonitor.enabled":           {text, number},
		"serviceMonitor.namespace":         name,
		"serviceMonitor.labels":            strung,
		"serviceMonitor.annotations":       strung,
		"serviceMonitor.interval":          {`"30"`, `"1m30s"`, `"-1s"`, `30`},
		"serviceMonitor.scrapeTimeout":     {`"30"`, `"1m30s"`, `"-1s"`, `30`},
		"serviceMonitor.honorLabels":       {text, number},
		"serviceMonitor.tlsConfig":         objects,
		"serviceMonitor.authorization":     objects,
		"serviceMonitor.targetLabels":      {text, `[1]`, `[""]`, `["a","a"]`},
		"serviceMonitor.relabelings":       things,
		"serviceMonitor.metricRelabelings": things,
		"prometheusRule":                   {text, `{"groups":[]}`},
		"prometheusRule.enabled":           {text, number},
		"prometheusRule.namespace":         name,
		"prometheusRule.labels":            strung,
		"prometheusRule.annotations":       strung,
		"prometheusRule.job":               {`"a\"b"`, `"a\\b"`, number},
		"prometheusRule.runbookURL":        {`""`, number},
		"prometheusRule.alertLabels":       strung,
		"prometheusRule.alerts": {text, `{"A":1}`, `{"A":{"expr":"up"}}`, `{"A":{"enabled":"no"}}`, `{"A":{"for":"5"}}`, `{"A":{"for":5}}`,
			`{"A":{"severity":""}}`, `{"A":{"severity":1}}`},
		"prometheusRule.extraRules":                      things,
		"dashboard":                                      {text, `{"folder":"a"}`},
		"dashboard.enabled":                              {text, number},
		"dashboard.namespace":                            name,
		"dashboard.labels":                               strung,
		"dashboard.labels.grafana_dashboard":             {number, boolean},
		"dashboard.annotations":                          strung,
		"networkPolicy":                                  {text, `{"ingress":[]}`},
		"networkPolicy.enabled":                          {text, number},
		"networkPolicy.metricsFrom":                      things,
		"networkPolicy.apiServerPorts":                   {text, `[]`, `[0]`, `[65536]`, `["443"]`, `[443,443]`},
		"networkPolicy.extraEgress":                      things,
		"health":                                         {text, `{"path":"/h"}`},
		"health.port":                                    {`80`, `65536`, text},
		"startupProbe":                                   objects,
		"startupProbe.periodSeconds":                     {text, boolean},
		"startupProbe.failureThreshold":                  {text, boolean},
		"livenessProbe":                                  objects,
		"livenessProbe.periodSeconds":                    {text, boolean},
		"livenessProbe.timeoutSeconds":                   {text, boolean},
		"livenessProbe.failureThreshold":                 {text, boolean},
		"readinessProbe":                                 objects,
		"readinessProbe.periodSeconds":                   {text, boolean},
		"readinessProbe.timeoutSeconds":                  {text, boolean},
		"readinessProbe.failureThreshold":                {text, boolean},
		"extraArgs":                                      {text, `["log-level=debug"]`, `["-v"]`, `["--a","--a"]`, `[1]`},
		"extraEnv":                                       named,
		"extraVolumes":                                   named,
		"extraVolumeMounts":                              append(named, `[{"name":"a","mountPath":""}]`, `[{"name":"a","mountPath":1}]`),
		"extraContainers":                                named,
		"extraInitContainers":                            named,
		"extraObjects":                                   {text, `[1]`},
		"serviceAccount":                                 {text, `{"automount":true}`},
		"serviceAccount.create":                          {text, number},
		"serviceAccount.name":                            {`"A"`, `"a_b"`, `"` + long(254) + `"`, number},
		"serviceAccount.annotations":                     strung,
		"serviceAccount.labels":                          strung,
		"automountServiceAccountToken":                   {text, number},
		"rbac":                                           {text, `{"enabled":true}`},
		"rbac.create":                                    {text, number},
		"rbac.extraRules":                                things,
		"admissionPolicy":                                {text, `{"create":true}`},
		"admissionPolicy.enabled":                        {text, number},
		"admissionPolicy.action":                         {`"deny"`, `""`, `["Deny"]`, number},
		"admissionPolicy.exemptUsers":                    {text, `[""]`, `["a","a"]`, `["a'b"]`, `[1]`},
		"podDisruptionBudget":                            {text, `{"a":1}`},
		"podDisruptionBudget.enabled":                    {text, number},
		"podDisruptionBudget.minAvailable":               {`-1`, `"1"`, `"101%"`, `1.5`, boolean},
		"podDisruptionBudget.maxUnavailable":             {`-1`, `"1"`, `"101%"`, `1.5`, boolean},
		"podDisruptionBudget.unhealthyPodEvictionPolicy": {`"Always"`, number},
		"updateStrategy":                                 objects,
		"revisionHistoryLimit":                           {`-1`, `1.5`, text},
		"terminationGracePeriodSeconds":                  {`0`, `1.5`, text},
		"deploymentLabels":                               strung,
		"deploymentAnnotations":                          strung,
		"podLabels":                                      strung,
		"podAnnotations":                                 strung,
		"podSecurityContext":                             objects,
		"securityContext":                                objects,
		"resources":                                      objects,
		"dnsConfig":                                      objects,
		"dnsPolicy":                                      {`"none"`, number},
		"hostUsers":                                      {text, number},
		"runtimeClassName":                               {`"A"`, `"a_b"`, number},
		"schedulerName":                                  texts,
		"priorityClassName":                              texts,
		"nodeSelector":                                   strung,
		"nodeSelector.kubernetes\\.io/os":                {number},
		"tolerations":                                    things,
		"podAntiAffinity":                                {`"weak"`, `""`, `{}`},
		"affinity":                                       objects,
		"topologySpreadConstraints": {text, `["a"]`, `[{"maxSkew":0}]`, `[{"maxSkew":"a"}]`, `[{"topologyKey":""}]`, `[{"topologyKey":1}]`,
			`[{"whenUnsatisfiable":"Maybe"}]`, `[{"labelselector":{}}]`, `[{"labelSelector":"a"}]`, `[{"minDomains":"a"}]`, `[{"matchLabelKeys":[1]}]`,
			`[{"matchLabelKeys":"a"}]`, `[{"nodeAffinityPolicy":1}]`, `[{"nodeTaintsPolicy":1}]`},
		"tests":                  {text, `{"pods":1}`},
		"tests.enabled":          {text, number},
		"tests.image":            {text, `{"digest":"a"}`},
		"tests.image.repository": {`""`, number},
		"tests.image.tag":        {`"a b"`, `""`, `1.5`},
		"tests.image.pullPolicy": {`"always"`, number},
	}
}

func long(n int) string { return strings.Repeat("a", n) }

// unknown are values that the chart does not have.
func unknown() map[string][]string {
	cases := map[string][]string{}
	for _, path := range []string{"replicas", "image.name", "metrics.service.type", "podDisruptionBudget.minimum"} {
		cases[path] = []string{`1`}
	}
	return cases
}

// removed are values that must not be taken away, as null does.
func removed(t *testing.T) map[string][]string {
	t.Helper()
	cases := map[string][]string{}
	add := func(path string, p property) {
		for _, name := range p.Required {
			cases[strings.TrimPrefix(path+"."+name, ".")] = []string{"null"}
		}
	}
	root := schema(t)
	add("", root)
	walk(root, "", add)
	return cases
}

// batches packs values into few renderings, since Helm lists all that the schema refuses. Those of one path, or of a path
// and one below it, exclude each other.
func batches(cases map[string][]string) []map[string]string {
	var packed []map[string]string
	for _, path := range slices.Sorted(maps.Keys(cases)) {
		for _, value := range cases[path] {
			i := slices.IndexFunc(packed, func(batch map[string]string) bool {
				for other := range batch {
					if strings.HasPrefix(path+".", other+".") || strings.HasPrefix(other+".", path+".") {
						return false
					}
				}
				return true
			})
			if i < 0 {
				i = len(packed)
				packed = append(packed, map[string]string{})
			}
			packed[i][path] = value
		}
	}
	return packed
}

// violation is one line of Helm's: the JSON pointer of a value, and what is wrong with it.
type violation struct{ pointer, message string }

// names tells whether it is about a value, or about something below or missing there.
func (v violation) names(path string) bool {
	pointer := ""
	for _, token := range strings.Split(strings.ReplaceAll(path, `\.`, "\x00"), ".") {
		token = strings.ReplaceAll(token, "\x00", ".")
		if v.pointer == pointer && strings.Contains(v.message, "'"+token+"'") {
			return true
		}
		pointer += "/" + strings.ReplaceAll(token, "/", "~1")
	}
	return v.pointer == pointer || strings.HasPrefix(v.pointer, pointer+"/")
}

// schemaViolations renders values that the schema must refuse, each of them, and returns what Helm says.
func schemaViolations(t *testing.T, cases map[string][]string) []violation {
	t.Helper()
	line := regexp.MustCompile(`at '([^']*)': (.*)`)
	var found []violation
	for _, batch := range batches(cases) {
		message := refuse(t, values{set: batch})
		require.Contains(t, message, "values don't meet the specifications of the schema")
		var here []violation
		for _, match := range line.FindAllStringSubmatch(message, -1) {
			here = append(here, violation{match[1], match[2]})
		}
		for path, value := range batch {
			assert.True(t, slices.ContainsFunc(here, func(v violation) bool { return v.names(path) }), "%s=%s was accepted:\n%s", path, value, message)
		}
		found = append(found, here...)
	}
	return found
}

// Every constraint of the schema refuses something, so that none is there in vain.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	tree := schemaTree(t)
	seen := map[string]bool{}
	for _, cases := range []map[string][]string{refused(), unknown(), removed(t)} {
		for _, v := range schemaViolations(t, cases) {
			place := normal(tree, v.pointer)
			for _, name := range violated(v.message) {
				seen[strings.TrimSpace(place+" "+name)] = true
			}
		}
	}
	constraints := map[string]bool{}
	collect(tree, "", constraints)
	assert.Greater(t, len(constraints), 200)
	for constraint := range constraints {
		assert.True(t, seen[constraint], "nothing is refused because of: %s", constraint)
	}
}

// violated are the keywords of the schema that a message is about; for required with the names that are missing.
func violated(message string) []string {
	quoted := regexp.MustCompile(`'([^']*)'`)
	for _, keyword := range []struct{ name, pattern string }{
		{"required", `^missing propert`}, {"additionalProperties", `^additional propert`}, {"enum", `^value must be`},
		{"pattern", `does not match pattern`}, {"uniqueItems", `^items at .* are equal`}, {"type", `^got .*, want `},
		{"$0", `^(minimum|maximum|minLength|maxLength|minItems|maxItems): `},
	} {
		match := regexp.MustCompile(keyword.pattern).FindStringSubmatch(message)
		switch {
		case match == nil:
		case keyword.name == "$0":
			return []string{match[1]}
		case keyword.name == "required":
			var names []string
			for _, name := range quoted.FindAllStringSubmatch(message, -1) {
				names = append(names, "required "+name[1])
			}
			return names
		default:
			return []string{keyword.name}
		}
	}
	return nil
}

func schemaTree(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	require.NoError(t, err)
	var root map[string]any
	require.NoError(t, json.Unmarshal(content, &root))
	return root
}

// below lists what a schema says of what is in a value: of its properties by name, of others and of items as *.
func below(node map[string]any) map[string]map[string]any {
	children := map[string]map[string]any{}
	properties, _ := node["properties"].(map[string]any)
	for name, child := range properties {
		children[name] = child.(map[string]any)
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if child, ok := node[key].(map[string]any); ok {
			children["*"] = child
		}
	}
	return children
}

// parts are a schema and those that it is made of.
func parts(node map[string]any) []map[string]any {
	list := []map[string]any{node}
	all, _ := node["allOf"].([]any)
	for _, part := range all {
		list = append(list, parts(part.(map[string]any))...)
	}
	return list
}

// collect lists a schema's constraints by the path where they hold.
func collect(node map[string]any, path string, found map[string]bool) {
	for _, part := range parts(node) {
		for _, keyword := range []string{"type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"} {
			if _, ok := part[keyword]; ok && path != "" {
				found[path+" "+keyword] = true
			}
		}
		if part["additionalProperties"] == false {
			found[strings.TrimSpace(path+" additionalProperties")] = true
		}
		required, _ := part["required"].([]any)
		for _, name := range required {
			found[strings.TrimSpace(path+" required "+name.(string))] = true
		}
		for name, child := range below(part) {
			collect(child, path+"/"+strings.ReplaceAll(name, "/", "~1"), found)
		}
	}
}

// normal replaces what the schema does not name in a pointer by *.
func normal(node map[string]any, pointer string) string {
	if pointer == "" {
		return ""
	}
	token, rest, more := strings.Cut(pointer[1:], "/")
	if more {
		rest = "/" + rest
	}
	for _, name := range []string{token, "*"} {
		for _, part := range parts(node) {
			if child, ok := below(part)[strings.ReplaceAll(name, "~1", "/")]; ok {
				return "/" + name + normal(child, rest)
			}
		}
	}
	return pointer
}

// property is the part of JSON schema that the chart's schema is made of.
type property struct {
	Description          string              `json:"description"`
	Type                 any                 `json:"type"`
	Required             []string            `json:"required"`
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
		passedThrough := nested && (strings.HasSuffix(parent, "Probe") || parent == "nodeSelector" || parent == "dashboard")
		if len(p.Properties) == 0 && !passedThrough {
			assert.NotEmpty(t, p.Description, "%s has no comment that starts with # --", path)
		}
	})
}

// An object either says what may be in it, or is handed on to Kubernetes, which knows.
func TestObjectsAreClosed(t *testing.T) {
	open := []string{"global", "serviceMonitor.tlsConfig", "serviceMonitor.authorization", "dnsConfig", "startupProbe", "livenessProbe", "readinessProbe", "updateStrategy", "podSecurityContext", "securityContext",
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

// Helm takes a value away when it is set to null. What is left renders, with everything else switched on. What must not go
// is refused by name: see removed.
func TestEveryValueCanBeTakenAway(t *testing.T) {
	kept := removed(t)
	kept["namespaces"] = nil // the scope says that there are some
	walk(schema(t), "", func(path string, _ property) {
		if _, found := kept[path]; found {
			return
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			assert.NotEmpty(t, renderAll(t, everything(path, "null")))
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
