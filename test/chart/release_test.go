package chart

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// releaseStep is a step of ci/release.sh, with these variables set.
func releaseStep(t *testing.T, step string, env ...string) (string, error) {
	t.Helper()
	s := newShell(t)
	s.env = append(s.env, env...)
	return s.try("../../ci/release.sh", step)
}

func TestReleaseIsOfTheTagThatTheChartSays(t *testing.T) {
	t.Parallel()
	for tag, says := range map[string]string{"v9.9.9": "they must agree", chart(t).Version: "they must agree", "": "RELEASE_TAG is empty"} {
		out, err := releaseStep(t, "check", "RELEASE_TAG="+tag)
		require.Error(t, err, tag)
		assert.Contains(t, out, says, tag)
	}
	// Whether it is ready depends on whether entries wait for the next version.
	out, err := releaseStep(t, "check", "RELEASE_TAG=v"+chart(t).Version)
	if len(changelog(t, "Unreleased")) > 0 {
		require.Error(t, err)
		assert.Contains(t, out, "still has entries under Unreleased")
	} else {
		require.NoError(t, err, out)
	}
}

func TestReleaseIndexListsTheChartsSoFar(t *testing.T) {
	t.Parallel()
	const old = "apiVersion: v1\nentries:\n  zen-lead:\n    - {name: zen-lead, version: 0.0.1, apiVersion: v2, urls: [https://example.com/v0.0.1/zen-lead-0.0.1.tgz]}\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/charts/index.yaml" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(old))
	}))
	defer server.Close()
	dir, _ := repository(t)
	out, err := releaseStep(t, "index", "RELEASE_DIR="+dir, "CHART_INDEX_URL="+server.URL+"/charts")
	require.NoError(t, err, out)
	content, err := os.ReadFile(filepath.Join(dir, "pages", "index.yaml"))
	require.NoError(t, err)
	var index struct {
		Entries map[string][]struct {
			Version string   `json:"version"`
			URLs    []string `json:"urls"`
		} `json:"entries"`
	}
	require.NoError(t, yaml.Unmarshal(content, &index))
	urls := map[string]string{}
	for _, entry := range index.Entries["zen-lead"] {
		urls[entry.Version] = entry.URLs[0]
	}
	version := chart(t).Version
	assert.Equal(t, map[string]string{
		"0.0.1": "https://example.com/v0.0.1/zen-lead-0.0.1.tgz",
		version: "https://github.com/kube-zen/zen-lead/releases/download/v" + version + "/" + archive(t),
	}, urls)

	// An index that cannot be had must not be replaced by one without the charts so far.
	out, err = releaseStep(t, "index", "RELEASE_DIR="+dir, "CHART_INDEX_URL="+server.URL+"/elsewhere")
	require.Error(t, err)
	assert.Contains(t, out, "must not get lost")
}
