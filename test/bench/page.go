package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What is measured stands between these lines of a page.
const (
	pageBegin = "<!-- begin of what make bench-report writes -->\n"
	pageEnd   = "<!-- end of what make bench-report writes -->\n"
)

// runPage writes the newest full results into a page, and draws its picture: bench page RESULTS PAGE PICTURE.
func runPage(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: bench page RESULTS PAGE PICTURE")
	}
	newest, err := readNewest(args[0])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return fmt.Errorf("failed to read the page: %w", err)
	}
	before, rest, found := strings.Cut(string(text), pageBegin)
	_, after, foundEnd := strings.Cut(rest, pageEnd)
	if !found || !foundEnd {
		return fmt.Errorf("failed to find the lines in %s that the results stand between", args[1])
	}
	if err := os.WriteFile(args[1], []byte(before+pageBegin+newest.page()+pageEnd+after), 0o644); err != nil {
		return fmt.Errorf("failed to write the page: %w", err)
	}
	if err := os.WriteFile(args[2], []byte(newest.picture()), 0o644); err != nil {
		return fmt.Errorf("failed to write the picture: %w", err)
	}
	return nil
}

// newest is, for each row, the report of its newest full run.
type newest map[string]*report

// readNewest reads all results of a directory. Quick runs, and rows that broke off, do not count.
func readNewest(dir string) (newest, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("failed to list the results: %w", err)
	}
	slices.Sort(paths) // by time: see save
	n := newest{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("failed to read the results: %w", err)
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("failed to read %s: %w", path, err)
		}
		for _, run := range r.Rows {
			measured := slices.ContainsFunc(r.Checks, func(c check) bool { return c.Row == run.Row })
			if !r.Quick && run.Failed == "" && measured {
				n[run.Row] = &r
			}
		}
	}
	if len(n) == 0 {
		return nil, fmt.Errorf("failed to find a full run in %s; make bench makes one", dir)
	}
	return n, nil
}

// page is the results as Markdown.
func (n newest) page() string {
	var b strings.Builder
	machines := map[string]bool{}
	for _, r := range rows() {
		if n[r.name] != nil {
			machines[n[r.name].Machine] = true
		}
	}
	fmt.Fprintf(&b, "\nMachine: %s.\n\n| row | run at (UTC) | load average before and after |\n|---|---|---|\n", strings.Join(slices.Sorted(mapKeys(machines)), "; "))
	n.each(func(name string, r *report) {
		for _, run := range r.Rows {
			if run.Row == name {
				fmt.Fprintf(&b, "| %s | %s | %s, %s |\n", name, r.Time.Format("2006-01-02 15:04"), first(run.LoadBefore), first(run.LoadAfter))
			}
		}
	})
	b.WriteString("\n| row | measure | bar | measured | |\n|---|---|---|---|---|\n")
	n.each(func(name string, r *report) {
		for _, c := range r.Checks {
			if c.Row == name {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, c.Measure, c.Bar, c.Got, strings.ToLower(c.verdict()))
			}
		}
	})
	b.WriteString("\nThe series behind it, in milliseconds:\n\n| row | what | n | p50 | p90 | p99 | most |\n|---|---|--:|--:|--:|--:|--:|\n")
	n.each(func(name string, r *report) {
		for _, s := range r.Series {
			if s.Row == name {
				fmt.Fprintf(&b, "| %s | %s | %d | %.2f | %.2f | %.2f | %.2f |\n", name, s.Name, s.Count, s.P50, s.P90, s.P99, s.Max)
			}
		}
	})
	b.WriteString("\n| row | what | measured |\n|---|---|--:|\n")
	n.each(func(name string, r *report) {
		for _, v := range r.Numbers {
			if v.Row == name {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", name, v.Name, strings.TrimSpace(fmt.Sprintf("%.4g %s", v.Value, v.Unit)))
			}
		}
	})
	b.WriteString("\n")
	return b.String()
}

// each goes through the rows in the benchmark's order.
func (n newest) each(what func(name string, r *report)) {
	for _, r := range rows() {
		if n[r.name] != nil {
			what(r.name, n[r.name])
		}
	}
}

func first(averages string) string {
	one, _, _ := strings.Cut(averages, " ")
	return one
}

// series finds one of a row's, false if it was not measured.
func (n newest) series(row, name string) (series, bool) {
	if n[row] == nil {
		return series{}, false
	}
	i := slices.IndexFunc(n[row].Series, func(s series) bool { return s.Row == row && s.Name == name })
	if i < 0 {
		return series{}, false
	}
	return n[row].Series[i], true
}

