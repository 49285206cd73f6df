package picture

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The drawing's measures, in pixels.
const (
	width, column, row, top, gap = 1440, 60, 34, 64, 6
	lineHeight, legendWidth      = 15, 0.36
)

// drawing is an SVG under way.
type drawing struct {
	strings.Builder
}

// Draw draws a dashboard. results holds, for each panel's ID, the result of each of its queries; caption says where they
// are from.
func Draw(d *Dashboard, results map[int][][]Series, caption string) string {
	bottom := 0
	for _, panel := range d.Panels {
		bottom = max(bottom, panel.Grid.Y+panel.Grid.H)
	}
	height := top + bottom*row + gap
	s := &drawing{}
	fmt.Fprintf(s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="Inter, Helvetica, Arial, sans-serif" font-size="12" fill="#24292e">`+"\n", width, height)
	s.rect(0, 0, width, float64(height), "#f4f5f5", "none")
	s.text(12, 26, 20, "#24292e", "start", d.Title)
	s.text(12, 48, 12, "#5a6068", "start", caption)
	for _, panel := range d.Panels {
		s.panel(panel, results[panel.ID])
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func (s *drawing) rect(x, y, w, h float64, fill, stroke string) {
	fmt.Fprintf(s, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" rx="2" fill="%s" stroke="%s"/>`+"\n", x, y, w, h, fill, stroke)
}

func (s *drawing) text(x, y float64, size int, fill, anchor, text string) {
	fmt.Fprintf(s, `<text x="%.0f" y="%.0f" font-size="%d" fill="%s" text-anchor="%s">%s</text>`+"\n", x, y, size, fill, anchor, html.EscapeString(text))
}

// box is the inside of a panel.
type box struct{ x, y, w, h float64 }

func (s *drawing) panel(p Panel, results [][]Series) {
	b := box{float64(p.Grid.X*column) + gap/2, float64(top + p.Grid.Y*row), float64(p.Grid.W*column) - gap, float64(p.Grid.H*row) - gap}
	if p.Type == "row" {
		s.text(b.x+4, b.y+20, 15, "#24292e", "start", p.Title)
		return
	}
	s.rect(b.x, b.y, b.w, b.h, "#ffffff", "#dfe1e5")
	s.text(b.x+8, b.y+18, 12, "#24292e", "start", clip(p.Title, b.w-12, 6.2))
	inside := box{b.x + 8, b.y + 28, b.w - 16, b.h - 36}
	switch p.Type {
	case "stat":
		s.stat(p, results, b)
	case "table":
		s.table(p, results, inside)
	default:
		s.graph(p, results, inside)
	}
}

// clip cuts a text to a width, by the width of a usual letter.
func clip(text string, width, letter float64) string {
	if runes := []rune(text); float64(len(runes))*letter > width {
		return string(runes[:max(0, int(width/letter)-1)]) + "…"
	}
	return text
}

func (s *drawing) stat(p Panel, results [][]Series, b box) {
	text, color := "no data", "#8e8e8e"
	if len(results) > 0 && len(results[0]) > 0 {
		value := last(results[0][0])
		text = format(value, p.Field.Defaults.Unit)
		for _, step := range p.Field.Defaults.Thresholds.Steps {
			if step.Value == nil || value >= *step.Value {
				color = cmp.Or(map[string]string{"green": "#299c46", "red": "#d44a3a", "blue": "#3274d9"}[step.Color], color)
			}
		}
	}
	s.rect(b.x, b.y+26, b.w, b.h-26, color, "none")
	s.text(b.x+b.w/2, b.y+b.h/2+28, 40, "#ffffff", "middle", text)
}

func last(one Series) float64 { return one.Points[len(one.Points)-1].Value }

func (s *drawing) table(p Panel, results [][]Series, b box) {
	unit, heading, named := p.Field.Defaults.Unit, "value", map[string]string{}
	for _, t := range p.Transformations {
		heading = cmp.Or(t.Options.Rename["Value"], heading)
	}
	for _, override := range p.Field.Overrides {
		for _, property := range override.Properties {
			if text, ok := property.Value.(string); ok && property.ID == "unit" {
				unit = text
			}
			if property.ID == "mappings" {
				named["0"] = "never"
			}
		}
	}
	var rows []Series
	if len(results) > 0 {
		rows = slices.Clone(results[0])
	}
	columns := labelNames(rows)
	slices.SortFunc(rows, func(a, b Series) int {
		return cmp.Or(cmp.Compare(last(b), last(a)), cmp.Compare(a.Labels["service"], b.Labels["service"]))
	})
	each := b.w / float64(len(columns)+1)
	cell := func(i, line int, color, text string) {
		s.text(b.x+float64(i)*each, b.y+12+float64(line)*lineHeight*1.15, 11, color, "start", clip(text, each, 6))
	}
	for i, name := range append(slices.Clone(columns), heading) {
		cell(i, 0, "#3274d9", name)
	}
	for n, one := range rows {
		for i, name := range columns {
			cell(i, n+1, "#24292e", one.Labels[name])
		}
		text := format(last(one), unit)
		if last(one) == 0 {
			text = cmp.Or(named["0"], text)
		}
		cell(len(columns), n+1, "#24292e", text)
	}
}

