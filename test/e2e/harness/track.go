package harness

import (
	"time"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// Several is who answered in a time in which more than one pod did.
const Several = "several"

// trackStep is the resolution of a Track.
const trackStep = 100 * time.Millisecond

// Track is what a client saw of a target over time, for the picture: a span for each time in which it saw the same.
type Track struct {
	Target string `json:"target"`
	Spans  []Span `json:"spans"`
}

// Span is relative to the event of the row.
type Span struct {
	From     report.Millis `json:"from_ms"`
	To       report.Millis `json:"to_ms"`
	By       string        `json:"by,omitempty"` // a pod, or Several; empty if nobody answered
	Answered bool          `json:"answered"`
	Failed   bool          `json:"failed"` // requests that were sent in this time failed
}

// step is one piece of a Track of the least length.
type step struct {
	by               string
	answered, failed bool
}

// NewTrack sums a run up, from a moment on and in relation to an event.
func NewTrack(run report.Run, from, event time.Time) Track {
	if run.Summary == nil || !run.Summary.To.After(from) {
		return Track{Target: run.Target}
	}
	steps := make([]step, int(run.Summary.To.Sub(from)/trackStep)+1)
	place := func(at time.Time) int { return min(max(int(at.Sub(from)/trackStep), 0), len(steps)-1) }
	for _, segment := range run.Segments {
		if segment.To.Before(from) {
			continue
		}
		for i := place(segment.From); i <= place(segment.To); i++ {
			s := &steps[i]
			if s.answered && s.by != segment.AnsweredBy {
				s.by = Several
			} else {
				s.by = segment.AnsweredBy
			}
			s.answered = true
		}
	}
	for _, failure := range run.Failures {
		if !failure.Start.Before(from) {
			steps[place(failure.Start)].failed = true
		}
	}
	return Track{Target: run.Target, Spans: spans(steps, from.Sub(event))}
}

func spans(steps []step, offset time.Duration) []Span {
	var all []Span
	for i, s := range steps {
		from := offset + time.Duration(i)*trackStep
		if n := len(all); i > 0 && s == steps[i-1] {
			all[n-1].To = report.Millis(from + trackStep)
			continue
		}
		all = append(all, Span{From: report.Millis(from), To: report.Millis(from + trackStep), By: s.by, Answered: s.answered, Failed: s.failed})
	}
	return all
}
