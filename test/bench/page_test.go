package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// results is a directory with two full runs, of which the second has one row, a quick one, and one that broke off.
func results(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run := func(name string, p50 float64, reached bool) *report {
		return &report{Time: at, Machine: "a machine", Rows: []rowRun{{Row: name, LoadBefore: "0.1 0.2 0.3", LoadAfter: "1.1 1.2 1.3"}},
			Checks:  []check{{name, "a measure", "a bar", "a value", reached}},
			Series:  []series{{Row: name, Name: "zen-lead", Count: 9, P50: p50, P90: 6, P99: 8, Max: 9}, {Row: name, Name: "bare loop", P50: 2, P99: 4}, {Row: name, Name: "killed hard, lease 6s/4s/1s", P50: 5000, Max: 20000}},
			Numbers: []number{{Row: name, Name: "resident 150 s after the first roll-out", Value: 50.25, Unit: "MB"}},
		}
	}
	old, later, quick := run("serial", 7, false), run("serial", 3, true), run("serial", 1, true)
	memory := run("memory", 1, true)
	old.Rows, old.Checks, old.Numbers = append(old.Rows, memory.Rows...), append(old.Checks, memory.Checks...), append(old.Numbers, memory.Numbers...)
	replica := run("replica", 1, true)
	old.Rows, old.Checks, old.Series = append(old.Rows, replica.Rows...), append(old.Checks, replica.Checks...), append(old.Series, replica.Series...)
	quick.Quick = true
	broken := run("serial", 0, false)
	broken.Rows[0].Failed = "the machine stood still"
	for i, r := range []*report{old, later, quick, broken} {
		r.Time = at.Add(time.Duration(i) * time.Hour)
		require.NoError(t, r.save(dir))
	}
	return dir
}

func TestPageTellsOfTheNewestFullRun(t *testing.T) {
	dir := results(t)
	page, picture := filepath.Join(dir, "page.md"), filepath.Join(dir, "picture.svg")
	require.NoError(t, os.WriteFile(page, []byte("before\n"+pageBegin+"old\n"+pageEnd+"after\n"), 0o644))
	require.NoError(t, runPage([]string{dir, page, picture}))
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, line := range []string{
		"before", "after", "Machine: a machine.",
		"| serial | 2026-01-02 04:04 | 0.1, 1.1 |", "| memory | 2026-01-02 03:04 | 0.1, 1.1 |",
		"| serial | a measure | a bar | a value | reached |",
		"| serial | zen-lead | 9 | 3.00 | 6.00 | 8.00 | 9.00 |",
		"| memory | resident 150 s after the first roll-out | 50.25 MB |",
	} {
		assert.Contains(t, strings.Split(string(text), "\n"), line)
	}
	assert.NotContains(t, string(text), "not reached", "of an older run")
	drawing, err := os.ReadFile(picture)
	require.NoError(t, err)
	decoder := xml.NewDecoder(strings.NewReader(string(drawing)))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	assert.Contains(t, string(drawing), `<rect x="230" y="70" width="210.0" height="16" fill="#4477aa"/>`, "3 of 8")
	assert.Contains(t, string(drawing), "3.0 ms, 8.0 ms")
	assert.Contains(t, string(drawing), "5.0 s, 20.0 s")
	assert.Contains(t, string(drawing), "50 MB")
	assert.NotContains(t, string(drawing), "leaders fail at once", "a row that was not run")
}

func TestPageNeedsResultsAndAPlace(t *testing.T) {
	dir := t.TempDir()
	assert.ErrorContains(t, runPage([]string{dir, "page", "picture"}), "a full run")
	dir = results(t)
	page := filepath.Join(dir, "page.md")
	require.NoError(t, os.WriteFile(page, []byte("no place\n"), 0o644))
	assert.ErrorContains(t, runPage([]string{dir, page, "picture"}), "failed to find the lines in "+page)
	assert.ErrorContains(t, runPage(nil), "usage")
}
