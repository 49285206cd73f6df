package report

import (
	"slices"
	"time"
)

// Tally turns the requests of one target into Lines, in the order of its calls: Answer and Failure must be called in
// the order in which the requests ended. It holds no lock and reads no clock.
type Tally struct {
	emit    func(Line)
	target  string
	flush   time.Duration
	segment *Segment
	sum     Summary

	lastSent  time.Time
	latencies []time.Duration
}

// NewTally starts a recording. A segment is emitted at the first answer after it has lasted for flush, when another
// pod answers and when a request fails, so that what a client saw is in its log soon even if it is killed.
func NewTally(target string, start Start, flush time.Duration, emit func(Line)) *Tally {
	t := &Tally{emit: emit, target: target, flush: flush, sum: Summary{From: start.At}}
	t.emit(Line{Target: target, Start: &start})
	return t
}

// Sent records that a request was started.
func (t *Tally) Sent(at time.Time) {
	if !t.lastSent.IsZero() {
		t.sum.LongestPause = max(t.sum.LongestPause, Millis(at.Sub(t.lastSent)))
	}
	t.lastSent = at
	t.sum.Sent++
}

// Unsent records a request that was due and not started, because too many were in flight.
func (t *Tally) Unsent() { t.sum.Unsent++ }

// Late records requests that were due while the client was not running.
func (t *Tally) Late(n int) { t.sum.Late += n }

// Answer records the complete answer of a pod.
func (t *Tally) Answer(start, end time.Time, by string) {
	latency, gap := end.Sub(start), t.gapBefore(end)
	t.latencies = append(t.latencies, latency)
	t.sum.Answered++
	t.answerer(by, end)

	if s := t.segment; s != nil && (s.AnsweredBy != by || end.Sub(s.From) >= t.flush) {
		t.closeSegment()
	}
	if t.segment == nil {
		t.segment = &Segment{AnsweredBy: by, From: end}
	}
	s := t.segment
	s.To, s.Count = end, s.Count+1
	s.MaxLatency = max(s.MaxLatency, Millis(latency))
	s.MaxGap = max(s.MaxGap, Millis(gap))
}

// Failure records a request that got no answer, or a wrong one.
func (t *Tally) Failure(start, end time.Time, class Class, detail string) {
	t.closeSegment()
	t.sum.Failed++
	if t.sum.ByClass == nil {
		t.sum.ByClass = map[Class]int{}
	}
	t.sum.ByClass[class]++
	t.emit(Line{Target: t.target, Failure: &Failure{Start: start, Latency: Millis(end.Sub(start)), Class: class, Detail: detail}})
}

// Close ends the recording.
func (t *Tally) Close(at time.Time) Summary {
	t.closeSegment()
	t.sum.To = at
	t.sum.SilentAtEnd = Millis(at.Sub(t.lastAnswer()))
	slices.Sort(t.latencies)
	t.sum.MedianLatency = quantile(t.latencies, 0.5)
	t.sum.P99Latency = quantile(t.latencies, 0.99)
	t.sum.MaxLatency = quantile(t.latencies, 1)
	summary := t.sum
	t.emit(Line{Target: t.target, Summary: &summary})
	return summary
}

func (t *Tally) closeSegment() {
	if t.segment == nil {
		return
	}
	t.emit(Line{Target: t.target, Segment: t.segment})
	t.segment = nil
}

// lastAnswer is the end of the last successful answer, or the start of the run.
func (t *Tally) lastAnswer() time.Time {
	last := t.sum.From
	for _, a := range t.sum.AnsweredBy {
		if a.Last.After(last) {
			last = a.Last
		}
	}
	return last
}

func (t *Tally) gapBefore(end time.Time) time.Duration {
	if t.sum.Answered == 0 {
		return 0
	}
	last := t.lastAnswer()
	gap := end.Sub(last)
	if Millis(gap) > t.sum.LongestGap {
		t.sum.LongestGap, t.sum.LongestGapFrom = Millis(gap), last
	}
	return gap
}

func (t *Tally) answerer(by string, end time.Time) {
	for i := range t.sum.AnsweredBy {
		if a := &t.sum.AnsweredBy[i]; a.Name == by {
			a.Count, a.Last = a.Count+1, end
			return
		}
	}
	t.sum.AnsweredBy = append(t.sum.AnsweredBy, Answerer{Name: by, Count: 1, First: end, Last: end})
}

func quantile(sorted []time.Duration, q float64) Millis {
	if len(sorted) == 0 {
		return 0
	}
	return Millis(sorted[int(q*float64(len(sorted)-1))])
}
