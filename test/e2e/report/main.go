// Command report writes what `make e2e` measured into docs/failover.md, and draws its picture.
//
//	report .cluster/e2e-results.jsonl docs/failover.md docs/images/failover.svg
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kube-zen/zen-lead/test/e2e/harness/page"
)

// What is measured stands between these lines; what is around them is written by hand.
const (
	begin = "<!-- begin of what make failover-report writes -->\n"
	end   = "<!-- end of what make failover-report writes -->\n"
)

func main() {
	if len(os.Args) != 4 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: report RESULTS PAGE PICTURE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(results, document, picture string) error {
	file, err := os.Open(results)
	if err != nil {
		return fmt.Errorf("failed to read the results: %w; make e2e writes them", err)
	}
	defer func() { _ = file.Close() }()
	rows, err := page.Read(file)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("failed to read %s: %w", document, err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		return errors.New("failed to find the lines in " + document + " that the results stand between")
	}
	measured := "\n" + page.How(rows) + "\n" + page.Table(rows) + "\nMeasured besides:\n\n" + page.Notes(rows) + "\n"
	if err := os.WriteFile(document, []byte(before+begin+measured+end+after), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", document, err)
	}
	if err := os.WriteFile(picture, []byte(page.Picture(rows)), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", picture, err)
	}
	return nil
}
