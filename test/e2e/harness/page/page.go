// Package page turns the results of the failure matrix into the table and the picture of docs/failover.md.
package page

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// Names of the targets that have columns of their own; others are told of below the table.
const (
	leader  = "leader-service"
	plain   = "plain-service"
	elected = "elected-service"
)

// Row is all results of one row of the matrix, the oldest first.
type Row []harness.Result

// Read reads the results, as JSON lines, and returns them by row, in the order of the matrix.
func Read(results io.Reader) ([]Row, error) {
	rows := map[string]Row{}
	lines := bufio.NewScanner(results)
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		var r harness.Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("failed to read line %d of the results: %w", n, err)
		}
		rows[r.Row] = append(rows[r.Row], r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("failed to read the results: %w", err)
	}
	all := make([]Row, 0, len(rows))
	for _, row := range rows {
		all = append(all, row)
	}
	slices.SortFunc(all, func(a, b Row) int {
		return cmp.Or(cmp.Compare(number(a[0].Row), number(b[0].Row)), cmp.Compare(a[0].Row, b[0].Row))
	})
	return all, nil
}

// number is what a row's name begins with.
func number(name string) int {
	digits, _, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// last is the latest result that passed, or the latest at all.
func (r Row) last() harness.Result {
	for _, result := range slices.Backward(r) {
		if result.Passed {
			return result
		}
	}
	return r[len(r)-1]
}

func (r Row) passed() int {
	n := 0
	for _, result := range r {
		if result.Passed {
			n++
		}
	}
	return n
}

func client(r harness.Result, target string) (harness.ClientView, bool) {
	i := slices.IndexFunc(r.Clients, func(c harness.ClientView) bool { return c.Target == target })
	if i < 0 {
		return harness.ClientView{}, false
	}
	return r.Clients[i], true
}

// each tells something of every run of a row, in their order.
func (r Row) each(what func(harness.Result) string) string {
	var cells []string
	for _, result := range r {
		cells = append(cells, what(result))
	}
	return strings.Join(cells, ", ")
}

func ofClient(target string, what func(harness.ClientView) string) func(harness.Result) string {
	return func(r harness.Result) string {
		c, found := client(r, target)
		if !found {
			return "-"
		}
		return what(c)
	}
}

func share(c harness.ClientView) string { return fmt.Sprintf("%d of %d", c.Failed, c.Sent) }

// Table is the matrix in Markdown: a line for each row, with the values of every run.
func Table(rows []Row) string {
	var b strings.Builder
	b.WriteString("| row | failed requests | longest gap | event to slice | moves | plain Service: failed | own election: failed | green |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range rows {
		elsewhere := "-"
		if _, compared := client(row.last(), elected); compared {
			elsewhere = row.each(ofClient(elected, share))
		}
		plainly := "-"
		if _, sent := client(row.last(), plain); sent {
			plainly = row.each(ofClient(plain, share))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d of %d |\n", row[0].Row,
			row.each(ofClient(leader, share)), row.each(ofClient(leader, gap)),
			row.each(toSlice), row.each(func(r harness.Result) string { return strconv.Itoa(r.Moves) }), plainly, elsewhere, row.passed(), len(row))
	}
	return b.String()
}

func toSlice(r harness.Result) string {
	if r.Moves == 0 {
		return "-"
	}
	return short(r.ToSlice.Duration())
}

// gap is the longest time without an answer; one that had no end as long as the client looked is said to be so.
func gap(c harness.ClientView) string {
	if silent := c.SilentAtEnd.Duration(); silent > c.LongestGap.Duration() && silent > time.Second {
		return "over " + short(silent)
	}
	return short(c.LongestGap.Duration())
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// Notes is what the rows measured besides, in Markdown, from the latest run of each.
func Notes(rows []Row) string {
	var b strings.Builder
	for _, row := range rows {
		result := row.last()
		notes := slices.Clone(result.Notes)
		for _, c := range result.Clients {
			if c.Target != leader && c.Target != plain && c.Target != elected {
				notes = append(notes, fmt.Sprintf("%s: %s failed, longest gap %s", c.Target, share(c), gap(c)))
			}
		}
		if len(notes) > 0 {
			fmt.Fprintf(&b, "- %s: %s.\n", result.Row, strings.Join(notes, "; "))
		}
	}
	return b.String()
}

// How tells when and under what load the results were measured.
func How(rows []Row) string {
	runs, families := map[string]int{}, map[string]bool{}
	green, total := 0, 0
	lowest, highest := -1.0, -1.0
	var first, latest time.Time
	for _, row := range rows {
		green, total = green+row.passed(), total+len(row)
		for _, r := range row {
			runs[r.Run]++
			families[r.Family] = true
			if first.IsZero() || r.At.Before(first) {
				first = r.At
			}
			if r.At.After(latest) {
				latest = r.At
			}
			if r.Load >= 0 {
				highest = max(highest, r.Load)
				if lowest < 0 || r.Load < lowest {
					lowest = r.Load
				}
			}
		}
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for family := range families {
			if !yield(family) {
				return
			}
		}
	})
	return fmt.Sprintf("%d rows in %d runs of `make e2e`, %s to %s UTC: %d of %d results green. IP families: %s. Load average when a row began: %.1f to %.1f.\n",
		len(rows), len(runs), first.UTC().Format("2006-01-02 15:04"), latest.UTC().Format("15:04"), green, total, strings.Join(names, ", "), lowest, highest)
}
