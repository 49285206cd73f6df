package harness

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// Request is one request of a controller to the API server.
type Request struct {
	Verb, Resource, Subresource, Namespace, Name string
	Start, End                                   time.Time
	// Code is the HTTP status of the answer, 0 while there is none.
	Code int
	// Body is what a write carried, as it went over the wire.
	Body []byte
	// aboutLease is true for Events by which client-go tells who holds the Lease.
	aboutLease bool
}

func (r Request) String() string {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	return fmt.Sprintf("%s %s %s/%s -> %d", r.Verb, resource, r.Namespace, r.Name, r.Code)
}

// IsWrite tells whether the request asks for a change.
func (r Request) IsWrite() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

// isUpkeep tells apart what every controller does whatever happens: keeping its Lease, saying so in Events about the
// Lease, and keeping its watches open.
func (r Request) isUpkeep() bool {
	return r.Resource == "leases" || r.Verb == "watch" || r.aboutLease
}

// Requests are in the order in which they were sent.
type Requests []Request

// Where keeps the requests for which keep is true.
func (rs Requests) Where(keep func(Request) bool) Requests {
	var kept Requests
	for _, r := range rs {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// Writes are the requests that ask for a change of anything but Events.
func (rs Requests) Writes() Requests {
	return rs.Where(func(r Request) bool { return r.IsWrite() && r.Resource != "events" })
}

// Events are the requests that write Events.
func (rs Requests) Events() Requests {
	return rs.Where(func(r Request) bool { return r.IsWrite() && r.Resource == "events" })
}

// On are the requests for one resource.
func (rs Requests) On(resource string) Requests {
	return rs.Where(func(r Request) bool { return r.Resource == resource })
}

// Lines are the requests in the short form "verb resource name".
func (rs Requests) Lines() []string {
	lines := make([]string, len(rs))
	for i, r := range rs {
		lines[i] = strings.Join([]string{r.Verb, r.Resource, r.Name}, " ")
	}
	return lines
}

func (rs Requests) String() string {
	var b strings.Builder
	for _, r := range rs {
		fmt.Fprintf(&b, "  %s %s\n", r.Start.Format("15:04:05.000"), r)
	}
	return b.String()
}

// Intercept is called before a request is sent. A response or an error is returned to the controller in place of the
// API server's; it may also wait, to hold a request back.
type Intercept func(Request, *http.Request) (*http.Response, error)

// Recorder keeps every request of one controller.
type Recorder struct {
	mu        sync.Mutex
	requests  []*Request
	intercept Intercept
}

// Wrap makes a transport that records what passes through it; it is meant for rest.Config.Wrap.
func (r *Recorder) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		entry, intercept, err := r.begin(request)
		if err != nil {
			return nil, err
		}
		var response *http.Response
		if intercept != nil && entry.Resource != "" {
			response, err = intercept(*entry, request)
		}
		if response == nil && err == nil {
			response, err = next.RoundTrip(request)
		}
		r.end(entry, response)
		return response, err
	})
}

// Intercept has every following request shown to f; nil ends that.
func (r *Recorder) Intercept(f Intercept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// Mark is the present end of the record, for Since.
func (r *Recorder) Mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

// Since are the requests after the mark, without those that keep the Lease and the watches.
func (r *Recorder) Since(mark int) Requests {
	r.mu.Lock()
	defer r.mu.Unlock()
	var requests Requests
	for _, entry := range r.requests[mark:] {
		if !entry.isUpkeep() {
			requests = append(requests, *entry)
		}
	}
	return requests
}

// All are all requests so far.
func (r *Recorder) All() Requests {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := make(Requests, len(r.requests))
	for i, entry := range r.requests {
		requests[i] = *entry
	}
	return requests
}

func (r *Recorder) begin(request *http.Request) (*Request, Intercept, error) {
	entry := parseRequest(request)
	entry.Start = time.Now()
	if entry.IsWrite() && request.Body != nil {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("failed to read a request's body: %w", err)
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		entry.Body = body
		entry.aboutLease = entry.Resource == "events" && aboutLease(entry)
		if entry.Name == "" {
			entry.Name = nameIn(body)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if entry.Resource != "" {
		r.requests = append(r.requests, entry)
	}
	return entry, r.intercept, nil
}

func (r *Recorder) end(entry *Request, response *http.Response) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry.End = time.Now()
	if response != nil {
		entry.Code = response.StatusCode
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// parseRequest reads the path of a resource request; Resource stays empty for any other, such as discovery.
func parseRequest(request *http.Request) *Request {
	entry := &Request{}
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return entry
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		entry.Namespace, parts = parts[1], parts[2:]
	}
	for i, field := range []*string{&entry.Resource, &entry.Name, &entry.Subresource} {
		if i < len(parts) {
			*field = parts[i]
		}
	}
	entry.Verb = verb(request, entry.Name != "")
	return entry
}

func verb(request *http.Request, named bool) string {
	switch request.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if named {
			return "delete"
		}
		return "deletecollection"
	}
	switch {
	case slices.Contains([]string{"true", "1"}, request.URL.Query().Get("watch")):
		return "watch"
	case named:
		return "get"
	default:
		return "list"
	}
}

// Decode is the object that a create or an update carried, nil if it is none that client-go knows.
func (r Request) Decode() runtime.Object {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(r.Body, nil, nil)
	if err != nil {
		return nil
	}
	return object
}

func aboutLease(r *Request) bool {
	switch event := r.Decode().(type) {
	case *corev1.Event:
		return event.InvolvedObject.Kind == "Lease"
	case *eventsv1.Event:
		return event.Regarding.Kind == "Lease"
	}
	return false
}

func nameIn(body []byte) string {
	object, ok := Request{Body: body}.Decode().(interface{ GetName() string })
	if !ok {
		return ""
	}
	return object.GetName()
}

// Refusal is an answer of the API server's kind: a Status with a code and a reason.
func Refusal(code int, reason, message string) *http.Response {
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"message":%q,"code":%d}`, reason, message, code)
	return &http.Response{
		StatusCode: code,
		Status:     http.StatusText(code),
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": []string{"application/json"}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}
