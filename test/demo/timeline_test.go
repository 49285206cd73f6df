package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

const (
	oldPod = "my-app-5d9f-aaaaa"
	newPod = "my-app-5d9f-bbbbb"
	ms     = time.Millisecond
)

// after is a time relative to the deletion.
func after(d time.Duration) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(d)
}

// stretch is a part of a synthetic run, in which every request ends alike.
type stretch struct {
	until time.Duration
	by    string
	class report.Class
}

// play makes a run that sends a request every 5 ms from 1 s before the deletion, each answered within 1 ms.
func play(stretches ...stretch) report.Run {
	var lines []report.Line
	from := -1 * time.Second
	start := report.Start{At: after(from), URL: "http://my-app-leader/hostname", Interval: report.Millis(5 * ms), Timeout: report.Millis(2 * time.Second)}
	tally := report.NewTally("dns", start, time.Second, func(l report.Line) { lines = append(lines, l) })
	at := from
	for _, s := range stretches {
		for ; at < s.until; at += 5 * ms {
			tally.Sent(after(at))
			switch {
			case s.class != "":
				tally.Failure(after(at), after(at+ms), s.class, "it is "+string(s.class))
			case s.by != "":
				tally.Answer(after(at), after(at+ms), s.by)
			}
		}
	}
	tally.Close(after(at))

	run := report.Run{Start: start}
	for _, l := range lines {
		switch {
		case l.Segment != nil:
			run.Segments = append(run.Segments, *l.Segment)
		case l.Failure != nil:
			run.Failures = append(run.Failures, *l.Failure)
		case l.Summary != nil:
			run.Summary = l.Summary
		}
	}
	return run
}

func leads(pod, node string, at time.Duration) harness.Leadership {
	return harness.Leadership{At: after(at), Slice: "my-app-leader-ipv4", Pod: pod, UID: types.UID(pod), Node: node, Endpoints: 1, Ready: true, Serving: true}
}

func smooth() report.Run {
	return play(stretch{until: 300 * ms, by: oldPod}, stretch{until: 3 * time.Second, by: newPod})
}

// observe is a switch after 6 ms, seen by a client with this run and by one whose run is smooth.
func observe(run report.Run) observation {
	return observation{
		Before: leads(oldPod, "worker", -10*time.Second), After: leads(newPod, "worker2", 6*ms),
		Switches:  []harness.Leadership{leads(newPod, "worker2", 6*ms)},
		DeletedAt: after(0), AcceptedAt: after(4 * ms), GoneAt: after(5 * time.Second),
		Clients: []clientView{{Title: "DNS name", Node: "worker2", Run: run}, {Title: "ClusterIP", Node: "worker2", Run: smooth()}},
	}
}

func TestEventsInOrder(t *testing.T) {
	var got []string
	for _, e := range observe(smooth()).events() {
		got = append(got, seconds(e.At.Sub(after(0)))+" "+e.Text)
	}
	assert.Equal(t, []string{
		"-1.000 s client by DNS name starts: my-app-5d9f-aaaaa answers, on worker",
		"-1.000 s client by ClusterIP starts: my-app-5d9f-aaaaa answers, on worker",
		"+0.000 s the deletion of the leader, my-app-5d9f-aaaaa, is sent",
		"+0.004 s the API server has accepted it",
		"+0.006 s a watch sees slice my-app-leader-ipv4 name my-app-5d9f-bbbbb, on worker2",
		"+0.296 s client by DNS name: last answer of my-app-5d9f-aaaaa",
		"+0.296 s client by ClusterIP: last answer of my-app-5d9f-aaaaa",
		"+0.301 s client by DNS name: first answer of my-app-5d9f-bbbbb",
		"+0.301 s client by ClusterIP: first answer of my-app-5d9f-bbbbb",
		"+3.000 s client by DNS name ends",
		"+3.000 s client by ClusterIP ends",
		"+5.000 s my-app-5d9f-aaaaa is gone",
	}, got)
}

