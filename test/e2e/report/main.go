// Command report writes what `make e2e` measured into docs/failover.md, draws its picture, and writes the table of the
// README.
//
//	report .cluster/e2e-results.jsonl docs/failover.md docs/images/failover.svg README.md
package main

import (
	"fmt"
	"os"

	"github.com/kube-zen/zen-lead/test/e2e/harness/page"
)

func main() {
	if len(os.Args) != 5 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: report RESULTS PAGE PICTURE README")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(results, document, picture, readme string) error {
	file, err := os.Open(results)
	if err != nil {
		return fmt.Errorf("failed to read the results: %w; make e2e writes them", err)
	}
	defer func() { _ = file.Close() }()
	rows, err := page.Read(file)
	if err != nil {
		return err
	}
	table := page.Table(rows)
	if err := replace(document, "\n"+page.How(rows)+"\n"+table+"\nMeasured besides:\n\n"+page.Notes(rows)+"\n"); err != nil {
		return err
	}
	if err := os.WriteFile(picture, []byte(page.Picture(rows)), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", picture, err)
	}
	summary, err := page.Summary(table)
	if err != nil {
		return err
	}
	return replace(readme, summary)
}

// replace writes what is measured into the place that a document has for it; what is around it is written by hand.
func replace(document, measured string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("failed to read %s: %w", document, err)
	}
	changed, err := page.Replace(string(text), measured)
	if err != nil {
		return fmt.Errorf("failed to write into %s: %w", document, err)
	}
	if err := os.WriteFile(document, []byte(changed), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", document, err)
	}
	return nil
}
