package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

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
	config, err := RESTConfig(o.Kubeconfig)
	if err != nil {
		return fail(exitError, err)
	}
	if err := Run(ctx, config, o, version); err != nil {
		return fail(exitError, err)
	}
	return exitOK
}

func fail(code int, err error) int {
	fmt.Fprintln(os.Stderr, "zen-lead:", err)
	return code
}
