// Package app is an application to be failed in ways that Kubernetes' own test program does not offer: one that outgrows
// its memory, that its liveness probe finds dead, that is Ready by turns, that closes its port and lives on.
//
//	GET /hostname               the pod's name
//	GET /readyz                 for the readiness probe
//	GET /livez                  for the liveness probe
//	GET /sick                   from now on /livez fails
//	GET /flap?up=&down=&phase=  from now on /readyz holds for up, then fails for down, and so on; phase into a turn now
//	GET /steady                 ends that
//	GET /close                  closes the ports; the process lives on
//	GET /eat?mb=                takes that much memory
//	GET /exit?code=             ends the process
package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Config is what an application does.
type Config struct {
	Name          string
	Listen        []string
	DelayShutdown time.Duration // how long it serves on once it is told to end
	Exit          func(code int)
}

// App is an application as it runs.
type App struct {
	config Config

	mu        sync.Mutex
	sick      bool
	ending    bool
	turns     turns
	listeners []net.Listener
	eaten     [][]byte
}

// turns are times of readiness and of none, one after another.
type turns struct {
	since    time.Time
	up, down time.Duration
}

func (t turns) ready(now time.Time) bool {
	if t.up+t.down <= 0 {
		return true
	}
	return now.Sub(t.since)%(t.up+t.down) < t.up
}

// New opens the application's ports.
func New(config Config) (*App, error) {
	a := &App{config: config}
	for _, address := range config.Listen {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("failed to listen on %s: %w", address, err)
		}
		a.listeners = append(a.listeners, listener)
	}
	return a, nil
}

// Addresses are where it listens.
func (a *App) Addresses() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	addresses := make([]string, 0, len(a.listeners))
	for _, listener := range a.listeners {
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// Run serves until ctx ends, and then for the delay on: proxies on other nodes need a moment to hear of it.
func (a *App) Run(ctx context.Context) {
	server := &http.Server{Handler: a.handler(), ReadHeaderTimeout: time.Minute}
	for _, listener := range a.listeners {
		go func() { _ = server.Serve(listener) }()
	}
	<-ctx.Done()
	a.set(func() { a.ending = true })
	time.Sleep(a.config.DelayShutdown)
	_ = server.Close()
}

func (a *App) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *App) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hostname", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, a.config.Name) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		answer(w, !a.ending && a.turns.ready(time.Now()))
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		answer(w, !a.sick)
	})
	mux.HandleFunc("GET /sick", func(http.ResponseWriter, *http.Request) { a.set(func() { a.sick = true }) })
	mux.HandleFunc("GET /flap", a.flap)
	mux.HandleFunc("GET /steady", func(http.ResponseWriter, *http.Request) { a.set(func() { a.turns = turns{} }) })
	mux.HandleFunc("GET /close", func(http.ResponseWriter, *http.Request) { a.close() })
	mux.HandleFunc("GET /eat", a.eat)
	mux.HandleFunc("GET /exit", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.URL.Query().Get("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.config.Exit(code)
	})
	return mux
}

func answer(w http.ResponseWriter, well bool) {
	if !well {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (a *App) flap(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	up, errUp := time.ParseDuration(query.Get("up"))
	down, errDown := time.ParseDuration(query.Get("down"))
	phase, errPhase := time.ParseDuration(query.Get("phase"))
	if err := errors.Join(errUp, errDown, errPhase); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.set(func() { a.turns = turns{since: time.Now().Add(-phase), up: up, down: down} })
}

func (a *App) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, listener := range a.listeners {
		_ = listener.Close()
	}
}

// eat writes to what it takes: memory that nobody has touched is not taken.
func (a *App) eat(w http.ResponseWriter, r *http.Request) {
	megabytes, err := strconv.Atoi(r.URL.Query().Get("mb"))
	if err != nil || megabytes < 0 {
		http.Error(w, "mb must be a number", http.StatusBadRequest)
		return
	}
	for range megabytes {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		a.set(func() { a.eaten = append(a.eaten, piece) })
	}
}
