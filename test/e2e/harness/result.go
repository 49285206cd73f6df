package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// Result is what a row of the failure matrix showed.
type Result struct {
	Row     string       `json:"row"`
	Run     string       `json:"run"` // the same for all rows of one call of make e2e
	Family  string       `json:"ip_family"`
	At      time.Time    `json:"at"`
	Load    float64      `json:"load"` // of the machine, when the row began; negative if unknown
	Passed  bool         `json:"passed"`
	Clients []ClientView `json:"clients"`
	Tracks  []Track      `json:"tracks,omitempty"`
	// Notes are what else was measured, in words.
	Notes []string `json:"notes,omitempty"`
	// ToSlice is from the event that the test made to the watch's delivery of the next leader; negative if there was none.
	ToSlice report.Millis `json:"event_to_slice_ms"`
	Moves   int           `json:"leader_moves"`
	Seconds float64       `json:"seconds"`
}

// ClientView is what a client saw of one target.
type ClientView struct {
	Target     string        `json:"target"`
	Sent       int           `json:"sent"`
	Failed     int           `json:"failed"`
	LongestGap report.Millis `json:"longest_gap_ms"`
	// SilentAtEnd is the time from the last answer to the client's end: a gap that nobody saw the end of.
	SilentAtEnd report.Millis `json:"silent_at_end_ms"`
	Late        int           `json:"late"`
	// AnsweredBy are the pods in the order of the answers; a pod that comes back is named again.
	AnsweredBy []string `json:"answered_by"`
}

// View sums a run up from a moment on: before it the client's own proxy may not have heard of the Services yet. Of a Service that spreads its connections the pods are named once, as their order means nothing.
func View(run report.Run, from time.Time) ClientView {
	v := ClientView{Target: run.Target, Sent: run.Summary.Sent, Failed: run.Summary.Failed, LongestGap: run.Summary.LongestGap,
		SilentAtEnd: run.Summary.SilentAtEnd, Late: run.Summary.Late}
	for _, failure := range run.Failures {
		if failure.Start.Before(from) {
			v.Sent, v.Failed = v.Sent-1, v.Failed-1
		}
	}
	for _, segment := range run.Segments {
		if n := len(v.AnsweredBy); n == 0 || v.AnsweredBy[n-1] != segment.AnsweredBy {
			v.AnsweredBy = append(v.AnsweredBy, segment.AnsweredBy)
		}
	}
	if len(v.AnsweredBy) > 20 {
		v.AnsweredBy = nil
		for _, a := range run.Summary.AnsweredBy {
			v.AnsweredBy = append(v.AnsweredBy, a.Name)
		}
	}
	return v
}

// Append adds the result to a file of JSON lines.
func (r Result) Append(path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("failed to create the folder of %s: %w", path, err)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("failed to encode result %s: %w", r.Row, err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("failed to open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("failed to write %s: %w", path, err)
	}
	return nil
}
