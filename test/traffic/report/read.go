package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Run is what one client saw of one target.
type Run struct {
	Target   string
	Start    Start
	Segments []Segment
	Failures []Failure
	Summary  *Summary // nil while the client runs, or if it was killed
}

// Read reads a client's log, one Run for each target in the order of their starts. What a killed client left behind is
// read as far as it goes; lines that are missing in between, or that do not add up to the client's summary, are an error.
func Read(log io.Reader) ([]Run, error) {
	var runs []*Run
	lines := bufio.NewScanner(log)
	for want := 1; lines.Scan(); want++ {
		var line Line
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("failed to read line %d of the client's log: %w", want, err)
		}
		if line.Seq != want {
			return nil, fmt.Errorf("failed to read the client's log: line %d is missing, line %d follows", want, line.Seq)
		}
		run := find(runs, line.Target)
		if run == nil {
			run = &Run{Target: line.Target}
			runs = append(runs, run)
		}
		run.add(line)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("failed to read the client's log: %w", err)
	}
	return finish(runs)
}

func find(runs []*Run, target string) *Run {
	for _, run := range runs {
		if run.Target == target {
			return run
		}
	}
	return nil
}

func finish(runs []*Run) ([]Run, error) {
	var complete []Run
	var errs []error
	for _, run := range runs {
		complete = append(complete, *run)
		errs = append(errs, run.check())
	}
	return complete, errors.Join(errs...)
}

func (r *Run) add(line Line) {
	switch {
	case line.Start != nil:
		r.Start = *line.Start
	case line.Segment != nil:
		r.Segments = append(r.Segments, *line.Segment)
	case line.Failure != nil:
		r.Failures = append(r.Failures, *line.Failure)
	case line.Summary != nil:
		r.Summary = line.Summary
	}
}

func (r *Run) check() error {
	if r.Summary == nil {
		return nil
	}
	answered := 0
	for _, s := range r.Segments {
		answered += s.Count
	}
	if answered != r.Summary.Answered || len(r.Failures) != r.Summary.Failed || r.Summary.Sent != answered+len(r.Failures) {
		return fmt.Errorf("failed to add up the client's log of %s: %d answers and %d failures were logged, the summary has %d and %d of %d requests",
			r.Target, answered, len(r.Failures), r.Summary.Answered, r.Summary.Failed, r.Summary.Sent)
	}
	return nil
}

// FirstAnswer is the time at which the first answer of a pod was complete; zero if it answered none.
func (r *Run) FirstAnswer(by string) time.Time {
	for _, s := range r.Segments {
		if s.AnsweredBy == by {
			return s.From
		}
	}
	return time.Time{}
}

// LastAnswer is the time at which the last answer of a pod was complete; zero if it answered none.
func (r *Run) LastAnswer(by string) time.Time {
	for i := len(r.Segments) - 1; i >= 0; i-- {
		if s := r.Segments[i]; s.AnsweredBy == by {
			return s.To
		}
	}
	return time.Time{}
}

// Writer numbers Lines and writes them in the background, so that a slow reader of the log delays no recording.
type Writer struct {
	mu    sync.Mutex
	seq   int
	queue chan Line
	done  chan error
}

// NewWriter starts writing to out until Close is called.
func NewWriter(out io.Writer) *Writer {
	// The longest outage that is expected: a minute of single failures of a few targets.
	w := &Writer{queue: make(chan Line, 1<<16), done: make(chan error, 1)}
	go func() {
		encoder := json.NewEncoder(out)
		var errs error
		for line := range w.queue {
			if errs == nil {
				errs = encoder.Encode(line)
			}
		}
		w.done <- errs
	}()
	return w
}

// Emit queues a line.
func (w *Writer) Emit(line Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seq++
	line.Seq = w.seq
	w.queue <- line
}

// Close writes what is queued and returns the first error of writing.
func (w *Writer) Close() error {
	close(w.queue)
	if err := <-w.done; err != nil {
		return fmt.Errorf("failed to write the report: %w", err)
	}
	return nil
}
