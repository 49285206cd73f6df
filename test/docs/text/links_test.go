// Package text checks what the pages say against the repository, without running anything.
package text

import (
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

func pages(t *testing.T) map[string]page.Page {
	t.Helper()
	all, err := page.All()
	require.NoError(t, err)
	byPath := make(map[string]page.Page, len(all))
	for _, p := range all {
		byPath[p.Path] = p
	}
	return byPath
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := page.Root()
	require.NoError(t, err)
	return dir
}

// ours is where the repository will be found on the web: such links are links into it, and are checked as such.
func ours() *regexp.Regexp {
	return regexp.MustCompile(`^https://github\.com/kube-zen/zen-lead/(?:blob|tree)/main/`)
}

func TestLinksLeadSomewhere(t *testing.T) {
	byPath, dir := pages(t), root(t)
	for path, p := range byPath {
		for _, link := range p.Links() {
			target := filepath.Dir(path)
			switch {
			case ours().MatchString(link):
				link, target = ours().ReplaceAllString(link, ""), "."
			case strings.Contains(link, "://"), strings.HasPrefix(link, "mailto:"):
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target = filepath.Join(target, file)
			if file == "" {
				target = path
			}
			if _, err := os.Stat(filepath.Join(dir, target)); err != nil {
				t.Errorf("%s links to %s, and there is no %s", path, link, target)
				continue
			}
			if other, ok := byPath[target]; ok && anchor != "" {
				assert.True(t, other.Anchors()[anchor], "%s links to %s, and %s has no such heading", path, link, target)
			}
		}
	}
}

// A page that no other leads to is found by nobody.
func TestEveryPageIsLinked(t *testing.T) {
	byPath := pages(t)
	linked := map[string]bool{"README.md": true}
	for path, p := range byPath {
		for _, link := range p.Links() {
			file, _, _ := strings.Cut(ours().ReplaceAllString(link, "/"), "#")
			if strings.HasPrefix(file, "/") {
				linked[strings.TrimPrefix(file, "/")] = true
			} else {
				linked[filepath.Join(filepath.Dir(path), file)] = true
			}
		}
	}
	for path := range byPath {
		dir := filepath.Dir(path)
		if strings.HasPrefix(path, ".github/") && !strings.HasSuffix(path, "CONTRIBUTING.md") {
			continue // GitHub shows these in their places
		}
		assert.True(t, linked[path] || filepath.Base(path) == "README.md" && linked[dir], "no page links to %s", path)
	}
}

// Commands are marked sh, so that they are found; what a block of another language holds is known.
func TestBlocksHaveALanguage(t *testing.T) {
	known := []string{"sh", "yaml", "text", "mermaid", "go", "js", "json"}
	for path, p := range pages(t) {
		for _, b := range p.Blocks {
			assert.Contains(t, known, b.Language, "%s:%d", path, b.Line)
			if b.Language != "sh" {
				assert.NotRegexp(t, `(?m)^\$? *(kubectl|helm|make|go (test|run|build)) `, b.Text, "%s:%d: commands are marked sh", path, b.Line)
			}
		}
	}
}

// testFunctions are the names of all tests of the repository, with their folders.
func testFunctions(t *testing.T) map[string][]string {
	t.Helper()
	dir, found := root(t), map[string][]string{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, top := range []string{"src", "test", "ci"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(dir, top), func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			folder, err := filepath.Rel(dir, filepath.Dir(path))
			for _, match := range declaration.FindAllStringSubmatch(string(source), -1) {
				found[match[1]] = append(found[match[1]], folder)
			}
			return err
		}))
	}
	return found
}

// What a page says is checked by a test is: the test exists.
func TestNamedTestsExist(t *testing.T) {
	known, mention := testFunctions(t), regexp.MustCompile("`(Test\\w+)`")
	for path, p := range pages(t) {
		for _, match := range mention.FindAllStringSubmatch(p.Text, -1) {
			assert.Contains(t, known, match[1], "%s names a test that does not exist", path)
		}
	}
}

// README's contract names a test for each statement, and links to the file that holds it.
func TestContractNamesItsTests(t *testing.T) {
	readme, dir := pages(t)["README.md"], root(t)
	_, contract, ok := strings.Cut(readme.Text, "## What holds from day 0\n")
	require.True(t, ok, "README.md has no contract")
	contract, _, _ = strings.Cut(contract, "\n## ")
	link := regexp.MustCompile(`\[(Test\w+)\]\(([^)#]+)\)`)
	rows := 0
	for line := range strings.SplitSeq(contract, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| statement") {
			continue
		}
		rows++
		tests := link.FindAllStringSubmatch(line, -1)
		assert.NotEmpty(t, tests, "no test checks: %s", line)
		for _, test := range tests {
			source, err := os.ReadFile(filepath.Join(dir, test[2]))
			require.NoError(t, err)
			assert.Contains(t, string(source), "func "+test[1]+"(", "%s is not in %s", test[1], test[2])
		}
	}
	assert.GreaterOrEqual(t, rows, 10)
}

// The Makefile's targets, flags of the controller and keys of annotations that pages speak of exist.
func TestPagesSpeakOfWhatThereIs(t *testing.T) {
	dir := root(t)
	makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(dir, "src/api/api.go"))
	require.NoError(t, err)
	var keys []string
	for _, match := range regexp.MustCompile(`Prefix \+ "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
		keys = append(keys, match[1])
	}
	for path, p := range pages(t) {
		for _, match := range regexp.MustCompile("`make ([a-z0-9-]+)[^`]*`").FindAllStringSubmatch(p.Text, -1) {
			assert.Regexp(t, `(?m)^`+match[1]+`:`, string(makefile), "%s speaks of make %s", path, match[1])
		}
		for _, match := range regexp.MustCompile(`zen-lead\\?\.io/([a-z-]+[a-z])`).FindAllStringSubmatch(p.Text, -1) {
			if match[1] != "traffic" {
				assert.True(t, slices.Contains(keys, match[1]), "%s speaks of zen-lead.io/%s", path, match[1])
			}
		}
	}
}
