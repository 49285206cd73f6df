package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func TestRunReportsEachTarget(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "pod-1") }))
	defer server.Close()

	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"--duration=300ms", "--interval=2ms", "a=" + server.URL, "b=" + server.URL + "/hostname"}, &stdout, &stderr)
	require.Zero(t, code, stderr.String())
	runs, err := report.Read(&stdout)
	require.NoError(t, err)
	require.Len(t, runs, 2)
	for _, r := range runs {
		require.NotNil(t, r.Summary)
		assert.Positive(t, r.Summary.Answered)
		assert.Zero(t, r.Summary.Failed)
	}
}

func TestWrongArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "no target"},
		{[]string{"http://x/"}, `"http://x/"`},
		{[]string{"a=http://x/", "a=http://y/"}, "name of its own"},
		{[]string{"a=ftp://x/"}, "ftp://x/"},
		{[]string{"--duration=0", "a=http://x/"}, "duration"},
		{[]string{"--duration=25h", "a=http://x/"}, "at most 1h"},
		{[]string{"--interval=1us", "a=http://x/"}, "interval"},
		{[]string{"--no-such-flag"}, "no-such-flag"},
		{[]string{"serve", "--no-such-flag"}, "no-such-flag"},
		{[]string{"serve", "--listen=nowhere"}, "failed to listen on nowhere"},
		{[]string{"serve", "something"}, "unexpected argument"},
	} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 2, run(t.Context(), c.args, &stdout, &stderr), c.args)
		assert.Contains(t, stderr.String(), c.want)
		assert.Empty(t, stdout.String())
	}
	assert.Zero(t, run(t.Context(), []string{"--help"}, &bytes.Buffer{}, &bytes.Buffer{}))
}
