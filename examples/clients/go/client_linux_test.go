package client

import (
	"net"
	"net/http/httptest"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// test/docs/clients sees the client through failures; what the kernel was told is seen here.
func TestConnectionsHaveAUserTimeout(t *testing.T) {
	server := httptest.NewServer(nil)
	defer server.Close()
	conn, err := New(Default()).current().DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		value, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
		assert.NoError(t, err)
		assert.Equal(t, int(Default().Request.Milliseconds()), value)
	}))
}