func TestComplete(t *testing.T) {
	inIPv6 := func(l harness.Leadership) harness.Leadership {
		l.Slice = "my-app-leader-ipv6"
		return l
	}
	before, switched := leads(oldPod, "worker", -5*time.Second), leads(newPod, "worker2", 6*ms)
	notReady, third := leads(newPod, "worker2", 2*ms), leads("third", "worker", time.Second)
	notReady.Ready = false
	o := observation{Before: before, DeletedAt: after(0)}
	o.complete([]harness.Leadership{
		leads("of yesterday", "worker", -time.Hour), before, inIPv6(before), {At: after(ms), Slice: before.Slice}, notReady, switched,
		inIPv6(leads(oldPod, "worker", 7*ms)), inIPv6(leads(newPod, "worker2", 8*ms)), switched, third, inIPv6(third),
	}, []harness.PodChange{
		{At: after(ms), UID: types.UID(oldPod), What: harness.PodTerminating},
		{At: after(5 * ms), UID: "other", What: harness.PodGone},
		{At: after(6 * time.Second), UID: types.UID(oldPod), What: harness.PodGone},
	})
	assert.Equal(t, switched, o.After)
	assert.Equal(t, []harness.Leadership{switched, inIPv6(leads(newPod, "worker2", 8*ms))}, o.Switches)
	assert.Equal(t, after(6*time.Second), o.GoneAt)
	assert.Contains(t, o.conclusion(), "within 8 ms of the deletion", "the last slice counts")

	unchanged := observation{Before: before, DeletedAt: after(0)}
	unchanged.complete([]harness.Leadership{before}, nil)
	assert.Equal(t, before, unchanged.After)
	assert.Empty(t, unchanged.Switches)
}

func TestProblems(t *testing.T) {
	cases := map[string]struct {
		change func(*observation)
		want   string
	}{
		"none": {func(*observation) {}, ""},
		"one failed request": {func(o *observation) {
			o.Clients[0].Run = play(stretch{until: 300 * ms, by: oldPod}, stretch{until: 305 * ms, class: report.Refused}, stretch{until: time.Second, by: newPod})
		}, "by DNS name 1 of 400 requests failed; the first, +0.300 s after the deletion: it is refused"},
		"no switch": {func(o *observation) {
			o.After, o.Switches = o.Before, nil
			for i := range o.Clients {
				o.Clients[i].Run = play(stretch{until: time.Second, by: oldPod})
			}
		}, "the leader slice never named another pod than " + oldPod},
		"the switch did not reach the client": {func(o *observation) {
			o.Clients[1].Run = play(stretch{until: time.Second, by: oldPod})
		}, "by ClusterIP the last answer is not the new leader's, " + newPod},
		"nobody answered": {func(o *observation) {
			o.Clients[0].Run = play(stretch{until: time.Second})
		}, "by DNS name the first leader, " + oldPod + ", never answered"},
		"somebody else answered": {func(o *observation) {
			o.Clients[0].Run = play(stretch{until: 0, by: oldPod}, stretch{until: 10 * ms, by: "stranger"}, stretch{until: time.Second, by: newPod})
		}, "by DNS name 2 requests were answered by stranger, which did not lead"},
		"silence at the end": {func(o *observation) {
			o.Clients[0].Run = play(stretch{until: 0, by: oldPod}, stretch{until: 10 * ms, by: newPod}, stretch{until: 4 * time.Second})
		}, "by DNS name no answer came in the last 3,994 ms"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := observe(smooth())
			c.change(&o)
			if c.want == "" {
				assert.Empty(t, o.problems())
				return
			}
			assert.Contains(t, o.problems(), c.want)
		})
	}
}

func TestPicture(t *testing.T) {
	o := observe(play(stretch{until: 0, by: oldPod}, stretch{until: 100 * ms}, stretch{until: 101 * ms, class: report.Timeout},
		stretch{until: 300 * ms, by: "stranger"}, stretch{until: 3 * time.Second, by: newPod}))
	assert.Equal(t, "oo..X???NN", o.picture(o.Clients[0], -100*ms, 400*ms, 50*ms))
	assert.Equal(t, "oooooooooNNN", o.picture(o.Clients[1], -150*ms, 450*ms, 50*ms))
}

func TestFrameHoldsTheSwitch(t *testing.T) {
	for at, want := range map[time.Duration]time.Duration{50 * ms: 25 * ms, 800 * ms: 50 * ms, 1600 * ms: 100 * ms, 5 * time.Second: 250 * ms, 20 * time.Second: 250 * ms} {
		o := observe(play(stretch{until: at, by: oldPod}, stretch{until: at + time.Second, by: newPod}))
		before, after, step := o.frame()
		assert.Equal(t, want, step, "switch after %s", at)
		assert.Equal(t, 20*step, before)
		assert.Equal(t, 40*step, after)
	}
}

