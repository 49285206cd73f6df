// Package integration tests the controller from the outside on a real API server: objects in; objects, events, metrics
// and requests out. The numbers in the names of tests are those of the traps that an earlier attempt fell into.
package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/kube-zen/zen-lead/src/app"
	"github.com/kube-zen/zen-lead/src/options"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// suite is what the tests share. testing.M offers no other way than a variable to hand it to them.
var suite struct {
	plane  *harness.ControlPlane
	binary string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// What a controller inside the test process logs; ZEN_LEAD_TEST_LOG=info or debug shows more.
	if err := app.SetLogger(os.Stderr, options.Options{LogLevel: cmp.Or(os.Getenv("ZEN_LEAD_TEST_LOG"), "error"), LogFormat: "text"}); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "zen-lead-integration-")
	if err != nil {
		return 1, fmt.Errorf("failed to create a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	suite.binary = filepath.Join(dir, "zen-lead")
	if suite.plane, err = harness.StartControlPlane(ctx, dir); err != nil {
		return 1, err
	}
	stopPlane := sync.OnceValue(suite.plane.Stop)
	defer func() { err = errors.Join(err, stopPlane()) }()
	// The API server and etcd are in process groups of their own: an interruption does not reach them.
	detach := context.AfterFunc(ctx, func() {
		_ = errors.Join(stopPlane(), os.RemoveAll(dir))
		const interrupted = 130
		os.Exit(interrupted)
	})
	defer detach()
	if err := build(ctx, suite.binary); err != nil {
		return 1, err
	}
	rights, err := chartRights(ctx)
	if err != nil {
		return 1, err
	}
	if err := suite.plane.Define(ctx, rights); err != nil {
		return 1, err
	}
	if code = m.Run(); code != 0 {
		return code, nil
	}
	return code, compareSuite(rights, wholeSuite())
}

// build compiles the controller with the race detector if the tests are, so that both share the compiled packages.
func build(ctx context.Context, binary string) error {
	args := []string{"build", "-o", binary}
	if raceDetector() {
		args = append(args, "-race")
	}
	command := exec.CommandContext(ctx, "go", append(args, "github.com/kube-zen/zen-lead/src/cmd/zen-lead")...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("failed to build the controller: %w\n%s", err, out)
	}
	return nil
}

// raceDetector tells whether the tests were built with it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// newWorld gives a test its namespace.
func newWorld(t *testing.T) *harness.World {
	t.Helper()
	return harness.NewWorld(t, suite.plane)
}
