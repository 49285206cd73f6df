package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func TestHeldKeepsItsConnectionUntilItBreaks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintln(w, r.RemoteAddr) }))
	defer server.Close()
	ask, err := New("held+" + server.URL + "/hostname")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	first, err := ask(ctx)
	require.NoError(t, err)
	second, err := ask(ctx)
	require.NoError(t, err)
	assert.Equal(t, first, second, "the same connection")

	server.CloseClientConnections()
	_, err = ask(ctx)
	require.Error(t, err, "nothing is sent twice")
	assert.Equal(t, report.Reset, Classify(err))
	third, err := ask(ctx)
	require.NoError(t, err)
	assert.NotEqual(t, first, third, "another connection")
}

func TestHeldGivesAHangingConnectionUp(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	ask, err := New("held+" + server.URL)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = ask(ctx)
	require.Error(t, err)
	assert.Equal(t, report.Timeout, Classify(err))
}

func TestUDP(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		packet := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(packet)
			if err != nil {
				return
			}
			if string(packet[:n]) == "hostname" {
				_, _ = server.WriteTo([]byte("pod-1\n"), from)
			}
		}
	}()
	ask, err := New("udp://" + server.LocalAddr().String())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	by, err := ask(ctx)
	require.NoError(t, err)
	assert.Equal(t, "pod-1", by)

	require.NoError(t, server.Close())
	_, err = ask(ctx)
	require.Error(t, err)
	assert.Equal(t, report.Refused, Classify(err))
}

func TestAddressesThatAreNone(t *testing.T) {
	for _, address := range []string{"udp://host", "udp://host:1/path", "held+https://host", "held+http:///x", "ftp://host", "http://"} {
		_, err := New(address)
		assert.Error(t, err, address)
	}
}
