package harness

import (
	"io"
	"net"
	"net/url"
	"sync"

	"k8s.io/client-go/rest"
)

// Wire carries the bytes between a controller and the API server, for as long as the test lets it.
type Wire struct {
	world   *World
	address string
	target  string

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	stalled  chan struct{} // closed while bytes get through
	opened   int
}

// StartWire listens on a loopback port until the test ends.
func (w *World) StartWire() *Wire {
	w.Helper()
	target, err := url.Parse(w.Config().Host)
	if err != nil {
		w.Fatalf("failed to parse the API server's address: %v", err)
	}
	wire := &Wire{world: w, address: w.FreeAddress(), target: target.Host, open: map[net.Conn]bool{}, stalled: make(chan struct{})}
	close(wire.stalled)
	wire.listen()
	w.Cleanup(wire.Refuse)
	return wire
}

// Through is the same way to the API server by this wire, on connections of its own.
func (wire *Wire) Through(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Host = "https://" + wire.address
	config.Dial = (&net.Dialer{}).DialContext // else client-go shares connections with others
	return config
}

// Refuse resets all connections and has new ones refused.
func (wire *Wire) Refuse() {
	wire.mu.Lock()
	defer wire.mu.Unlock()
	_ = wire.listener.Close()
	wire.reset()
}

// Cut resets all connections; new ones are carried.
func (wire *Wire) Cut() {
	wire.mu.Lock()
	defer wire.mu.Unlock()
	wire.reset()
}

// Stall leaves all connections half-open: they stand, new ones are accepted, and no byte gets through any more.
func (wire *Wire) Stall() {
	wire.mu.Lock()
	defer wire.mu.Unlock()
	wire.stalled = make(chan struct{})
}

// Restore carries new connections again. Those that were stalled stay so.
func (wire *Wire) Restore() {
	wire.world.Helper()
	wire.mu.Lock()
	_ = wire.listener.Close()
	wire.stalled = make(chan struct{})
	close(wire.stalled)
	wire.mu.Unlock()
	wire.listen()
}

// Opened is how many connections there were so far.
func (wire *Wire) Opened() int {
	wire.mu.Lock()
	defer wire.mu.Unlock()
	return wire.opened
}

func (wire *Wire) reset() {
	for connection := range wire.open {
		if tcp, ok := connection.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = connection.Close()
	}
	clear(wire.open)
}

func (wire *Wire) listen() {
	wire.world.Helper()
	listener, err := net.Listen("tcp", wire.address)
	if err != nil {
		wire.world.Fatalf("failed to listen on %s: %v", wire.address, err)
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	wire.listener = listener
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go wire.carry(near)
		}
	}()
}

func (wire *Wire) carry(near net.Conn) {
	far, err := net.Dial("tcp", wire.target)
	if err != nil {
		_ = near.Close()
		return
	}
	wire.mu.Lock()
	wire.open[near], wire.open[far] = true, true
	wire.opened++
	wire.mu.Unlock()
	go wire.copy(far, near)
	wire.copy(near, far)
}

// copy ends with either connection. What a stall holds back is lost.
func (wire *Wire) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		wire.mu.Lock()
		stalled := wire.stalled
		wire.mu.Unlock()
		select {
		case <-stalled:
		case <-wire.world.Context().Done():
		default:
			<-wire.world.Context().Done() // silence, to the end
		}
		if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
			if err != io.EOF {
				_ = from.Close()
			}
			_ = to.Close()
			return
		}
	}
}
