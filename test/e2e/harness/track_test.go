package harness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func TestTrackShowsWhoAnsweredWhen(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	run := report.Run{
		Target: "leader-service",
		Segments: []report.Segment{
			{AnsweredBy: "a", From: after(0), To: after(290)},
			{AnsweredBy: "b", From: after(610), To: after(615)},
			{AnsweredBy: "a", From: after(650), To: after(660)},
		},
		Failures: []report.Failure{{Start: after(10)}, {Start: after(310)}, {Start: after(495)}, {Start: after(620)}},
		Summary:  &report.Summary{To: after(700)},
	}
	ms := func(n int) report.Millis { return report.Millis(time.Duration(n) * time.Millisecond) }
	want := []Span{
		{From: ms(-200), To: ms(0), By: "a", Answered: true},
		{From: ms(0), To: ms(200), Failed: true},
		{From: ms(200), To: ms(300)},
		{From: ms(300), To: ms(400), By: Several, Answered: true, Failed: true},
		{From: ms(400), To: ms(500)},
	}
	// From 100 ms on, and 300 ms are the event.
	assert.Equal(t, Track{Target: "leader-service", Spans: want}, NewTrack(run, after(100), after(300)))
	assert.Empty(t, NewTrack(report.Run{Target: "x"}, start, start).Spans)
}
