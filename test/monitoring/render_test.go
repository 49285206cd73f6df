// Package monitoring runs what the chart gives to those who watch zen-lead: its alerts through promtool, and the queries of
// its dashboard through a Prometheus that scrapes the controller while leaders fail over.
package monitoring

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const (
	root     = "../.."
	chartDir = root + "/charts/zen-lead"
	runbooks = root + "/docs/runbooks"
)

// rule is an alert as Prometheus reads it.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// group is what a PrometheusRule holds, and what a rules file of Prometheus holds.
type group struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

// tool is a program that the Makefile builds.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, "bin", name))
	require.NoError(t, err)
	require.FileExists(t, path, "run make bin/%s first", name)
	return path
}

// template is what one template of the chart gives.
func template(t *testing.T, name string, values ...string) []byte {
	t.Helper()
	args := []string{"template", "zen-lead", chartDir, "--namespace", "zen-lead-system", "--show-only", "templates/" + name}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	command := exec.CommandContext(t.Context(), tool(t, "helm"), args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	rendered, err := command.Output()
	require.NoError(t, err, stderr.String())
	return rendered
}

// rules are those of the role that a template begins with.
func rules(t *testing.T, name string) []rbacv1.PolicyRule {
	t.Helper()
	var role rbacv1.Role
	require.NoError(t, yaml.Unmarshal(template(t, name), &role))
	require.Equal(t, "Role", role.Kind)
	require.NotEmpty(t, role.Rules)
	return role.Rules
}

// alerts are those of the chart with its default values.
func alerts(t *testing.T, values ...string) []group {
	t.Helper()
	rendered := template(t, "prometheusrule.yaml", append(values, "prometheusRule.enabled=true")...)
	var object struct {
		Spec struct {
			Groups []group `json:"groups"`
		} `json:"spec"`
	}
	require.NoError(t, yaml.Unmarshal(rendered, &object))
	require.NotEmpty(t, object.Spec.Groups)
	return object.Spec.Groups
}

// writeRules writes the alerts as a rules file of Prometheus and returns its path.
func writeRules(t *testing.T, dir string, groups []group) string {
	t.Helper()
	content, err := yaml.Marshal(map[string]any{"groups": groups})
	require.NoError(t, err)
	path := filepath.Join(dir, "rules.yaml")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}
