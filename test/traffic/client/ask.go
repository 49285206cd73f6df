package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// Ask sends one request and returns who answered it.
type Ask func(ctx context.Context) (answeredBy string, err error)

// HTTP asks with one GET over a connection of its own: the name is resolved, the connection opened and closed for each
// request, as by a client that starts anew. The body is taken as the name of who answers.
func HTTP(url string) (Ask, error) {
	probe, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to parse URL %s: %w", url, err)
	}
	if probe.URL.Scheme != "http" || probe.URL.Host == "" {
		return nil, fmt.Errorf("failed to use URL %s: it must be http://HOST[:PORT]/PATH", url)
	}
	transport := &http.Transport{
		// No proxy: the route under test is the Service's.
		DialContext:       (&net.Dialer{}).DialContext,
		DisableKeepAlives: true,
	}
	httpClient := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) (string, error) {
		request := probe.Clone(ctx)
		response, err := httpClient.Do(request)
		if err != nil {
			return "", err
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
	}, nil
}

// Classify tells the class of a failed request.
func Classify(err error) report.Class {
	var dns *net.DNSError
	var network net.Error
	switch {
	// Before the others: a look-up that times out, or is refused by the DNS server, is a failure of DNS.
	case errors.As(err, &dns):
		return report.DNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return report.Refused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return report.Timeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return report.Reset
	default:
		return report.Other
	}
}
