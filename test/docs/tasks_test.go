package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/docs/page"
)

// section is what can be copied from a page under a heading.
func section(t *testing.T, path, heading string) string {
	t.Helper()
	all, err := page.All()
	require.NoError(t, err)
	for _, p := range all {
		if p.Path != path {
			continue
		}
		from, to, title := 0, 0, regexp.MustCompile("^#{1,3} [A-Z]|^# zen-lead$")
		for i, line := range strings.Split(p.Text+"\n# End", "\n") {
			switch {
			case from == 0 && regexp.MustCompile("^#+ "+regexp.QuoteMeta(heading)+"$").MatchString(line):
				from = i + 1
			case from > 0 && to == 0 && title.MatchString(line):
				to = i + 1
			}
		}
		require.NotZero(t, from, "%s has no heading %s", path, heading)
		var script strings.Builder
		for _, b := range commands(p) {
			if b.Line > from && b.Line < to && b.runs(path) {
				script.WriteString(b.Text)
			}
		}
		require.NotEmpty(t, script.String(), "%s, %s: nothing to copy", path, heading)
		return script.String()
	}
	t.Fatalf("there is no page %s", path)
	return ""
}

// A reader who was given only the pages does six things on a fresh cluster by copying commands.
func TestSixTasks(t *testing.T) {
	s := newTerminal(t)
	s.uninstalled()
	s.run(section(t, "README.md", "zen-lead")) // 1 install, 2 opt in

	found := s.run(section(t, "README.md", "Opt in, and see the leader")) // 3 find the leader
	assert.Regexp(t, `(?m)^my-app-leader +my-app-\S+ +true +\S+Z +1$`, found)
	assert.Contains(t, found, "LeaderElected")

	s.run(section(t, "README.md", "Tune")) // 4 tune flap damping: a pod that has just become Ready has to wait
	s.run("kubectl rollout restart deployment/my-app && kubectl rollout status deployment/my-app --timeout 2m")
	s.eventually(`kubectl get events --field-selector reason=NoLeader --output custom-columns=M:.message | grep -q "not Ready for long enough"`)
	s.led("my-app-leader")

	gone := s.run(section(t, "docs/troubleshooting.md", "Rehearse it")) // 5 diagnose a leaderless Service
	assert.Contains(t, gone, "Service my-app-leader has no endpoint: ")
	assert.Contains(t, gone, "its selector matches no pod")
	assert.Regexp(t, `(?m)^my-app-leader-ipv4 +<none>$`, gone)
	s.eventually(`kubectl get events --field-selector reason=LeaderElected --output custom-columns=M:.message | grep -q "after a time without a leader"`)

	s.run(section(t, "README.md", "Opt out, uninstall")) // 6 remove it
	left := s.run(`kubectl get services,endpointslices,deployments --ignore-not-found --output name
		kubectl get deployments,roles,serviceaccounts --namespace zen-lead-system --selector app.kubernetes.io/name=zen-lead --output name
		kubectl get clusterroles,clusterrolebindings --selector app.kubernetes.io/name=zen-lead --output name`)
	assert.Empty(t, strings.TrimSpace(left))
}
