// Package page reads the repository's Markdown as its readers do: commands to copy, outputs to compare, links to follow.
package page

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Block is a fenced block.
type Block struct {
	// Line is that of the opening fence, counted from 1.
	Line     int
	Language string
	Text     string
	// NotRun is the reason that the comment above the block gives for not running it, empty if there is none:
	//
	//	<!-- not run: why -->
	NotRun string
}

// Page is a Markdown file.
type Page struct {
	// Path is relative to the repository's root.
	Path   string
	Text   string
	Blocks []Block
}

// Root is the repository's root.
func Root() (string, error) {
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("failed to find the repository: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// All are the Markdown files that git tracks or would.
func All() ([]Page, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "*.md").Output()
	if err != nil {
		return nil, fmt.Errorf("failed to list the pages: %w", err)
	}
	var pages []Page
	for _, path := range strings.Fields(string(out)) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		if err != nil {
			return nil, fmt.Errorf("failed to read %s: %w", path, err)
		}
		blocks, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		pages = append(pages, Page{Path: path, Text: string(text), Blocks: blocks})
	}
	return pages, nil
}

func parse(text string) ([]Block, error) {
	fence, reason := regexp.MustCompile("^ *```(\\w*)$"), regexp.MustCompile(`^ *<!-- not run: (.+) -->$`)
	var blocks []Block
	var open *Block
	notRun := ""
	for i, line := range strings.Split(text, "\n") {
		match := fence.FindStringSubmatch(line)
		switch {
		case open != nil && match != nil && match[1] == "":
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		case match != nil:
			open = &Block{Line: i + 1, Language: match[1], NotRun: notRun}
			notRun = ""
		case reason.MatchString(line):
			notRun = reason.FindStringSubmatch(line)[1]
		case strings.TrimSpace(line) != "":
			notRun = ""
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: the block has no end", open.Line)
	}
	return blocks, nil
}

// Prose is the text without blocks, spans of code and comments.
func (p Page) Prose() string {
	text := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(p.Text, "")
	text = regexp.MustCompile(`(?s)<!--.*?-->`).ReplaceAllString(text, "")
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "`code`")
}

// Anchors are the fragments that headings give, as GitHub makes them.
func (p Page) Anchors() map[string]bool {
	text := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(p.Text, "")
	anchors, drop := map[string]bool{}, regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	link := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	for _, match := range regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`).FindAllStringSubmatch(text, -1) {
		heading := strings.ToLower(link.ReplaceAllString(match[1], "$1"))
		base := strings.ReplaceAll(drop.ReplaceAllString(heading, ""), " ", "-")
		anchor := base
		for n := 1; anchors[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", base, n)
		}
		anchors[anchor] = true
	}
	for _, match := range regexp.MustCompile(`<a (?:id|name)="([^"]+)"`).FindAllStringSubmatch(p.Text, -1) {
		anchors[match[1]] = true
	}
	return anchors
}

// Links are the targets of links and pictures.
func (p Page) Links() []string {
	var targets []string
	for _, match := range regexp.MustCompile(`\]\(([^)\s]+)(?: "[^"]*")?\)`).FindAllStringSubmatch(p.Prose(), -1) {
		targets = append(targets, match[1])
	}
	return targets
}
