// Package picture draws a Grafana dashboard as an SVG, from the results of its queries. It is no Grafana: it knows the
// kinds of panels that zen-lead's dashboard has.
package picture

import (
	"encoding/json"
	"fmt"
	"os"
)

// Dashboard is what of a dashboard's JSON matters here.
type Dashboard struct {
	Title      string  `json:"title"`
	Panels     []Panel `json:"panels"`
	Templating struct {
		List []Variable `json:"list"`
	} `json:"templating"`
}

// Variable is a choice at the dashboard's head.
type Variable struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Definition string `json:"definition"`
}

// Panel is one panel.
type Panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	Grid    Grid   `json:"gridPos"`
	Field   Fields `json:"fieldConfig"`
	Targets []struct {
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
	Transformations []struct {
		Options struct {
			Rename map[string]string `json:"renameByName"`
		} `json:"options"`
	} `json:"transformations"`
}

// Grid is a panel's place, in the dashboard's 24 columns.
type Grid struct {
	X, Y, W, H int
}

// Fields say how values are shown.
type Fields struct {
	Defaults struct {
		Unit       string `json:"unit"`
		Thresholds struct {
			Steps []struct {
				Color string   `json:"color"`
				Value *float64 `json:"value"`
			} `json:"steps"`
		} `json:"thresholds"`
	} `json:"defaults"`
	Overrides []struct {
		Properties []struct {
			ID    string `json:"id"`
			Value any    `json:"value"`
		} `json:"properties"`
	} `json:"overrides"`
}

// Series is one series of a query's result.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time, in Unix seconds.
type Point struct {
	At, Value float64
}

// Read reads a dashboard.
func Read(path string) (*Dashboard, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read the dashboard: %w", err)
	}
	d := &Dashboard{}
	if err := json.Unmarshal(content, d); err != nil {
		return nil, fmt.Errorf("failed to parse %s: %w", path, err)
	}
	return d, nil
}

// Panel is the panel of that title; an empty one if there is none.
func (d *Dashboard) Panel(title string) Panel {
	for _, panel := range d.Panels {
		if panel.Title == title {
			return panel
		}
	}
	return Panel{}
}
