package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// screen writes for a person: plain text, with colour only on a terminal.
type screen struct {
	mu     sync.Mutex // the clock of a long wait writes beside the command
	out    io.Writer
	colour bool
	start  time.Time
	steps  int
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: out, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", start: time.Now()}
}

// Codes of the colours that are used.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}

func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.out, format, args...)
}

// step begins a part of the demo. The clock shows where the time goes.
func (s *screen) step(format string, args ...any) {
	s.steps++
	s.printf("\n%s %s\n", s.paint(dim, fmt.Sprintf("[%5.1f s]", time.Since(s.start).Seconds())),
		s.paint(bold, fmt.Sprintf("%d. %s", s.steps, fmt.Sprintf(format, args...))))
}

func (s *screen) heading(format string, args ...any) {
	s.printf("\n%s\n", s.paint(bold, fmt.Sprintf(format, args...)))
}

func (s *screen) line(format string, args ...any) {
	s.printf("    %s\n", fmt.Sprintf(format, args...))
}

// command shows what a person would type.
func (s *screen) command(words ...string) {
	quoted := make([]string, 0, len(words))
	for _, word := range words {
		if strings.ContainsAny(word, " '\"$;&|*?(){}\\") {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		quoted = append(quoted, word)
	}
	s.printf("    %s\n", s.paint(cyan, "$ "+strings.Join(quoted, " ")))
}

// Write indents what a command prints.
func (s *screen) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		s.printf("      %s\n", strings.TrimRight(line, "\r\n"))
	}
	return len(text), nil
}

// timeline prints a run.
func (s *screen) timeline(o observation) {
	s.heading("Timeline, in seconds from the deletion of the leader")
	for _, e := range o.events() {
		s.printf("  %11s   %s\n", seconds(e.At.Sub(o.DeletedAt)), e.Text)
	}
	s.printf("  Between the slice's change and the new leader's first answer lies the proxy on the client's node: kube-proxy writes\n")
	s.printf("  its rules at most once a second by default. Until then requests still go to the old leader.\n")
	s.picture(o)
	s.heading("What the clients saw")
	s.table(o.table())
	if slices.ContainsFunc(o.Clients, clientView.held) {
		s.printf("  This machine was too busy for a client to keep its pace; its own pauses are part of the gaps.\n")
	}
}

func (s *screen) picture(o observation) {
	before, after, step := o.frame()
	s.heading("Who answered, one symbol for %d ms: o %s, N %s, X failed", step.Milliseconds(), o.Before.Pod, o.After.Pod)
	width := 0
	for _, c := range o.Clients {
		width = max(width, len("by "+c.Title))
	}
	left, right := int(before/step), int(after/step)
	s.printf("  %-*s   %-*s|%*s\n", width, "", left, fmt.Sprintf("%+.1f s", -before.Seconds()), right, fmt.Sprintf("%+.1f s", after.Seconds()))
	for _, c := range o.Clients {
		symbols := o.picture(c, -before, after, step)
		s.printf("  %-*s   %s|%s\n", width, "by "+c.Title, s.paintSymbols(symbols[:left]), s.paintSymbols(symbols[left:]))
	}
}

func (s *screen) paintSymbols(symbols string) string {
	colours := map[byte]string{byOld: yellow, byNew: green, failed: red, byOther: red}
	var b strings.Builder
	for len(symbols) > 0 {
		end := len(symbols) - len(strings.TrimLeft(symbols, symbols[:1]))
		if colour, ok := colours[symbols[0]]; ok {
			b.WriteString(s.paint(colour, symbols[:end]))
		} else {
			b.WriteString(symbols[:end])
		}
		symbols = symbols[end:]
	}
	return b.String()
}

func (s *screen) table(rows []row) {
	var widths []int
	label := 0
	for _, r := range rows {
		label = max(label, len(r.Label))
		for i, cell := range r.Cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, r := range rows {
		s.printf("  %-*s", label, r.Label)
		for i, cell := range r.Cells {
			s.printf("   %*s", widths[i], cell)
		}
		s.printf("\n")
	}
}
