package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

func at(d time.Duration) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(d)
}

// request is one request of a synthetic series, its times in milliseconds; class "" is an answer.
type request struct {
	start, end int
	by         string
	class      Class
}

// play records a series whose requests are given in the order of their ends.
func play(series []request, flush time.Duration, end int) ([]Line, Summary) {
	var lines []Line
	tally := NewTally("dns", Start{At: at(0), URL: "http://x/"}, flush, func(l Line) { lines = append(lines, l) })
	for _, r := range series {
		start, end := at(time.Duration(r.start)*ms), at(time.Duration(r.end)*ms)
		tally.Sent(start)
		if r.class != "" {
			tally.Failure(start, end, r.class, string(r.class))
		} else {
			tally.Answer(start, end, r.by)
		}
	}
	return lines, tally.Close(at(time.Duration(end) * ms))
}

func TestLongestGap(t *testing.T) {
	cases := map[string]struct {
		series      []request
		end         int
		gap, from   int
		silentAtEnd int
	}{
		"no request at all":        {end: 50, silentAtEnd: 50},
		"one answer has no gap":    {series: []request{{10, 12, "a", ""}}, end: 20, silentAtEnd: 8},
		"steady":                   {series: []request{{0, 1, "a", ""}, {5, 6, "a", ""}, {10, 11, "a", ""}}, end: 11, gap: 5, from: 1},
		"ends count, not starts":   {series: []request{{0, 1, "a", ""}, {5, 30, "a", ""}, {31, 32, "a", ""}}, end: 32, gap: 29, from: 1},
		"an overlapping answer":    {series: []request{{0, 1, "a", ""}, {10, 11, "a", ""}, {5, 30, "a", ""}}, end: 30, gap: 19, from: 11},
		"failures do not end it":   {series: []request{{0, 1, "a", ""}, {5, 6, "", Refused}, {10, 11, "", Refused}, {15, 16, "b", ""}}, end: 16, gap: 15, from: 1},
		"nor do they begin it":     {series: []request{{0, 1, "", Refused}, {5, 6, "a", ""}, {10, 11, "a", ""}}, end: 11, gap: 5, from: 6},
		"a change of pod is one":   {series: []request{{0, 1, "a", ""}, {5, 6, "a", ""}, {10, 20, "b", ""}, {20, 21, "b", ""}}, end: 21, gap: 14, from: 6},
		"the first of two equal":   {series: []request{{0, 1, "a", ""}, {5, 11, "a", ""}, {15, 21, "a", ""}}, end: 21, gap: 10, from: 1},
		"silence at the end apart": {series: []request{{0, 1, "a", ""}, {5, 6, "a", ""}, {10, 90, "", Timeout}}, end: 90, gap: 5, from: 1, silentAtEnd: 84},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, sum := play(c.series, time.Second, c.end)
			assert.Equal(t, time.Duration(c.gap)*ms, sum.LongestGap.Duration(), "longest gap")
			assert.Equal(t, time.Duration(c.silentAtEnd)*ms, sum.SilentAtEnd.Duration(), "silence at the end")
			if c.gap > 0 {
				assert.Equal(t, at(time.Duration(c.from)*ms), sum.LongestGapFrom, "where it begins")
			}
		})
	}
}

func TestSegments(t *testing.T) {
	series := []request{
		{0, 1, "a", ""}, {5, 8, "a", ""}, {10, 11, "b", ""}, {15, 16, "a", ""},
		{20, 21, "", Reset}, {25, 26, "a", ""}, {30, 31, "a", ""}, {126, 127, "a", ""},
	}
	lines, sum := play(series, 100*ms, 130)

	var got []string
	for _, l := range lines {
		switch {
		case l.Start != nil:
			got = append(got, "start")
		case l.Segment != nil:
			got = append(got, l.Segment.AnsweredBy+strings.Repeat("+", l.Segment.Count))
		case l.Failure != nil:
			got = append(got, string(l.Failure.Class))
		case l.Summary != nil:
			got = append(got, "summary")
		}
	}
	assert.Equal(t, []string{"start", "a++", "b+", "a+", "reset", "a++", "a+", "summary"}, got,
		"a segment ends when another pod answers, at a failure and at the flush interval")

	assert.Equal(t, 8, sum.Sent)
	assert.Equal(t, 7, sum.Answered)
	assert.Equal(t, map[Class]int{Reset: 1}, sum.ByClass)
	assert.Equal(t, []Answerer{{"a", 6, at(1 * ms), at(127 * ms)}, {"b", 1, at(11 * ms), at(11 * ms)}}, sum.AnsweredBy)
	assert.Equal(t, 96*ms, sum.LongestPause.Duration())
	assert.Equal(t, 3*ms, sum.MaxLatency.Duration())
	assert.Equal(t, 1*ms, sum.MedianLatency.Duration())

	longest := Millis(0)
	for _, l := range lines {
		if l.Segment != nil {
			longest = max(longest, l.Segment.MaxGap)
		}
	}
	assert.Equal(t, sum.LongestGap, longest, "no gap is lost between two segments")
}