func labelNames(rows []Series) []string {
	seen := map[string]bool{}
	for _, one := range rows {
		for name := range one.Labels {
			seen[name] = true
		}
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// line is one series of a graph, with its legend.
type line struct {
	name   string
	points []Point
}

func lines(p Panel, results [][]Series) []line {
	label := regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	var all []line
	for i, series := range results {
		for _, one := range series {
			name := label.ReplaceAllStringFunc(p.Targets[i].Legend, func(m string) string { return one.Labels[label.FindStringSubmatch(m)[1]] })
			points := slices.DeleteFunc(slices.Clone(one.Points), func(point Point) bool { return math.IsNaN(point.Value) || math.IsInf(point.Value, 0) })
			if len(points) > 0 {
				all = append(all, line{name, points})
			}
		}
	}
	return all
}

func (s *drawing) graph(p Panel, results [][]Series, b box) {
	colors := []string{"#3274d9", "#e0752d", "#299c46", "#b877d9", "#d44a3a", "#1f9ba8", "#8f6d1f", "#6c757d", "#c15c98", "#447ebc"}
	all := lines(p, results)
	legend := b.w * legendWidth
	plot := box{b.x + 46, b.y + 4, b.w - 46 - legend - 8, b.h - 24}
	if p.Grid.W < 6 { // no room beside
		plot = box{b.x + 46, b.y + 4, b.w - 50, b.h - 24 - float64(len(all))*lineHeight}
	}
	from, to, low, high := extent(all)
	for tick := range 4 {
		value := low + (high-low)*float64(tick)/3
		y := plot.y + plot.h*(1-float64(tick)/3)
		fmt.Fprintf(s, `<path d="M%.0f %.0fh%.0f" stroke="#e8e9eb"/>`+"\n", plot.x, y, plot.w)
		s.text(plot.x-5, y+4, 10, "#5a6068", "end", format(value, p.Field.Defaults.Unit))
	}
	for i, l := range all {
		color := colors[i%len(colors)]
		var path strings.Builder
		for n, point := range l.points {
			op := "L"
			if n == 0 || point.At-l.points[n-1].At > 1.5 {
				op = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", op, plot.x+plot.w*(point.At-from)/(to-from), plot.y+plot.h*(1-(point.Value-low)/(high-low)))
		}
		fmt.Fprintf(s, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", path.String(), color)
		x, y, room := plot.x+plot.w+12, b.y+12+float64(i)*lineHeight, legend-14
		if p.Grid.W < 6 {
			x, y, room = b.x, plot.y+plot.h+34+float64(i-1)*lineHeight, b.w-14
		}
		s.rect(x, y-7, 10, 3, color, "none")
		s.text(x+14, y, 11, "#24292e", "start", clip(l.name, room, 6))
	}
	if p.Grid.W >= 6 && len(all) > 0 {
		for _, at := range []float64{from, to} {
			anchor := map[bool]string{true: "start", false: "end"}[at == from]
			s.text(plot.x+plot.w*(at-from)/(to-from), plot.y+plot.h+15, 10, "#5a6068", anchor, time.Unix(int64(at), 0).UTC().Format("15:04:05"))
		}
	}
}

// extent is the range of times and of values, with zero among them.
func extent(all []line) (from, to, low, high float64) {
	from, to = math.Inf(1), math.Inf(-1)
	for _, l := range all {
		from, to = min(from, l.points[0].At), max(to, l.points[len(l.points)-1].At)
		for _, point := range l.points {
			low, high = min(low, point.Value), max(high, point.Value)
		}
	}
	if high == low {
		high = low + 1
	}
	if to <= from {
		to = from + 1
	}
	return from, to, low, high * 1.05
}

// format writes a value in its unit, as short as possible.
func format(value float64, unit string) string {
	switch unit {
	case "dateTimeAsIso":
		return time.UnixMilli(int64(value)).UTC().Format("2006-01-02 15:04:05")
	case "percentunit":
		return fmt.Sprintf("%.0f%%", value*100)
	case "bytes":
		return fmt.Sprintf("%.0f MiB", value/(1<<20))
	case "s":
		if value < 1 {
			return fmt.Sprintf("%.3g ms", value*1000)
		}
		return fmt.Sprintf("%.3g s", value)
	case "none":
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.2g", value)
}
