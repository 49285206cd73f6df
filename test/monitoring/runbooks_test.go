package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// commands are the blocks of a page that can be run as they are.
func commands(page string) []string {
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// pages are the runbooks by the alert's name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(runbooks + "/*.md")
	require.NoError(t, err)
	found := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		found[strings.TrimSuffix(filepath.Base(file), ".md")] = string(content)
	}
	return found
}

func TestEachAlertHasItsRunbookAndEachRunbookItsAlert(t *testing.T) {
	t.Parallel()
	found, names := pages(t), []string{}
	for _, r := range alerts(t)[0].Rules {
		names = append(names, r.Alert)
		assert.True(t, strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbooks/"+r.Alert+".md"), r.Annotations["runbook_url"])
	}
	for name, page := range found {
		assert.Contains(t, names, name, "a page of no alert")
		for _, part := range []string{"# " + name + "\n", "**What it means.**", "**How urgent.**", "## See it", "## Causes", "## Silence", "alertname=" + name} {
			assert.Contains(t, page, part, name)
		}
		assert.NotEmpty(t, commands(page), name)
		for _, link := range regexp.MustCompile(`\]\((\w+)\.md\)`).FindAllStringSubmatch(page, -1) {
			assert.Contains(t, found, link[1], "%s links to a page that is not there", name)
		}
	}
	assert.Len(t, found, len(names))
}

// What a page says of Events, annotations and reasons is what the controller says.
func TestRunbooksSpeakOfWhatThereIs(t *testing.T) {
	t.Parallel()
	var source strings.Builder
	files, err := filepath.Glob(root + "/src/*/*.go")
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(content)
	}
	values, err := os.ReadFile(chartDir + "/values.yaml")
	require.NoError(t, err)
	for name, page := range pages(t) {
		for _, event := range regexp.MustCompile("Events? `([A-Z]\\w+)`(?:, `([A-Z]\\w+)`)?").FindAllStringSubmatch(page, -1) {
			for _, reason := range event[1:] {
				assert.Contains(t, source.String(), `"`+reason+`"`, name)
			}
		}
		for _, reason := range regexp.MustCompile("`([a-z]+_[a-z_]+)`").FindAllStringSubmatch(page, -1) {
			if !strings.HasPrefix(reason[1], "exported_") && !strings.HasPrefix(reason[1], "apiserver_") {
				assert.Contains(t, source.String(), `"`+reason[1]+`"`, name)
			}
		}
		for _, key := range regexp.MustCompile("`(replicaCount|concurrentReconciles|podAntiAffinity|serviceMonitor|prometheusRule|networkPolicy|leaderElection|kubeAPI|metrics|rbac)((?:\\.[a-zA-Z]+)*)").FindAllStringSubmatch(page, -1) {
			last := key[0][strings.LastIndexAny(key[0], ".`")+1:]
			if key[1] != "prometheusRule" || !strings.HasPrefix(key[2], ".alerts") {
				assert.Regexp(t, `(?m)^ *`+last+`:`, string(values), "%s: no value %s", name, key[0])
			}
		}
	}
}
