package chart

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Datasource  struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	GridPos struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []struct {
		RefID string `json:"refId"`
		Expr  string `json:"expr"`
	} `json:"targets"`
	Panels []panel `json:"panels"`
}

func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	config := one[*corev1.ConfigMap](t, render(t, set("dashboard.enabled", "true")))
	assert.Equal(t, "1", config.Labels["grafana_dashboard"])
	require.Len(t, config.Data, 1)
	decoder := json.NewDecoder(strings.NewReader(config.Data["zen-lead.json"]))
	var d dashboard
	require.NoError(t, decoder.Decode(&d))
	require.False(t, decoder.More(), "there is something behind the JSON")
	return d
}

func TestDashboardPanelsExplainThemselves(t *testing.T) {
	t.Parallel()
	d := loadDashboard(t)
	assert.NotEmpty(t, d.UID)
	assert.NotEmpty(t, d.Title)
	assert.Greater(t, len(d.Panels), 10)
	ids, titles := map[int]bool{}, map[string]bool{}
	for _, p := range d.Panels {
		assert.NotEmpty(t, p.Title)
		assert.False(t, ids[p.ID], "panel %s has the ID of another", p.Title)
		assert.False(t, titles[p.Title], "there are two panels %s", p.Title)
		ids[p.ID], titles[p.Title] = true, true
		assert.Empty(t, p.Panels, "panels within %s would go unchecked", p.Title)
		if p.Type == "row" {
			continue
		}
		assert.Regexp(t, `\.$`, p.Description, "panel %s does not say what it shows", p.Title)
		assert.NotEmpty(t, p.Targets, p.Title)
	}
}

func TestDashboardPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	const width = 24
	taken := map[[2]int]string{}
	for _, p := range loadDashboard(t).Panels {
		assert.Positive(t, p.GridPos.W*p.GridPos.H, p.Title)
		assert.GreaterOrEqual(t, min(p.GridPos.X, p.GridPos.Y), 0, p.Title)
		assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, width, p.Title)
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies on another panel", p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	t.Parallel()
	d := loadDashboard(t)
	variables := map[string]bool{}
	for _, variable := range d.Templating.List {
		variables[variable.Name] = true
		query, ok := variable.Query.(map[string]any)
		if variable.Type != "query" {
			continue
		}
		require.True(t, ok, variable.Name)
		selector, found := strings.CutPrefix(query["query"].(string), "label_values(")
		require.True(t, found, variable.Name)
		selector, _, _ = strings.Cut(selector, "{")
		selector, _, _ = strings.Cut(selector, ",")
		assertMetricsExist(t, selector)
	}
	for _, p := range d.Panels {
		refs := map[string]bool{}
		for _, target := range p.Targets {
			assertMetricsExist(t, target.Expr)
			assert.Contains(t, target.Expr, `{job=~"$job"`, "%s mixes installations", p.Title)
			assert.False(t, refs[target.RefID], "%s has two queries %s", p.Title, target.RefID)
			refs[target.RefID] = true
			assert.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		}
	}
	assert.Equal(t, map[string]bool{"datasource": true, "job": true, "namespace": true, "service": true}, variables)
}
