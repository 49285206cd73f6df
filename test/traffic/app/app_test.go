package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func start(t *testing.T, delay time.Duration) (app *App, stop context.CancelFunc, ended, exits chan int) {
	t.Helper()
	exits, ended = make(chan int, 1), make(chan int)
	app, err := New(Config{Name: "pod-1", Listen: []string{"127.0.0.1:0", "127.0.0.1:0"}, DelayShutdown: delay, Exit: func(code int) { exits <- code }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		app.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return app, stop, ended, exits
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, strings.TrimSpace(string(body))
}

func TestAnApplicationAsToldToFail(t *testing.T) {
	app, stop, ended, exits := start(t, time.Second)
	address := app.Addresses()[0]
	for _, a := range app.Addresses() {
		_, name := get(t, a, "/hostname")
		assert.Equal(t, "pod-1", name)
	}
	status := func(path string) int {
		code, _ := get(t, address, path)
		return code
	}
	assert.Equal(t, 200, status("/livez"))
	assert.Equal(t, 200, status("/readyz"))
	assert.Equal(t, 200, status("/sick"))
	assert.Equal(t, 503, status("/livez"))
	assert.Equal(t, 200, status("/readyz"))

	assert.Equal(t, 200, status("/flap?up=1m&down=1m&phase=90s"))
	assert.Equal(t, 503, status("/readyz"))
	assert.Equal(t, 200, status("/steady"))
	assert.Equal(t, 200, status("/readyz"))
	assert.Equal(t, 400, status("/flap?up=1m"))
	assert.Equal(t, 400, status("/eat"))
	assert.Equal(t, 200, status("/eat?mb=1"))
	assert.Equal(t, 400, status("/exit"))
	assert.Equal(t, 200, status("/exit?code=3"))
	assert.Equal(t, 3, <-exits)

	stop()
	require.Eventually(t, func() bool { return status("/readyz") == 503 }, 10*time.Second, time.Millisecond, "not ready once it is told to end")
	assert.Equal(t, 200, status("/hostname"), "it serves on")
	<-ended
	_, err := net.Dial("tcp", address)
	assert.Error(t, err)
}

func TestAClosedPortRefuses(t *testing.T) {
	app, _, _, _ := start(t, 0)
	for _, address := range app.Addresses() {
		code, _ := get(t, address, "/hostname")
		assert.Equal(t, 200, code)
	}
	get(t, app.Addresses()[0], "/close")
	for _, address := range app.Addresses() {
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		}, 10*time.Second, time.Millisecond)
	}
}

func TestTurns(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	flapping := turns{since: start, up: 3 * time.Second, down: 2 * time.Second}
	for second, want := range []bool{true, true, true, false, false, true, true, true, false} {
		assert.Equal(t, want, flapping.ready(start.Add(time.Duration(second)*time.Second)), "second %d", second)
	}
	assert.True(t, turns{}.ready(start))
}