func TestScreenIsPlainAndAligned(t *testing.T) {
	var out bytes.Buffer
	o := observe(play(stretch{until: 300 * ms, by: oldPod}, stretch{until: 1310 * ms, class: report.Refused}, stretch{until: 6 * time.Second, by: newPod}))
	s := &screen{out: &out}
	s.timeline(o)
	text := out.String()
	t.Log(text)
	assert.NotContains(t, text, "\033", "colour is for terminals")

	_, table, found := strings.Cut(text, "What the clients saw\n")
	require.True(t, found)
	rows := strings.Split(strings.TrimRight(table, "\n"), "\n")
	for _, r := range rows {
		assert.Len(t, r, len(rows[0]), "rows are aligned")
	}
	for _, want := range []string{
		"requests sent", "1,400", "202 (202 refused)", "gap at the switch", "longest gap", "1,015 ms", "which began at", "+0.296 s",
		"answered before by " + oldPod, "answered after by " + newPod,
	} {
		assert.Contains(t, table, want)
	}
	assert.NotContains(t, table, "pause", "this client kept its pace")
	assert.Equal(t, "2,200 requests, 202 failed; the slice named the new leader within 6 ms of the deletion; longest gap of a client 1,015 ms", o.conclusion())
}

func TestClientThatWasHeldIsTold(t *testing.T) {
	o := observe(smooth())
	o.Clients[0].Run.Summary.Late = 3
	var labels []string
	for _, r := range o.table() {
		labels = append(labels, r.Label)
	}
	assert.Contains(t, labels, "due, but not sent")
	assert.Contains(t, labels, "longest pause of the client")
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		assert.Equal(t, want, thousands(n))
	}
	for d, want := range map[time.Duration]string{0: "0 ms", 5 * ms: "5 ms", 6400 * time.Microsecond: "6.4 ms", 10600 * time.Microsecond: "11 ms", 1234 * ms: "1,234 ms"} {
		assert.Equal(t, want, milliseconds(report.Millis(d)))
	}
}

func TestSplitImage(t *testing.T) {
	for reference, want := range map[string]image{
		"zen-lead:dev":                     {"zen-lead", "tag", "dev"},
		"localhost:5000/a/zen-lead:1.0":    {"localhost:5000/a/zen-lead", "tag", "1.0"},
		"example.com/zen-lead@sha256:abcd": {"example.com/zen-lead", "digest", "sha256:abcd"},
	} {
		got, err := splitImage(reference)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, wrong := range []string{"", "zen-lead", "localhost:5000/zen-lead", "zen-lead:", ":dev"} {
		_, err := splitImage(wrong)
		assert.Error(t, err, wrong)
	}
}

func TestURLHost(t *testing.T) {
	assert.Equal(t, "10.96.0.17", urlHost("10.96.0.17"))
	assert.Equal(t, "[fd00::17]", urlHost("fd00::17"))
}

func TestWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--agnhost-image=a", "extra"},
		{"--agnhost-image=a", "--steady=10s", "--traffic=11s"},
		{"--agnhost-image=a", "--image=no-tag"},
	} {
		_, err := parse(args)
		assert.Error(t, err, args)
	}
	_, err := parse([]string{"--agnhost-image=a"})
	assert.NoError(t, err)
}

func TestCommandIsShownAsOneTypesIt(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	s.command("kubectl", "get", "pod", "--output", "jsonpath={.metadata.name}")
	assert.Equal(t, "    $ kubectl get pod --output 'jsonpath={.metadata.name}'\n", out.String())
}

func TestColourOnATerminal(t *testing.T) {
	s := &screen{colour: true}
	assert.Equal(t, "\033[33moo\033[0m..\033[31mX\033[0m\033[32mNN\033[0m", s.paintSymbols("oo..XNN"))
	assert.Equal(t, "oo..XNN", (&screen{}).paintSymbols("oo..XNN"))
}

func TestRepeatedLinesAreShownOnce(t *testing.T) {
	var out bytes.Buffer
	l := &lines{to: &out}
	for _, part := range []string{"wait", "ing\nwaiting\n", "waiting\ndone\n", "waiting\n"} {
		_, err := l.Write([]byte(part))
		require.NoError(t, err)
	}
	assert.Equal(t, "waiting\ndone\nwaiting\n", out.String())
}
