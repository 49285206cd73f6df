package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// observation is all that was measured in one run: nothing that is printed comes from anywhere else.
type observation struct {
	Before, After harness.Leadership
	Switches      []harness.Leadership // the first state of each leader slice that names the new leader: a slice per IP family
	DeletedAt     time.Time            // the request to delete the leader was sent
	AcceptedAt    time.Time            // the API server had accepted it
	GoneAt        time.Time            // the pod is gone; zero if that was not waited for
	Clients       []clientView
}

// clientView is what one client saw.
type clientView struct {
	Title string // how it reaches the leader Service, such as "DNS name"
	Node  string
	Run   report.Run
}

// event is a line of the timeline.
type event struct {
	At   time.Time
	Text string
}

// events returns what happened, in order.
func (o observation) events() []event {
	old, next := o.Before.Pod, o.After.Pod
	all := []event{
		{o.DeletedAt, fmt.Sprintf("the deletion of the leader, %s, is sent", old)},
		{o.AcceptedAt, "the API server has accepted it"},
	}
	for _, s := range o.Switches {
		all = append(all, event{s.At, fmt.Sprintf("a watch sees slice %s name %s, on %s", s.Slice, next, s.Node)})
	}
	for _, c := range o.Clients {
		all = append(all,
			event{c.Run.Summary.From, fmt.Sprintf("client by %s starts: %s answers, on %s", c.Title, old, o.Before.Node)},
			event{c.Run.LastAnswer(old), fmt.Sprintf("client by %s: last answer of %s", c.Title, old)},
			event{c.Run.FirstAnswer(next), fmt.Sprintf("client by %s: first answer of %s", c.Title, next)},
			event{c.Run.Summary.To, fmt.Sprintf("client by %s ends", c.Title)})
		if n := len(c.Run.Failures); n > 0 {
			all = append(all,
				event{c.Run.Failures[0].Start, fmt.Sprintf("client by %s: first of %d failed requests", c.Title, n)},
				event{c.Run.Failures[n-1].Start, fmt.Sprintf("client by %s: last of %d failed requests", c.Title, n)})
		}
	}
	all = append(all, event{o.GoneAt, old + " is gone"})
	all = slices.DeleteFunc(all, func(e event) bool { return e.At.IsZero() })
	slices.SortStableFunc(all, func(a, b event) int { return a.At.Compare(b.At) })
	return all
}

// row is a line of the table: a label and one cell for each client.
type row struct {
	Label string
	Cells []string
}

// table returns what the clients saw, one column for each.
func (o observation) table() []row {
	perClient := func(label string, cell func(clientView) string) row {
		r := row{Label: label}
		for _, c := range o.Clients {
			r.Cells = append(r.Cells, cell(c))
		}
		return r
	}
	rows := []row{
		perClient("", func(c clientView) string { return "by " + c.Title }),
		perClient("new connections to", func(c clientView) string { return c.Run.Start.URL }),
		perClient("from a pod on node", func(c clientView) string { return c.Node }),
		perClient("one every", func(c clientView) string { return milliseconds(c.Run.Start.Interval) }),
		perClient("requests sent", func(c clientView) string { return thousands(c.Run.Summary.Sent) }),
		perClient("requests failed", func(c clientView) string { return failures(*c.Run.Summary) }),
	}
	for _, pod := range o.pods() {
		rows = append(rows, perClient(o.label(pod), func(c clientView) string { return thousands(answersOf(c.Run, pod)) }))
	}
	rows = append(rows,
		perClient("gap at the switch", func(c clientView) string { return milliseconds(c.gapAtSwitch(o.After.Pod)) }),
		perClient("longest gap", func(c clientView) string { return milliseconds(c.Run.Summary.LongestGap) }),
		perClient("which began at", func(c clientView) string { return seconds(c.Run.Summary.LongestGapFrom.Sub(o.DeletedAt)) }),
		perClient("slowest answer", func(c clientView) string { return milliseconds(c.Run.Summary.MaxLatency) }),
		perClient("median answer", func(c clientView) string { return milliseconds(c.Run.Summary.MedianLatency) }))
	if slices.ContainsFunc(o.Clients, clientView.held) {
		rows = append(rows,
			perClient("due, but not sent", func(c clientView) string { return thousands(c.Run.Summary.Unsent + c.Run.Summary.Late) }),
			perClient("longest pause of the client", func(c clientView) string { return milliseconds(c.Run.Summary.LongestPause) }))
	}
	return rows
}

// held tells whether the client could not keep its own pace, so that its gaps are not the Service's alone.
func (c clientView) held() bool {
	return c.Run.Summary.Unsent+c.Run.Summary.Late > 0 || c.Run.Summary.LongestPause > 2*c.Run.Start.Interval
}

// gapAtSwitch is the time from the answer before the first one of a pod to that one.
func (c clientView) gapAtSwitch(pod string) report.Millis {
	for i, s := range c.Run.Segments {
		if s.AnsweredBy == pod && i > 0 {
			return report.Millis(s.From.Sub(c.Run.Segments[i-1].To))
		}
	}
	return 0
}

// pods returns who answered: the old leader, the new one, and any other.
func (o observation) pods() []string {
	pods := []string{o.Before.Pod, o.After.Pod}
	for _, c := range o.Clients {
		for _, a := range c.Run.Summary.AnsweredBy {
			if !slices.Contains(pods, a.Name) {
				pods = append(pods, a.Name)
			}
		}
	}
	return pods
}

func (o observation) label(pod string) string {
	switch pod {
	case o.Before.Pod:
		return "answered before by " + pod
	case o.After.Pod:
		return "answered after by " + pod
	}
	return "answered by neither: " + pod
}

