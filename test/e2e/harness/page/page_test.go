package page

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func ms(n int) report.Millis { return report.Millis(time.Duration(n) * time.Millisecond) }

func results(t *testing.T) []Row {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	track := func(target string) harness.Track {
		return harness.Track{Target: target, Spans: []harness.Span{
			{From: ms(-2000), To: ms(0), By: "a", Answered: true}, {From: ms(0), To: ms(500), Failed: true},
			{From: ms(500), To: ms(600), By: "b", Answered: true, Failed: true}, {From: ms(600), To: ms(3000), By: "b", Answered: true},
		}}
	}
	deleted := harness.Result{
		Row: "1-leader-deleted", Run: "x", Family: "ipv4", At: at, Load: 1.5, Passed: true, ToSlice: ms(123), Moves: 1, Notes: []string{"a note"},
		Clients: []harness.ClientView{
			{Target: leader, Sent: 1000, Failed: 2, LongestGap: ms(1500)}, {Target: plain, Sent: 1001, Failed: 1}, {Target: elected, Sent: 1002, Failed: 1234, LongestGap: ms(300), SilentAtEnd: ms(2500)},
			{Target: "udp", Sent: 7},
		},
		Tracks: []harness.Track{track(leader), track(plain), track(elected), track("udp")},
	}
	again := deleted
	again.Run, again.Passed, again.At, again.Load = "y", false, at.Add(time.Hour), 4
	var file bytes.Buffer
	for _, r := range []harness.Result{{Row: "10-flapping", Run: "x", Family: "ipv4", At: at, Load: -1}, deleted, again} {
		require.NoError(t, json.NewEncoder(&file).Encode(r))
	}
	rows, err := Read(&file)
	require.NoError(t, err)
	return rows
}

func TestTableTellsOfEveryRun(t *testing.T) {
	rows := results(t)
	lines := strings.Split(Table(rows), "\n")
	assert.Equal(t, "| 1-leader-deleted | 2 of 1000, 2 of 1000 | 1.5 s, 1.5 s | 123 ms, 123 ms | 1, 1 | 1 of 1001, 1 of 1001 | 1234 of 1002, 1234 of 1002 | 1 of 2 |", lines[2])
	assert.Equal(t, "| 10-flapping | - | - | - | 0 | - | - | 0 of 1 |", lines[3])
	assert.Equal(t, "- 1-leader-deleted: a note; udp: 0 of 7 failed, longest gap 0 ms.\n", Notes(rows))
	assert.Equal(t, "2 rows in 2 runs of `make e2e`, 2026-01-02 03:04 to 04:04 UTC: 1 of 3 results green. IP families: ipv4. Load average when a row began: 1.5 to 4.0.\n", How(rows))
	_, err := Read(strings.NewReader("no JSON\n"))
	assert.ErrorContains(t, err, "line 1")
}

// The README says of each failure what the page says: neither is written by hand.
func TestTheReadmeSaysWhatThePageSays(t *testing.T) {
	root := filepath.Join("..", "..", "..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "failover.md"))
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	want, err := Summary(string(page))
	require.NoError(t, err)
	got, found := Measured(string(readme))
	require.True(t, found)
	assert.Equal(t, want, got, "run make failover-report")
}

func TestSummary(t *testing.T) {
	var b strings.Builder
	for _, l := range summarised() {
		for i, row := range l.rows {
			fmt.Fprintf(&b, "| %s | 0 of 9, %d of 2000 | %d ms, over 12.4 s | - | 1 | - | %s | 1 of 1 |\n", row, 1000+i, 300+i, map[bool]string{true: "3 of 7", false: "-"}[l.took == ""])
		}
	}
	got, err := Summary(b.String())
	require.NoError(t, err)
	lines := strings.Split(got, "\n")
	assert.Equal(t, "| deleted, evicted, drained, rolled | 0 to 1,004 | 0.3 to 12 s |  | 3 failed (deleted) |", lines[2])
	assert.Equal(t, "| its node lost power | 0 to 1,000 | 0.3 to 12 s | Kubernetes gives a silent node up after 50 s | not measured |", lines[5])
	assert.Equal(t, "| the active controller was killed, then the leader deleted | 0 to 1,000 | 0.3 to 12 s | the controllers' Lease (6 s) must run out | has no controller |", lines[6])
	for said, broken := range map[string]string{
		"row 2-leader-crashes":       strings.ReplaceAll(b.String(), "| 2-leader-crashes", "| 2-leader-crashed"),
		"\"many\"":                   strings.ReplaceAll(b.String(), "0 of 9", "many"),
		"rows 6-node-powered-off":    strings.ReplaceAll(b.String(), "6-node-powered-off | 0 of 9, 1000 of 2000", "6-node-powered-off | -"),
		"\"300 feet\" of row 6-node": strings.ReplaceAll(b.String(), "6-node-powered-off | 0 of 9, 1000 of 2000 | 300 ms", "6-node-powered-off | - | 300 feet"),
	} {
		_, err := Summary(broken)
		assert.ErrorContains(t, err, said)
	}
}

func TestReplace(t *testing.T) {
	changed, err := Replace("a\n"+begin+"old\n"+end+"b\n", "new\n")
	require.NoError(t, err)
	assert.Equal(t, "a\n"+begin+"new\n"+end+"b\n", changed)
	_, err = Replace("a\n"+begin, "new\n")
	assert.Error(t, err)
}

func TestPictureIsDrawnFromTheResults(t *testing.T) {
	picture := Picture(results(t))
	decoder := xml.NewDecoder(strings.NewReader(picture))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	assert.Contains(t, picture, "The leader is deleted gracefully")
	assert.Contains(t, picture, "1,234 failed; gap over 2.5 s")
	assert.NotContains(t, picture, "loses power", "a row that was not run")
	// Half a second of four, from a quarter of the bar on.
	assert.Contains(t, picture, `<rect x="290.0" y="46" width="70.0" height="16" fill="`+colourFailed+`" `)
	for _, c := range []string{colourFirst, colourNext, colourOther, colourPartly} {
		assert.Contains(t, picture, `height="16" fill="`+c+`"`)
	}
}
