// Package client is an HTTP client for a Service whose pods take turns, such as a leader Service. It is an example to
// copy: four settings and a retry, with the reason beside each.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Settings bound how long each thing may take. The zero value means the defaults of Default.
type Settings struct {
	// Connect bounds the making of a connection: a node that is gone answers nothing, not even a refusal.
	Connect time.Duration
	// Request bounds one try, from the connection to the last byte.
	Request time.Duration
	// Lifetime bounds how long a connection is used: one to a former leader stays open for as long as that pod lives.
	Lifetime time.Duration
	// Tries is how often a request is sent, Pause how long to wait in between.
	Tries int
	Pause time.Duration
}

// Default fits a Service within the cluster.
func Default() Settings {
	return Settings{Connect: time.Second, Request: 5 * time.Second, Lifetime: 30 * time.Second, Tries: 10, Pause: 500 * time.Millisecond}
}

// Client sends requests. It is safe for concurrent use.
type Client struct {
	settings Settings

	mu        sync.Mutex
	transport *http.Transport
	made      time.Time
}

// New returns a Client.
func New(settings Settings) *Client { return &Client{settings: settings} }

// Get fetches a URL. It is tried again when the connection fails or the server says that it cannot answer now: safe for
// what may happen twice. For anything else, send a key by which the server can tell a repetition.
func (c *Client) Get(ctx context.Context, url string) ([]byte, error) {
	var last error
	for try := range c.settings.Tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, errors.Join(ctx.Err(), last)
			case <-time.After(c.settings.Pause):
			}
		}
		body, err := c.get(ctx, url)
		if err == nil {
			return body, nil
		}
		last = err
		c.retire() // what is wrong with one connection may be wrong with all to that pod
	}
	return nil, fmt.Errorf("failed to get %s in %d tries: %w", url, c.settings.Tries, last)
}

func (c *Client) get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.settings.Request)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.current().RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	return body, err
}

// current is the pool of connections, a new one each Lifetime. Requests under way on the old one come to their end, and
// their connections are closed then, because nobody asks that pool again.
func (c *Client) current() *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil && time.Since(c.made) < c.settings.Lifetime {
		return c.transport
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	dialer := net.Dialer{
		Timeout: c.settings.Connect,
		// An idle connection to a node that lost power is found out after 15 + 3*5 seconds, and not in two hours.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         userTimeout(c.settings.Request),
	}
	c.transport = &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: 15 * time.Second}
	c.made = time.Now()
	return c.transport
}

// retire makes the next request begin with new connections.
func (c *Client) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = time.Time{}
}
