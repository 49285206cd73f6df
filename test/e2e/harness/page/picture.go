package page

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"time"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// Measures of the picture, in pixels.
const (
	width      = 960
	margin     = 16
	labels     = 150 // where the bars begin
	bars       = 560 // how long they are
	barHeight  = 16
	barStep    = 24
	panelHead  = 30
	panelFoot  = 34
	legendRows = 46
)

// What the colours mean.
const (
	colourFirst   = "#4477aa"
	colourNext    = "#44aa77"
	colourOther   = "#99aacc"
	colourFailed  = "#cc3311"
	colourPartly  = "#ee9977"
	colourNothing = "#e8e8e8"
)

// pictured are the rows that the picture shows, and what they are called there.
func pictured() []struct{ row, title string } {
	return []struct{ row, title string }{
		{"1-leader-deleted", "The leader is deleted gracefully"},
		{"2-leader-killed", "The leader's process is killed"},
		{"2-leader-stops-listening", "The leader stops listening; a readiness probe a second must find out"},
		{"7-controller-killed", "The active controller is killed, then the leader deleted"},
		{"6-node-powered-off", "The leader's node loses power"},
	}
}

// called is what a target is called in the picture.
func called(target string) string {
	switch target {
	case leader:
		return "zen-lead"
	case plain:
		return "plain Service"
	case elected:
		return "own election"
	}
	return ""
}

// Picture draws what the clients saw over time, as SVG.
func Picture(rows []Row) string {
	var body strings.Builder
	y := margin
	for _, p := range pictured() {
		i := slices.IndexFunc(rows, func(r Row) bool { return r[0].Row == p.row })
		if i < 0 {
			continue
		}
		y = panel(&body, y, p.title, rows[i].last())
	}
	y = legend(&body, y)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui, sans-serif" font-size="13">
<title>What a client saw of each failure over time</title>
<rect width="%d" height="%d" fill="#ffffff"/>
%s</svg>
`, width, y, width, y, width, y, body.String())
}

// scale is the time that a panel shows, in relation to the event.
type scale struct{ from, to time.Duration }

func (s scale) x(at time.Duration) float64 {
	at = min(max(at, s.from), s.to)
	return labels + bars*float64(at-s.from)/float64(s.to-s.from)
}

// tick is the distance of the marks: at most a dozen of them.
func (s scale) tick() time.Duration {
	for _, t := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second} {
		if (s.to-s.from)/t <= 12 {
			return t
		}
	}
	return 30 * time.Second
}

// scaleOf is from a second before the event to the end of what the client saw of the leader Service.
func scaleOf(tracks []harness.Track) scale {
	s := scale{from: -time.Second, to: time.Second}
	for _, t := range tracks {
		if t.Target == leader && len(t.Spans) > 0 {
			s.to = t.Spans[len(t.Spans)-1].To.Duration()
		}
	}
	return s
}

func panel(b *strings.Builder, y int, title string, r harness.Result) int {
	s := scaleOf(r.Tracks)
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" font-weight=\"600\" fill=\"#222222\">%s</text>\n", margin, y+16, html.EscapeString(title))
	y += panelHead
	top := y
	for _, t := range r.Tracks {
		if called(t.Target) == "" {
			continue
		}
		view, _ := client(r, t.Target)
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#222222\">%s</text>\n", labels-8, y+13, called(t.Target))
		bar(b, y, s, t)
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" fill=\"#222222\">%s failed; gap %s</text>\n",
			labels+bars+8, y+13, thousands(view.Failed), gap(view))
		y += barStep
	}
	axis(b, top, y, s)
	return y + panelFoot
}

func bar(b *strings.Builder, y int, s scale, t harness.Track) {
	first, next := "", ""
	for _, span := range t.Spans {
		if span.By != "" && span.By != harness.Several {
			if first == "" {
				first = span.By
			} else if next == "" && span.By != first {
				next = span.By
			}
		}
	}
	for _, span := range t.Spans {
		from, to := span.From.Duration(), span.To.Duration()
		if to <= s.from || from >= s.to {
			continue
		}
		fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\" shape-rendering=\"crispEdges\"/>\n", s.x(from), y, s.x(to)-s.x(from), barHeight,
			colour(span, t.Target, first, next))
	}
}

func colour(span harness.Span, target, first, next string) string {
	switch {
	case span.Failed && span.Answered:
		return colourPartly
	case span.Failed:
		return colourFailed
	case !span.Answered:
		return colourNothing
	case target == plain || (span.By != first && span.By != next):
		return colourOther
	case span.By == first:
		return colourFirst
	}
	return colourNext
}

func axis(b *strings.Builder, top, y int, s scale) {
	x := s.x(0)
	fmt.Fprintf(b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#222222\" stroke-width=\"1.5\"/>\n", x, top-6, x, y)
	for at := time.Duration(0); at <= s.to; at += s.tick() {
		fmt.Fprintf(b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#999999\"/>\n", s.x(at), y-4, s.x(at), y)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" font-size=\"11\" fill=\"#555555\">%d s</text>\n", s.x(at), y+12, int(at.Seconds()))
	}
}

func legend(b *strings.Builder, y int) int {
	x := margin
	for _, l := range []struct {
		colour, text string
		width        int
	}{
		{colourFirst, "first leader answers", 165}, {colourNext, "next leader answers", 165}, {colourOther, "any pod answers", 140},
		{colourPartly, "some requests failed", 165}, {colourFailed, "all requests failed", 160}, {colourNothing, "none answered", 120},
	} {
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/>\n<text x=\"%d\" y=\"%d\" font-size=\"12\" fill=\"#222222\">%s</text>\n",
			x, y, l.colour, x+17, y+11, l.text)
		x += l.width
	}
	return y + legendRows - margin
}

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
