// Package report is what a traffic client saw: its recording, its JSON lines and their reading back.
//
// A run of a client against one target is a sequence of Lines: one Start, then Segments and Failures in the order in
// which the requests ended, and one Summary. A Segment stands for consecutive answers of one pod; every failed request
// has a line of its own. Lines are numbered without holes over all targets of a process, so that a reader can prove
// that a container log is complete.
//
// The longest gap is the longest time between the ends of two consecutive successful answers: from the moment that a
// client had an answer in hand to the moment that it had the next, whichever requests those were. Nothing is subtracted,
// neither the interval between requests nor a pause of the client itself. Time before the first answer and after the
// last is between no two answers; the latter is told apart, as SilentAtEnd.
package report

import (
	"encoding/json"
	"fmt"
	"time"
)

// Class is the kind of a failure, as the client's operating system and resolver told it.
type Class string

// The classes of failures.
const (
	DNS     Class = "dns"     // the name did not resolve
	Refused Class = "refused" // nobody listens, or a proxy rejects a Service without endpoints
	Timeout Class = "timeout" // no answer within the client's patience
	Reset   Class = "reset"   // the connection broke before the answer was complete
	Other   Class = "other"   // an answer that is not 200, no route, and what else there is
)

// Line is one line of a client's output. One field beside Seq and Target is set.
type Line struct {
	Seq     int      `json:"seq"`
	Target  string   `json:"target"`
	Start   *Start   `json:"start,omitempty"`
	Segment *Segment `json:"segment,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
	Summary *Summary `json:"summary,omitempty"`
}

// Start tells what a client is about to do.
type Start struct {
	At       time.Time `json:"at"`
	URL      string    `json:"url"`
	Interval Millis    `json:"interval_ms"`
	Timeout  Millis    `json:"timeout_ms"`
}

// Segment is a run of consecutive answers of one pod, with no failure in between.
type Segment struct {
	AnsweredBy string    `json:"answered_by"`
	From       time.Time `json:"from"` // end of the first answer
	To         time.Time `json:"to"`   // end of the last
	Count      int       `json:"count"`
	MaxLatency Millis    `json:"max_latency_ms"`
	// MaxGap includes the gap between the segment's first answer and the last answer before it.
	MaxGap Millis `json:"max_gap_ms"`
}

// Failure is one failed request.
type Failure struct {
	Start   time.Time `json:"start"`
	Latency Millis    `json:"latency_ms"`
	Class   Class     `json:"class"`
	Detail  string    `json:"detail"`
}

// Answerer is one pod's share of the answers.
type Answerer struct {
	Name  string    `json:"name"`
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Summary is the whole run of one target.
type Summary struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`

	Sent     int           `json:"sent"`
	Answered int           `json:"answered"`
	Failed   int           `json:"failed"`
	ByClass  map[Class]int `json:"failed_by_class,omitempty"`
	// Unsent requests were due, but the client had too many in flight.
	Unsent int `json:"unsent"`
	// Late requests were due, but the client itself was not scheduled in time to send them.
	Late int `json:"late"`

	LongestGap     Millis    `json:"longest_gap_ms"`
	LongestGapFrom time.Time `json:"longest_gap_from"`
	// LongestPause is the longest time in which the client sent nothing: what it added to the gaps itself.
	LongestPause Millis `json:"longest_pause_ms"`
	SilentAtEnd  Millis `json:"silent_at_end_ms"`

	MedianLatency Millis     `json:"median_latency_ms"`
	P99Latency    Millis     `json:"p99_latency_ms"`
	MaxLatency    Millis     `json:"max_latency_ms"`
	AnsweredBy    []Answerer `json:"answered_by"` // in the order of their first answers
}

// Millis is a duration that is written as milliseconds with microsecond precision.
type Millis time.Duration

// Duration is the value as Go has it.
func (m Millis) Duration() time.Duration { return time.Duration(m) }

// MarshalJSON writes 12.345 for 12,345 microseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(m)/float64(time.Millisecond)), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Millis) UnmarshalJSON(text []byte) error {
	var ms float64
	if err := json.Unmarshal(text, &ms); err != nil {
		return fmt.Errorf("failed to read milliseconds %q: %w", text, err)
	}
	*m = Millis(time.Duration(ms*1000+0.5) * time.Microsecond)
	return nil
}
