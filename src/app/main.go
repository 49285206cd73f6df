package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/kube-zen/zen-lead/src/options"
)

// The exit codes of the process.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// Main is the process: it reads the flags, runs, and returns the exit code. What goes wrong is said in one line on
// standard error.
func Main(ctx context.Context, args []string, version string) int {
	o, err := options.Parse(args, os.Getenv, os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return fail(exitUsage, err)
	case o.Version:
		fmt.Println(version)
		return exitOK
	}
	if err := SetLogger(os.Stderr, o); err != nil {
		return fail(exitUsage, err)
	}
	if err := noticeSilence(); err != nil {
		return fail(exitError, err)
	}
	saveMemory()
	config, err := RESTConfig(o.Kubeconfig)
	if err != nil {
		return fail(exitError, err)
	}
	if err := Run(ctx, config, o, version); err != nil {
		return fail(exitError, err)
	}
	return exitOK
}

// noticeSilence has a connection to the API server given up when nothing came over it for 5 s, nor an answer to a ping
// for 5 s more; client-go's own times are 30 s and 15 s, and it reads others from the environment alone. Until then a
// controller waits on a dead connection while a leader may have failed. What the environment says already holds.
func noticeSilence() error {
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if os.Getenv(name) != "" {
			continue
		}
		if err := os.Setenv(name, "5"); err != nil {
			return fmt.Errorf("failed to set %s: %w", name, err)
		}
	}
	return nil
}

// saveMemory lets garbage be collected when the heap has grown by two fifths, not when it has doubled, unless $GOGC says
// something else. What the controller keeps is small, what comes by is not: docs/performance.md has what that costs and brings.
func saveMemory() {
	const percent = 40
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

func fail(code int, err error) int {
	fmt.Fprintln(os.Stderr, "zen-lead:", err)
	return code
}