// problems says what a run shows that must not be; nothing if all is well.
func (o observation) problems() []string {
	var found []string
	if o.Before.UID == o.After.UID {
		found = append(found, fmt.Sprintf("the leader slice never named another pod than %s", o.Before.Pod))
	}
	for _, c := range o.Clients {
		sum := c.Run.Summary
		if sum.Failed > 0 {
			first := c.Run.Failures[0]
			found = append(found, fmt.Sprintf("by %s %s of %s requests failed; the first, %s after the deletion: %s",
				c.Title, thousands(sum.Failed), thousands(sum.Sent), seconds(first.Start.Sub(o.DeletedAt)), first.Detail))
		}
		if answersOf(c.Run, o.Before.Pod) == 0 {
			found = append(found, fmt.Sprintf("by %s the first leader, %s, never answered", c.Title, o.Before.Pod))
		}
		if n := len(c.Run.Segments); n == 0 || c.Run.Segments[n-1].AnsweredBy != o.After.Pod {
			found = append(found, fmt.Sprintf("by %s the last answer is not the new leader's, %s", c.Title, o.After.Pod))
		}
		for _, a := range sum.AnsweredBy {
			if a.Name != o.Before.Pod && a.Name != o.After.Pod {
				found = append(found, fmt.Sprintf("by %s %s requests were answered by %s, which did not lead", c.Title, thousands(a.Count), a.Name))
			}
		}
		// The longest gap is between two answers; after the last there is none to end it.
		if sum.SilentAtEnd > max(sum.LongestGap, c.Run.Start.Timeout) {
			found = append(found, fmt.Sprintf("by %s no answer came in the last %s", c.Title, milliseconds(sum.SilentAtEnd)))
		}
	}
	return found
}

// conclusion is the run in one sentence.
func (o observation) conclusion() string {
	sent, failed := 0, 0
	longest := report.Millis(0)
	for _, c := range o.Clients {
		sent, failed = sent+c.Run.Summary.Sent, failed+c.Run.Summary.Failed
		longest = max(longest, c.Run.Summary.LongestGap)
	}
	last := o.After.At
	for _, s := range o.Switches {
		if s.At.After(last) {
			last = s.At
		}
	}
	return fmt.Sprintf("%s requests, %s failed; the slice named the new leader within %s of the deletion; longest gap of a client %s",
		thousands(sent), thousands(failed), milliseconds(report.Millis(last.Sub(o.DeletedAt))), milliseconds(longest))
}

// Symbols of the picture.
const (
	byOld    = 'o'
	byNew    = 'N'
	byOther  = '?'
	byNobody = '.'
	failed   = 'X'
)

// frame is the time around the deletion that the picture shows, so that the switch of each client is in it, and the time
// that a symbol stands for.
func (o observation) frame() (before, after, step time.Duration) {
	last := time.Duration(0)
	for _, c := range o.Clients {
		if first := c.Run.FirstAnswer(o.After.Pod); !first.IsZero() {
			last = max(last, first.Sub(o.DeletedAt))
		}
	}
	// 20 symbols before the deletion, and 40 after it, or some more.
	for _, step = range []time.Duration{25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond} {
		if after = 40 * step; last < after*3/4 {
			break
		}
	}
	return 20 * step, after, step
}

// picture shows who answered a client around the deletion, one symbol for each step of time. In a step with several the
// failure wins, then a pod that leads neither before nor after, then the new leader.
func (o observation) picture(c clientView, from, to, step time.Duration) string {
	var b strings.Builder
	for at := from; at < to; at += step {
		b.WriteRune(o.symbol(c.Run, o.DeletedAt.Add(at), o.DeletedAt.Add(at+step)))
	}
	return b.String()
}

func (o observation) symbol(run report.Run, from, to time.Time) rune {
	for _, f := range run.Failures {
		if end := f.Start.Add(f.Latency.Duration()); !end.Before(from) && end.Before(to) {
			return failed
		}
	}
	symbol := byNobody
	for _, s := range run.Segments {
		if s.From.Before(to) && !s.To.Before(from) {
			symbol = stronger(symbol, o.symbolOf(s.AnsweredBy))
		}
	}
	return symbol
}

func (o observation) symbolOf(pod string) rune {
	switch pod {
	case o.Before.Pod:
		return byOld
	case o.After.Pod:
		return byNew
	}
	return byOther
}

func stronger(a, b rune) rune {
	const order = string(byNobody) + string(byOld) + string(byNew) + string(byOther)
	return slices.MaxFunc([]rune{a, b}, func(a, b rune) int {
		return cmp.Compare(strings.IndexRune(order, a), strings.IndexRune(order, b))
	})
}

func answersOf(run report.Run, pod string) int {
	for _, a := range run.Summary.AnsweredBy {
		if a.Name == pod {
			return a.Count
		}
	}
	return 0
}

func failures(s report.Summary) string {
	if s.Failed == 0 {
		return "0"
	}
	var classes []string
	for _, class := range []report.Class{report.DNS, report.Refused, report.Timeout, report.Reset, report.Other} {
		if n := s.ByClass[class]; n > 0 {
			classes = append(classes, fmt.Sprintf("%s %s", thousands(n), class))
		}
	}
	return fmt.Sprintf("%s (%s)", thousands(s.Failed), strings.Join(classes, ", "))
}

func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// seconds writes a time relative to the deletion, aligned at the decimal point: "+0.006 s".
func seconds(d time.Duration) string { return fmt.Sprintf("%+.3f s", d.Seconds()) }

func milliseconds(m report.Millis) string {
	d := m.Duration()
	if d >= 10*time.Millisecond || d%time.Millisecond == 0 {
		return thousands(int(d.Round(time.Millisecond).Milliseconds())) + " ms"
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
