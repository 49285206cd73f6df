package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// command shows a command, runs it, and shows what it prints.
func (d *demo) command(ctx context.Context, name string, args ...string) error {
	d.screen.command(append([]string{name}, args...)...)
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &lines{to: d.screen}, &stderr
	// helm tidies up when it is interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	done := d.clock()
	err := cmd.Run()
	done()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// clock shows that a long wait goes on, ever less often, until the function that it returns is called.
func (d *demo) clock() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for waited, wait := time.Duration(0), 5*time.Second; ; wait = min(waited, 30*time.Second) {
			select {
			case <-end:
				return
			case <-time.After(wait):
				waited += wait
				d.screen.line("%s", d.screen.paint(dim, fmt.Sprintf("... %.0f s", waited.Seconds())))
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// lines passes on whole lines, so that those of several writers do not mix, and each but once in a row.
type lines struct {
	to      io.Writer
	pending []byte
	last    string
}

func (l *lines) Write(text []byte) (int, error) {
	l.pending = append(l.pending, text...)
	for {
		line, rest, whole := strings.Cut(string(l.pending), "\n")
		if !whole {
			return len(text), nil
		}
		l.pending = []byte(rest)
		if line == l.last && line != "" {
			continue
		}
		l.last = line
		if _, err := fmt.Fprintln(l.to, line); err != nil {
			return 0, err
		}
	}
}
