// Command traffic is a client that opens a new TCP connection to a URL every few milliseconds, for a limited time, and
// tells who answered and what failed: see package report for what it prints.
//
//	traffic --duration 30s dns=http://my-app-leader/hostname clusterip=http://10.96.0.17/hostname
//
// A target may also be held+http://, one connection that is kept, or udp://HOST:PORT.
//
// In its container `traffic stop` ends the client that runs there, which then reports what it saw. `traffic serve` is the
// other end, an application to be failed: see package app; with --elect it holds an election of its own: see package elected.
//
// Names are resolved for each request by Go's own resolver, without a cache and by the rules of resolv.conf: in a pod a
// name with fewer than five dots is tried with the search domains first, two queries (A and AAAA) a try. A name that
// ends with a dot is asked for once, as is the bare name of a Service in the client's own namespace.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kube-zen/zen-lead/test/traffic/client"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns 0 also when requests failed: to judge what was seen is the reader's part.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 1 && args[0] == "stop":
		return stop(stderr)
	case len(args) > 0 && args[0] == "serve":
		return serve(ctx, args[1:], stderr)
	}
	plans, duration, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "traffic:", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()

	writer := report.NewWriter(stdout)
	var clients sync.WaitGroup
	for _, p := range plans {
		clients.Go(func() { client.Run(ctx, p.config, p.ask, writer.Emit) })
	}
	clients.Wait()
	if err := writer.Close(); err != nil {
		_, _ = fmt.Fprintln(stderr, "traffic:", err)
		return 1
	}
	return 0
}

// stop ends the client that is the container's first process: the image holds no other program that could.
func stop(stderr io.Writer) int {
	if err := syscall.Kill(1, syscall.SIGTERM); err != nil {
		_, _ = fmt.Fprintln(stderr, "traffic: failed to stop the client:", err)
		return 1
	}
	return 0
}

type plan struct {
	config client.Config
	ask    client.Ask
}

func parse(args []string, stderr io.Writer) ([]plan, time.Duration, error) {
	var config client.Config
	flags := flag.NewFlagSet("traffic", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: traffic [flags] NAME=[held+]http://HOST[:PORT]/PATH|udp://HOST:PORT ...\n       traffic stop\n       traffic serve [flags]")
		flags.PrintDefaults()
	}
	duration := flags.Duration("duration", time.Minute, "how long to send requests, at most 1h; SIGTERM ends it sooner")
	flags.DurationVar(&config.Interval, "interval", 5*time.Millisecond, "time between the starts of two requests to a target")
	flags.DurationVar(&config.Timeout, "timeout", 2*time.Second, "time limit of one request, name resolution included")
	flags.IntVar(&config.MaxInFlight, "max-in-flight", 1000, "requests of a target that may be in flight; more are not sent, and counted")
	flags.DurationVar(&config.Flush, "flush", time.Second, "how often to report answers while nothing changes")
	if err := flags.Parse(args); err != nil {
		return nil, 0, err
	}
	if *duration <= 0 || *duration > time.Hour {
		return nil, 0, fmt.Errorf("duration %s: must be positive and at most 1h", *duration)
	}
	if err := config.Validate(); err != nil {
		return nil, 0, err
	}
	plans, err := parseTargets(flags.Args(), config)
	return plans, *duration, err
}

func parseTargets(args []string, config client.Config) ([]plan, error) {
	if len(args) == 0 {
		return nil, errors.New("no target: name at least one, as in dns=http://my-app-leader/hostname")
	}
	var plans []plan
	seen := map[string]bool{}
	for _, arg := range args {
		name, url, found := strings.Cut(arg, "=")
		if !found || name == "" || seen[name] {
			return nil, fmt.Errorf("target %q: must be NAME=URL, with a name of its own", arg)
		}
		seen[name] = true
		ask, err := client.New(url)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", name, err)
		}
		config.Target, config.URL = name, url
		plans = append(plans, plan{config: config, ask: ask})
	}
	return plans, nil
}
