// Command report writes the table of docs/failover.md from what `make e2e` measured: the latest result of each row.
//
//	report .cluster/e2e-results.jsonl docs/failover.md
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// The table stands between these lines; what is around them is written by hand.
const (
	begin = "<!-- begin of what make failover-report writes -->\n"
	end   = "<!-- end of what make failover-report writes -->\n"
)

func main() {
	if len(os.Args) != 3 {
		_, _ = fmt.Fprintln(os.Stderr, "usage: report RESULTS PAGE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(results, page string) error {
	rows, err := read(results)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("failed to read %s: %w", page, err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, foundEnd := strings.Cut(rest, end)
	if !found || !foundEnd {
		return errors.New("failed to find the lines in " + page + " that the table stands between")
	}
	if err := os.WriteFile(page, []byte(before+begin+table(rows)+end+after), 0o644); err != nil {
		return fmt.Errorf("failed to write %s: %w", page, err)
	}
	return nil
}

// read returns the latest result of each row, in the order of the rows' names.
func read(path string) ([]harness.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read the results: %w; make e2e writes them", err)
	}
	defer func() { _ = file.Close() }()
	latest := map[string]harness.Result{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r harness.Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("failed to read a line of %s: %w", path, err)
		}
		latest[r.Row] = r
	}
	rows := make([]harness.Result, 0, len(latest))
	for _, r := range latest {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b harness.Result) int { return cmp.Compare(a.Row, b.Row) })
	return rows, lines.Err()
}

func table(rows []harness.Result) string {
	var b strings.Builder
	b.WriteString("\n| row | requests | failed | longest gap | event to slice | moves | plain Service: failed | test |\n|---|--:|--:|--:|--:|--:|--:|---|\n")
	for _, r := range rows {
		if len(r.Clients) == 2 {
			leader, plain := r.Clients[0], r.Clients[1]
			fmt.Fprintf(&b, "| %s | %d | %d | %s | %s | %d | %d of %d | %s |\n", r.Row, leader.Sent, leader.Failed,
				short(leader.LongestGap.Duration()), toSlice(r), r.Moves, plain.Failed, plain.Sent, verdict(r))
		}
	}
	b.WriteString("\n")
	return b.String()
}

func verdict(r harness.Result) string {
	if r.Passed {
		return "passed"
	}
	return "FAILED"
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func toSlice(r harness.Result) string {
	if r.Moves == 0 {
		return "-"
	}
	return short(r.ToSlice.Duration())
}
