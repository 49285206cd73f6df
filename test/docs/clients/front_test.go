// Package clients lets the clients of examples/clients see what clients of a leader Service see: a front that does what
// kube-proxy does with connections, and two pods.
package clients

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// front forwards new connections to the leader. Those that are there stay where they are, as they do with kube-proxy.
type front struct {
	listener net.Listener

	mu     sync.Mutex
	leader *pod
}

// pod is a web server that says its name.
type pod struct {
	*httptest.Server
	name string

	mu     sync.Mutex
	conns  []*net.TCPConn
	frozen chan struct{}
	once   sync.Once
	status int
}

func startPod(t *testing.T, name string) *pod {
	t.Helper()
	p := &pod{name: name, frozen: make(chan struct{}), status: http.StatusOK}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, p.name)
	}))
	t.Cleanup(func() { p.kill(); p.Close() })
	return p
}

func (p *pod) setStatus(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

// kill resets the pod's connections, as its kernel does when the process dies.
func (p *pod) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
	p.conns = nil
}

// freeze lets nothing through any more in either direction, and closes nothing: the pod's node lost power.
func (p *pod) freeze() { p.once.Do(func() { close(p.frozen) }) }

func startFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &front{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.forward(conn.(*net.TCPConn))
		}
	}()
	return f
}

func (f *front) url() string { return "http://" + f.listener.Addr().String() + "/" }

// lead makes a pod the leader; nil: there is none, and connections are refused.
func (f *front) lead(p *pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = p
}

func (f *front) forward(conn *net.TCPConn) {
	f.mu.Lock()
	p := f.leader
	f.mu.Unlock()
	var back net.Conn
	if p != nil {
		back, _ = net.Dial("tcp", p.Listener.Addr().String())
	}
	if back == nil {
		_ = conn.SetLinger(0)
		_ = conn.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, conn)
	p.mu.Unlock()
	go p.pipe(back, conn)
	go p.pipe(conn, back)
}

// pipe copies until an end closes, or the pod freezes.
func (p *pod) pipe(to, from net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		select {
		case <-p.frozen:
			return // and both ends stay open
		default:
		}
		if err != nil {
			_ = to.Close()
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}
