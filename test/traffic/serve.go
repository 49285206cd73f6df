package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kube-zen/zen-lead/test/traffic/app"
	"github.com/kube-zen/zen-lead/test/traffic/elected"
)

// serve runs the application until ctx ends.
func serve(ctx context.Context, args []string, stderr io.Writer) int {
	config, lease, err := parseServe(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "traffic:", err)
		return 2
	}
	application, err := app.New(config)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "traffic:", err)
		return 2
	}
	var parts sync.WaitGroup
	if lease != "" {
		candidate, err := elected.InCluster(lease)
		if err != nil {
			_, _ = fmt.Fprintln(stderr, "traffic:", err)
			return 1
		}
		parts.Go(func() { candidate.Run(ctx) })
	}
	application.Run(ctx)
	parts.Wait()
	return 0
}

func parseServe(args []string, stderr io.Writer) (app.Config, string, error) {
	flags := flag.NewFlagSet("traffic serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", ":8080", "addresses to listen on, with commas between them")
	delay := flags.Duration("delay-shutdown", 5*time.Second, "how long to serve on after SIGTERM, no longer ready")
	lease := flags.String("elect", "", "take part in an election for the Lease of this name, and move a label to the pod that wins")
	if err := flags.Parse(args); err != nil {
		return app.Config{}, "", err
	}
	if flags.NArg() > 0 {
		return app.Config{}, "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	name, err := os.Hostname()
	if err != nil {
		return app.Config{}, "", fmt.Errorf("failed to read the host's name: %w", err)
	}
	return app.Config{Name: name, Listen: strings.Split(*listen, ","), DelayShutdown: *delay, Exit: os.Exit}, *lease, nil
}
