package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// held is one connection that is opened once and then kept as long as it works.
type held struct {
	request *http.Request
	turn    chan struct{} // requests take turns; one that finds no turn within its time has failed
	conn    net.Conn
	reader  *bufio.Reader
}

// Held asks over one connection that is kept, as clients with a pool and database drivers do. A connection that breaks, or on which
// an answer is not in time, is closed, and the next request opens another one; nothing is sent twice.
func Held(url string) (Ask, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to parse URL %s: %w", url, err)
	}
	if request.URL.Scheme != "http" || request.URL.Host == "" {
		return nil, fmt.Errorf("failed to use URL held+%s: it must be held+http://HOST[:PORT]/PATH", url)
	}
	h := &held{request: request, turn: make(chan struct{}, 1)}
	return h.ask, nil
}

func (h *held) ask(ctx context.Context) (string, error) {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-h.turn }()
	by, err := h.exchange(ctx)
	if err != nil && h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
	return by, err
}

func (h *held) exchange(ctx context.Context) (string, error) {
	if h.conn == nil {
		host := h.request.URL.Host
		if h.request.URL.Port() == "" {
			host = net.JoinHostPort(h.request.URL.Hostname(), "80")
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", host)
		if err != nil {
			return "", err
		}
		h.conn, h.reader = conn, bufio.NewReader(conn)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	if err := h.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if err := h.request.Write(h.conn); err != nil {
		return "", fmt.Errorf("failed to send the request: %w", err)
	}
	response, err := http.ReadResponse(h.reader, h.request)
	if err != nil {
		return "", fmt.Errorf("failed to read the answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return "", fmt.Errorf("failed to read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answer with status %s", response.Status)
	}
	return strings.TrimSpace(string(body)), nil
}
