package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	done := d.clock()
	err := cmd.Run()
	done()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not on the PATH; `make demo` builds it into bin/", name)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// clock shows that a long wait goes on, until the function that it returns is called.
func (d *demo) clock() (stop func()) {
	ticker, end, ended := time.NewTicker(5*time.Second), make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
				d.screen.line("%s", d.screen.paint(dim, fmt.Sprintf("... %.0f s", time.Since(start).Seconds())))
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(end)
		<-ended
	}
}

// lines passes on whole lines, so that those of several writers do not mix.
type lines struct {
	to      io.Writer
	pending []byte
}

func (l *lines) Write(text []byte) (int, error) {
	l.pending = append(l.pending, text...)
	if i := strings.LastIndexByte(string(l.pending), '\n'); i >= 0 {
		if _, err := l.to.Write(l.pending[:i+1]); err != nil {
			return 0, err
		}
		l.pending = l.pending[i+1:]
	}
	return len(text), nil
}
