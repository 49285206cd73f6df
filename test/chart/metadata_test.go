package chart

import (
	"encoding/base64"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

type chartFile struct {
	Version     string            `json:"version"`
	AppVersion  string            `json:"appVersion"`
	KubeVersion string            `json:"kubeVersion"`
	Icon        string            `json:"icon"`
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

// list is an annotation that holds a YAML list.
func (c chartFile) list(t *testing.T, key string, list any) {
	t.Helper()
	require.NoError(t, yaml.UnmarshalStrict([]byte(c.Annotations["artifacthub.io/"+key]), list), key)
}

func TestVersionsAgree(t *testing.T) {
	c := chart(t)
	assert.Equal(t, c.Version, c.AppVersion, "chart and controller share one number")
	assert.Equal(t, container(t, render(t, values{})).Image, images(t)["zen-lead"])
	assert.Equal(t, one[*corev1.Pod](t, renderAll(t, values{}).hooks()).Spec.Containers[0].Image, images(t)["agnhost"])
	assert.Len(t, images(t), 2)
	// The suffix admits the versions of managed clusters, which count as pre-releases.
	assert.Equal(t, ">=1.24.0-0", c.KubeVersion)
	prerelease := "false"
	if strings.Contains(c.Version, "-") {
		prerelease = "true"
	}
	assert.Equal(t, prerelease, c.Annotations["artifacthub.io/prerelease"])
}

// Artifact Hub takes an icon of this form; others show whatever a browser can.
func TestIconIsTheFileOfTheChart(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chartDir, "icon.svg"))
	require.NoError(t, err)
	assert.Equal(t, "data:image/svg+xml;base64,"+base64.StdEncoding.EncodeToString(content), chart(t).Icon, "the icon of Chart.yaml is that of icon.svg")
	var svg struct {
		XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		ViewBox string   `xml:"viewBox,attr"`
	}
	require.NoError(t, xml.Unmarshal(content, &svg))
	assert.Equal(t, "0 0 64 64", svg.ViewBox, "a square")
}

// images are those that the chart says it uses.
func images(t *testing.T) map[string]string {
	t.Helper()
	var list []struct {
		Name      string   `json:"name"`
		Image     string   `json:"image"`
		Platforms []string `json:"platforms"`
	}
	chart(t).list(t, "images", &list)
	byName := map[string]string{}
	for _, image := range list {
		byName[image.Name] = image.Image
	}
	return byName
}

type change struct {
	Kind        string `json:"kind"`
	Description string `json:"description"`
}

// changelog are the entries of a version's section.
func changelog(t *testing.T, version string) []change {
	t.Helper()
	content, err := os.ReadFile("../../CHANGELOG.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(content), "\n## ["+version+"]")
	require.True(t, found, "the changelog does not know version %s", version)
	section, _, _ = strings.Cut(section, "\n## [")
	section, _, _ = strings.Cut(section, "\n[")
	var list []change
	for _, part := range strings.Split(section, "\n### ")[1:] {
		kind, text, _ := strings.Cut(part, "\n")
		for _, entry := range strings.Split("\n"+text, "\n- ")[1:] {
			list = append(list, change{strings.ToLower(kind), strings.Join(strings.Fields(entry), " ")})
		}
	}
	return list
}

func TestChangesAreThoseOfTheChangelog(t *testing.T) {
	c := chart(t)
	var changes []change
	c.list(t, "changes", &changes)
	assert.Equal(t, changelog(t, c.Version), changes)
	assert.NotEmpty(t, changes)
	security := "false"
	for _, entry := range changes {
		assert.Contains(t, []string{"added", "changed", "deprecated", "removed", "fixed", "security"}, entry.Kind)
		if entry.Kind == "security" {
			security = "true"
		}
	}
	assert.Equal(t, security, c.Annotations["artifacthub.io/containsSecurityUpdates"])
}

func TestLinksLeadIntoTheRepository(t *testing.T) {
	var links []struct{ Name, URL string }
	chart(t).list(t, "links", &links)
	require.NotEmpty(t, links)
	file := regexp.MustCompile(`/(blob|tree)/main/(.*)$`)
	for _, link := range links {
		assert.NotEmpty(t, link.Name)
		if match := file.FindStringSubmatch(link.URL); match != nil {
			assert.FileExists(t, filepath.Join("../..", match[2]))
		}
	}
}
