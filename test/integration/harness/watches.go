package harness

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// Hold keeps back what the watches of a resource bring, until the returned function is called: the process goes on with
// an old view of that resource alone.
func (p *Proxy) Hold(resource string) (release func()) { return p.watches.hold(resource) }

// Saw tells whether the watches of a resource have brought the text, such as a UID, to the process.
func (p *Proxy) Saw(resource, text string) bool {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	return bytes.Contains(p.watches.brought[resource], []byte(text))
}

// watches passes requests on, and the events of a resource only while they are not held back.
type watches struct {
	next http.RoundTripper

	mu   sync.Mutex
	held map[string]chan struct{}
	// brought is all that came by the watches of a resource so far.
	brought map[string][]byte
}

func (w *watches) RoundTrip(request *http.Request) (*http.Response, error) {
	entry := parseRequest(request)
	if entry.Verb == "watch" {
		request = request.Clone(request.Context())
		request.Header.Del("Accept-Encoding") // so that Saw can read what comes
	}
	response, err := w.next.RoundTrip(request)
	if err == nil && entry.Verb == "watch" {
		response.Body = &heldBody{ReadCloser: response.Body, watches: w, resource: entry.Resource, ended: request.Context().Done()}
	}
	return response, err
}

func (w *watches) hold(resource string) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = make(map[string]chan struct{})
	}
	held := make(chan struct{})
	w.held[resource] = held
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.held, resource)
		close(held)
	})
}

func (w *watches) bring(resource string, text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.brought == nil {
		w.brought = make(map[string][]byte)
	}
	w.brought[resource] = append(w.brought[resource], text...)
}

func (w *watches) holding(resource string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held[resource]
}

type heldBody struct {
	io.ReadCloser
	*watches
	resource string
	ended    <-chan struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if held := b.holding(b.resource); held != nil {
		select {
		case <-held:
		case <-b.ended:
		}
	}
	b.bring(b.resource, p[:n])
	return n, err
}