func (n newest) number(row, name string) (float64, bool) {
	if n[row] == nil {
		return 0, false
	}
	i := slices.IndexFunc(n[row].Numbers, func(v number) bool { return v.Row == row && v.Name == name })
	if i < 0 {
		return 0, false
	}
	return n[row].Numbers[i].Value, true
}

// bar is a length of a picture, and how far the rare ones reach beyond it.
type bar struct {
	label          string
	value, reaches float64
}

// panel is one comparison of a picture.
type panel struct {
	title, unit string
	bars        []bar
}

func (n newest) panels() []panel {
	var panels []panel
	add := func(p panel) {
		if len(p.bars) > 0 {
			panels = append(panels, p)
		}
	}
	of := func(row string, names ...[2]string) []bar {
		var bars []bar
		for _, name := range names {
			if s, found := n.series(row, name[1]); found {
				bars = append(bars, bar{name[0], s.P50, s.P99})
			}
		}
		return bars
	}
	numbers := func(names ...[3]string) []bar {
		var bars []bar
		for _, name := range names {
			if v, found := n.number(name[1], name[2]); found {
				bars = append(bars, bar{name[0], v, v})
			}
		}
		return bars
	}
	add(panel{"A failover, from the pod's event to the slice's event: median, and 99 of 100", "ms", of("serial", [2]string{"bare loop", "bare loop"},
		[2]string{"zen-lead", "zen-lead"}, [2]string{"EndpointSlice controller", "EndpointSlice controller, same events as zen-lead"})})
	add(panel{"500 of 1,000 leaders fail at once: the last is moved", "ms", of("storm", [2]string{"bare loop", "bare loop, last of a storm"},
		[2]string{"zen-lead", "zen-lead, last of a storm"}, [2]string{"EndpointSlice controller", "EndpointSlice controller, last of the same storm as zen-lead"})})
	add(panel{"First roll-out to 5,000 Services", "s", numbers([3]string{"bare client", "rollout", "first roll-out, bare client"},
		[3]string{"zen-lead", "rollout", "first roll-out, zen-lead from its readiness on"})})
	add(panel{"Resident memory after the roll-out", "MB", numbers([3]string{"1,000 Services, 3,000 pods", "memory", "resident 150 s after the first roll-out"},
		[3]string{"5,000 Services, 50,000 pods", "memory-large", "resident 150 s after the first roll-out"})})
	add(panel{"The active controller is killed: first failover by the standby (median, and most)", "ms", n.killed()})
	return panels
}

// killed are the replica row's series, by lease.
func (n newest) killed() []bar {
	if n["replica"] == nil {
		return nil
	}
	var bars []bar
	for _, s := range n["replica"].Series {
		if lease, killed := strings.CutPrefix(s.Name, "killed hard, "); killed && s.Row == "replica" {
			bars = append(bars, bar{lease, s.P50, s.Max})
		}
	}
	return bars
}

// The picture's measures, in pixels.
const (
	pictureWidth = 960
	margin       = 16
	barsFrom     = 230
	barsLong     = 560
	barHigh      = 16
	barStep      = 24
)

// picture draws what was compared.
func (n newest) picture() string {
	var b strings.Builder
	y := margin
	for _, p := range n.panels() {
		most := 0.0
		for _, each := range p.bars {
			most = max(most, each.reaches)
		}
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" font-weight=\"600\">%s</text>\n", margin, y+barHigh, p.title)
		y += barStep + 6
		for _, each := range p.bars {
			scale := float64(barsLong) / most
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", barsFrom-8, y+barHigh-3, each.label)
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#99aacc\"/>\n", barsFrom, y, each.reaches*scale, barHigh)
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"#4477aa\"/>\n", barsFrom, y, each.value*scale, barHigh)
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", barsFrom+each.reaches*scale+8, y+barHigh-3, each.says(p.unit))
			y += barStep
		}
		y += margin
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13" fill="#222222">
<title>What make bench measured</title>
<rect width="%d" height="%d" fill="#ffffff"/>
%s</svg>
`, pictureWidth, y, pictureWidth, y, pictureWidth, y, b.String())
}

func (b bar) says(unit string) string {
	say := func(v float64) string {
		if unit == "ms" && v >= 1000 {
			return fmt.Sprintf("%.1f s", time.Duration(v*float64(time.Millisecond)).Seconds())
		}
		if v < 10 {
			return fmt.Sprintf("%.1f %s", v, unit)
		}
		return fmt.Sprintf("%.0f %s", v, unit)
	}
	if b.value == b.reaches {
		return say(b.value)
	}
	return say(b.value) + ", " + say(b.reaches)
}
