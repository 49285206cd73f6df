package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// New returns how to ask at a URL: http:// asks over a new connection each time, held+http:// over one that is kept, and
// udp:// by one datagram from a port of its own.
func New(address string) (Ask, error) {
	scheme, rest, _ := strings.Cut(address, "://")
	switch scheme {
	case "udp":
		return UDP(address)
	case "held+http":
		return Held("http://" + rest)
	default:
		return HTTP(address)
	}
}

// UDP asks with one datagram, which it sends once: what the network loses is a failure. The answer is taken as the name of
// who answers; agnhost's netexec gives it when asked for its hostname.
func UDP(address string) (Ask, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("failed to parse URL %s: %w", address, err)
	}
	if parsed.Port() == "" || parsed.Path != "" {
		return nil, fmt.Errorf("failed to use URL %s: it must be udp://HOST:PORT", address)
	}
	return func(ctx context.Context) (by string, err error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", parsed.Host)
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		deadline, ok := ctx.Deadline()
		if !ok {
			deadline = time.Now().Add(time.Minute)
		}
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
		if _, err := conn.Write([]byte("hostname")); err != nil {
			return "", err
		}
		body := make([]byte, 4096)
		n, err := conn.Read(body)
		if err != nil {
			return "", fmt.Errorf("failed to read the answer: %w", err)
		}
		return strings.TrimSpace(string(body[:n])), nil
	}, nil
}
