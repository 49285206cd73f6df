package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/docs/page"
)

// fresh are the pages whose commands begin with nothing installed. The others begin with zen-lead serving every
// namespace, and with examples/basic.
func fresh(path string) bool { return path == "README.md" }

// runsElsewhere are pages whose commands are read only: test/chart makes repositories and installs from them.
func runsElsewhere(path string) bool { return path == "charts/zen-lead/README.md" }

// block is a block of commands, with the output that the page shows after it.
type block struct {
	page.Block
	shows string
}

// commands are the blocks that can be copied.
func commands(p page.Page) []block {
	var blocks []block
	for i, b := range p.Blocks {
		if b.Language != "sh" {
			continue
		}
		c := block{Block: b}
		if i+1 < len(p.Blocks) && p.Blocks[i+1].Language == "text" && b.Line+strings.Count(b.Text, "\n")+4 >= p.Blocks[i+1].Line {
			c.shows = p.Blocks[i+1].Text
		}
		blocks = append(blocks, c)
	}
	return blocks
}

// callsMake tells whether a block only calls make: those targets have tests of their own.
func (b block) callsMake() bool {
	return !regexp.MustCompile(`(?m)^(?:[^m#\n]|m[^a])`).MatchString(b.Text)
}

func (b block) runs(path string) bool {
	return b.NotRun == "" && !b.callsMake() && !runsElsewhere(path)
}

// Each page's commands are run, in order and in one shell, as its reader would; and what the page shows comes out.
func TestCommands(t *testing.T) {
	all, err := page.All()
	require.NoError(t, err)
	slices.SortStableFunc(all, func(a, b page.Page) int { // what wants a fresh cluster comes first
		return boolOrder(fresh(b.Path), fresh(a.Path))
	})
	var runbooks *terminal // they only look, and so share one
	for _, p := range all {
		var script strings.Builder
		blocks := commands(p)
		for i, b := range blocks {
			if b.runs(p.Path) {
				fmt.Fprintf(&script, "printf '\\n@@@ %d\\n'\n%s", i, b.Text)
			}
		}
		if script.Len() == 0 {
			continue
		}
		t.Run(p.Path, func(t *testing.T) {
			s := runbooks
			if s == nil || !strings.HasPrefix(p.Path, "docs/runbooks/") {
				s = newTerminal(t)
				s.prepare(fresh(p.Path))
			}
			if strings.HasPrefix(p.Path, "docs/runbooks/") {
				runbooks = s
			}
			s.T = t
			output := s.run("exec 2>&1\n" + script.String())
			if testing.Verbose() {
				t.Log(output)
			}
			checkShown(t, p.Path, blocks, output)
		})
	}
}

func (s *terminal) prepare(fresh bool) {
	s.Helper()
	if fresh {
		s.uninstalled()
		return
	}
	s.installed()
	s.run("kubectl apply --filename examples/basic/my-app.yaml && kubectl rollout status deployment/my-app --timeout 1m")
	s.led("my-app-leader")
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// checkShown compares what the page shows after a block with what the block printed.
func checkShown(t *testing.T, path string, blocks []block, output string) {
	t.Helper()
	printed := map[string]string{}
	for _, part := range strings.Split(output, "\n@@@ ")[1:] {
		number, text, _ := strings.Cut(part, "\n")
		printed[number] = text
	}
	for i, b := range blocks {
		var lines []string
		for line := range strings.SplitSeq(printed[fmt.Sprint(i)], "\n") {
			lines = append(lines, normal(line))
		}
		for line := range strings.SplitSeq(strings.TrimSpace(b.shows), "\n") {
			if want := normal(line); b.runs(path) && want != "" && want != "…" {
				assert.Contains(t, lines, want, "%s:%d: the commands do not print %q:\n%s", path, b.Line, line, printed[fmt.Sprint(i)])
			}
		}
	}
}

// Commands that are not run here are commands all the same: bash can read them, and make, kubectl and helm know what
// they name.
func TestCommandsThatAreNotRun(t *testing.T) {
	all, err := page.All()
	require.NoError(t, err)
	makefile, err := os.ReadFile(filepath.Join(suite.root, "Makefile"))
	require.NoError(t, err)
	s := newTerminal(t)
	help := map[string]string{}
	for _, p := range all {
		for _, b := range commands(p) {
			if b.runs(p.Path) {
				continue
			}
			where := fmt.Sprintf("%s:%d", p.Path, b.Line)
			require.NoError(t, os.WriteFile(filepath.Join(suite.home, "block"), []byte(b.Text), 0o600))
			output, err := s.try("bash -n " + filepath.Join(suite.home, "block"))
			assert.NoError(t, err, "%s: %s", where, output)
			for _, target := range regexp.MustCompile(`(?m)^make ([a-z0-9-]+)`).FindAllStringSubmatch(b.Text, -1) {
				assert.Regexp(t, `(?m)^`+target[1]+`:`, string(makefile), where)
			}
			s.checkFlags(where, b.Text, help)
		}
	}
}

// checkFlags asks kubectl and helm for the flags of their commands.
func (s *terminal) checkFlags(where, text string, help map[string]string) {
	s.Helper()
	text = strings.ReplaceAll(text, "\\\n", " ")
	substitution := regexp.MustCompile(`"?\$\(([^()]*)\)"?`)
	for _, inner := range substitution.FindAllStringSubmatch(text, -1) {
		text += "\n" + inner[1]
	}
	text = substitution.ReplaceAllString(text, "x")
	invocation := regexp.MustCompile(`(?m)^(kubectl|helm) ([a-z-]+)([^\n|>;]*)`)
	for _, match := range invocation.FindAllStringSubmatch(text, -1) {
		command := match[1] + " " + match[2]
		if _, ok := help[command]; !ok {
			help[command] = s.run(command+" --help") + s.run(match[1]+map[string]string{"kubectl": " options", "helm": " --help"}[match[1]])
		}
		arguments, _, _ := strings.Cut(match[3], " -- ")
		for _, flag := range regexp.MustCompile(` (--[a-z-]+)`).FindAllStringSubmatch(arguments, -1) {
			assert.Contains(s, help[command], flag[1], "%s: %s has no such flag", where, command)
		}
	}
}
