package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/monitoring/picture"
)

// pictured is how long the scene of a picture goes on.
const pictured = 2 * time.Minute

// draw goes on with the scene and writes the picture of the dashboard as it then is.
func draw(t *testing.T, s *scene, dashboard *picture.Dashboard, began time.Time, file string) {
	t.Helper()
	for moves := 0; time.Since(began) < pictured; moves++ {
		s.flap(2)
		s.SetReady("cache-0", moves%2 == 0)
		if moves%3 == 0 {
			s.drift()
		}
		pause(t, time.Duration(4+moves%3*3)*time.Second)
	}
	results, _ := ask(t, s, dashboard, began)
	caption := fmt.Sprintf("Drawn from the real results of the dashboard's queries, %s after the start of a scene with two controllers on a test API server; not a screenshot of Grafana.",
		time.Since(began).Round(time.Second))
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(picture.Draw(dashboard, results, caption)), 0o644))
}

// pause lets the scene stand for a while.
func pause(t *testing.T, while time.Duration) {
	t.Helper()
	select {
	case <-time.After(while):
	case <-t.Context().Done():
	}
}

// ask runs every query: graphs over the time of the scene, the rest for now. It tells how many series came.
func ask(t *testing.T, s *scene, dashboard *picture.Dashboard, began time.Time) (results map[int][][]picture.Series, series int) {
	t.Helper()
	results = map[int][][]picture.Series{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			var found []picture.Series
			var err error
			if panel.Type == "timeseries" {
				found, err = s.queryRange(quick(target.Expr), began)
			} else {
				found, err = s.query(quick(target.Expr))
			}
			require.NoError(t, err, panel.Title)
			results[panel.ID] = append(results[panel.ID], found)
			series += len(found)
		}
	}
	return results, series
}

// testPicture: each panel's title is in it, and it is not empty.
func testPicture(t *testing.T, s *scene, dashboard *picture.Dashboard, began time.Time) {
	results, series := ask(t, s, dashboard, began)
	svg := picture.Draw(dashboard, results, "caption")
	assert.Greater(t, series, 40)
	assert.Contains(t, svg, "caption")
	assert.Contains(t, svg, "leader_not_ready")
	assert.Contains(t, svg, "never")
	assert.NotContains(t, svg, "NaN")
	assert.NotContains(t, svg, "no data")
}
