package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func config(url string) Config {
	return Config{
		Target: "test", URL: url, Interval: 5 * time.Millisecond, Timeout: 200 * time.Millisecond,
		MaxInFlight: 100, Flush: 50 * time.Millisecond,
	}
}

// recording is what a client emitted so far.
type recording struct {
	mu    sync.Mutex
	lines []report.Line
}

func (r *recording) emit(l report.Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, l)
}

func (r *recording) count(of func(report.Line) int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, l := range r.lines {
		n += of(l)
	}
	return n
}

func answers(l report.Line) int {
	if l.Segment == nil {
		return 0
	}
	return l.Segment.Count
}

func failures(l report.Line) int {
	if l.Failure == nil {
		return 0
	}
	return 1
}

// background runs a client until stop is called, which returns its summary.
func background(t *testing.T, c Config, ask Ask) (*recording, func() report.Summary) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	rec := &recording{}
	done := make(chan report.Summary, 1)
	go func() { done <- Run(ctx, c, ask, rec.emit) }()
	return rec, func() report.Summary {
		cancel()
		return <-done
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 5*time.Millisecond, what)
}

func TestServerIsDownForAWhile(t *testing.T) {
	var listener net.Listener
	serve := func(address, name string) *http.Server {
		var err error
		listener, err = net.Listen("tcp", address)
		require.NoError(t, err)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, name) })}
		go func() { _ = server.Serve(listener) }()
		return server
	}
	first := serve("127.0.0.1:0", "pod-1")
	address := listener.Addr().String()
	url := "http://" + address + "/hostname"
	ask, err := HTTP(url)
	require.NoError(t, err)
	rec, stop := background(t, config(url), ask)

	eventually(t, "some answers", func() bool { return rec.count(answers) > 10 })
	down := time.Now()
	require.NoError(t, first.Close())
	eventually(t, "some failures", func() bool { return rec.count(failures) > 10 })
	outage := time.Since(down)
	before := rec.count(answers)
	second := serve(address, "pod-2")
	defer func() { _ = second.Close() }()
	eventually(t, "answers again", func() bool { return rec.count(answers) > before+10 })
	sum := stop()

	assert.GreaterOrEqual(t, sum.LongestGap.Duration(), outage, "the gap covers the outage")
	assert.GreaterOrEqual(t, sum.Failed, 10)
	assert.Equal(t, sum.Failed, sum.ByClass[report.Refused]+sum.ByClass[report.Reset], "classes: %v", sum.ByClass)
	assert.Equal(t, sum.Sent, sum.Answered+sum.Failed)
	require.Len(t, sum.AnsweredBy, 2)
	assert.Equal(t, "pod-1", sum.AnsweredBy[0].Name)
	assert.Equal(t, "pod-2", sum.AnsweredBy[1].Name)
}

func TestEveryRequestIsANewConnection(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "pod-1") }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	ask, err := HTTP(server.URL)
	require.NoError(t, err)
	rec, stop := background(t, config(server.URL), ask)
	eventually(t, "some answers", func() bool { return rec.count(answers) > 20 })
	sum := stop()
	assert.Equal(t, int64(sum.Sent), connections.Load())
	assert.Zero(t, sum.Failed)
}

func TestSlowAnswersDelayNothing(t *testing.T) {
	release := make(chan struct{})
	ask := func(ctx context.Context) (string, error) {
		select {
		case <-release:
			return "pod-1", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	c := config("http://slow")
	c.Timeout, c.MaxInFlight = time.Minute, 10
	var begun atomic.Int64
	rec, stop := background(t, c, func(ctx context.Context) (string, error) {
		begun.Add(1)
		return ask(ctx)
	})
	eventually(t, "as many in flight as allowed, none of them answered", func() bool { return begun.Load() == 10 })
	close(release)
	eventually(t, "answers", func() bool { return rec.count(answers) > 10 })
	sum := stop()
	assert.Zero(t, sum.Failed)
	assert.Equal(t, sum.Sent, sum.Answered)
}

func TestTooManyInFlightAreCountedNotSent(t *testing.T) {
	c := config("http://hangs")
	c.MaxInFlight, c.Timeout = 2, 50*time.Millisecond
	rec, stop := background(t, c, func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	})
	eventually(t, "time-outs", func() bool { return rec.count(failures) >= 6 })
	sum := stop()
	assert.Positive(t, sum.Unsent)
	assert.Equal(t, sum.Failed, sum.ByClass[report.Timeout])
}

func TestClassify(t *testing.T) {
	status := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer status.Close()
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())

	cases := map[string]struct {
		url    string
		class  report.Class
		detail string
	}{
		"name that cannot exist":   {"http://name.invalid/", report.DNS, "name.invalid"},
		"nobody listens":           {"http://" + closed.Addr().String(), report.Refused, "refused"},
		"no answer in time":        {hang.URL, report.Timeout, "deadline"},
		"closed before the answer": {"http://" + rude(t, false), report.Reset, "EOF"},
		"reset before the answer":  {"http://" + rude(t, true), report.Reset, "reset"},
		"not 200":                  {status.URL, report.Other, "503"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ask, err := HTTP(c.url)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = ask(ctx)
			require.Error(t, err)
			assert.Equal(t, c.class, Classify(err), err.Error())
			assert.ErrorContains(t, err, c.detail)
		})
	}
}

// rude listens and hangs up on whoever asked.
func rude(t *testing.T, reset bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			if reset {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

func TestWrongURLs(t *testing.T) {
	for _, url := range []string{"", "my-app", "https://my-app/", "http:///hostname", "http://my app/"} {
		_, err := HTTP(url)
		assert.Error(t, err, url)
	}
}

func TestValidate(t *testing.T) {
	require.NoError(t, config("http://x").Validate())
	for name, spoil := range map[string]func(*Config){
		"interval": func(c *Config) { c.Interval = 0 },
		"timeout":  func(c *Config) { c.Timeout = -1 },
		"flight":   func(c *Config) { c.MaxInFlight = 0 },
		"flush":    func(c *Config) { c.Flush = 0 },
	} {
		c := config("http://x")
		spoil(&c)
		assert.ErrorContains(t, c.Validate(), name)
	}
}
