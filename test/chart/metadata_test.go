package chart

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

type chartFile struct {
	Version     string            `json:"version"`
	AppVersion  string            `json:"appVersion"`
	KubeVersion string            `json:"kubeVersion"`
	Annotations map[string]string `json:"annotations"`
}

func chart(t *testing.T) chartFile {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(chartDir, "Chart.yaml"))
	require.NoError(t, err)
	var c chartFile
	require.NoError(t, yaml.Unmarshal(content, &c))
	return c
}

func TestVersionsAgree(t *testing.T) {
	c := chart(t)
	changelog, err := os.ReadFile("../../CHANGELOG.md")
	require.NoError(t, err)
	assert.Contains(t, string(changelog), "\n## ["+c.Version+"]", "the changelog does not know the chart's version")
	assert.Equal(t, c.Version, c.AppVersion, "chart and controller share one number")
	assert.Contains(t, c.Annotations["artifacthub.io/images"], "zen-lead:"+c.AppVersion+"\n")
	// The suffix admits the versions of managed clusters, which count as pre-releases.
	assert.Equal(t, ">=1.24.0-0", c.KubeVersion)
}

func TestAnnotationsThatHoldYAMLAreYAML(t *testing.T) {
	for _, key := range []string{"links", "images", "changes"} {
		var list []map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(chart(t).Annotations["artifacthub.io/"+key]), &list), key)
		assert.NotEmpty(t, list, key)
	}
}