func TestReadBack(t *testing.T) {
	var out bytes.Buffer
	writer := NewWriter(&out)
	emit := func(target string) *Tally {
		return NewTally(target, Start{At: at(0), URL: "http://" + target, Interval: Millis(5 * ms), Timeout: Millis(2 * time.Second)}, time.Second, writer.Emit)
	}
	dns, ip := emit("dns"), emit("clusterip")
	for i, by := range []string{"a", "a", "b", "b"} {
		start := at(time.Duration(i) * 5 * ms)
		for _, tally := range []*Tally{dns, ip} {
			tally.Sent(start)
			tally.Answer(start, start.Add(1234*time.Microsecond), by)
		}
	}
	ip.Sent(at(20 * ms))
	ip.Failure(at(20*ms), at(21*ms), DNS, "no such host")
	want := map[string]Summary{"dns": dns.Close(at(30 * ms)), "clusterip": ip.Close(at(30 * ms))}
	require.NoError(t, writer.Close())

	runs, err := Read(strings.NewReader(out.String()))
	require.NoError(t, err)
	require.Len(t, runs, 2)
	for _, run := range runs {
		assert.Equal(t, want[run.Target], *run.Summary)
		assert.Equal(t, "http://"+run.Target, run.Start.URL)
		assert.Equal(t, at(10*ms).Add(1234*time.Microsecond), run.FirstAnswer("b"))
		assert.Equal(t, at(5*ms).Add(1234*time.Microsecond), run.LastAnswer("a"))
		assert.Zero(t, run.FirstAnswer("c"))
		assert.Zero(t, run.LastAnswer("c"))
	}
	assert.Equal(t, "dns", runs[0].Target)
	assert.Len(t, runs[1].Failures, 1)
}

func TestReadFindsWhatIsMissing(t *testing.T) {
	var out bytes.Buffer
	writer := NewWriter(&out)
	tally := NewTally("dns", Start{At: at(0)}, 8*ms, writer.Emit)
	for i := range 4 {
		start := at(time.Duration(i) * 5 * ms)
		tally.Sent(start)
		tally.Answer(start, start.Add(ms), "a")
	}
	tally.Close(at(20 * ms))
	require.NoError(t, writer.Close())
	lines := strings.SplitAfter(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 4, "start, two segments, summary")

	_, err := Read(strings.NewReader(lines[0] + lines[1] + lines[3]))
	assert.ErrorContains(t, err, "line 3 is missing")

	runs, err := Read(strings.NewReader(lines[0] + lines[1] + lines[2]))
	require.NoError(t, err, "a client that was killed has no summary")
	assert.Nil(t, runs[0].Summary)

	_, err = Read(strings.NewReader(lines[0] + "not JSON\n"))
	assert.ErrorContains(t, err, "line 2")

	summary := strings.Replace(lines[3], `"answered":4`, `"answered":5`, 1)
	_, err = Read(strings.NewReader(lines[0] + lines[1] + lines[2] + summary))
	assert.ErrorContains(t, err, "4 answers and 0 failures were logged, the summary has 5 and 0 of 4")
}

func TestMillis(t *testing.T) {
	text, err := json.Marshal(Millis(12345678 * time.Nanosecond))
	require.NoError(t, err)
	assert.Equal(t, "12.346", string(text))
	var back Millis
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, 12346*time.Microsecond, back.Duration())
	assert.Error(t, json.Unmarshal([]byte(`"x"`), &back))
}
