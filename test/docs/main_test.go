// Package docs runs what the documentation tells its readers to run.
package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kube-zen/zen-lead/test/docs/cluster"
	"github.com/kube-zen/zen-lead/test/docs/page"
)

// suite is what the tests share. testing.M offers no other way than a variable to hand it to them.
var suite struct {
	*cluster.Cluster
	root string
	// home is a directory for what helm and kubectl keep.
	home string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "documentation tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if suite.root, err = page.Root(); err != nil {
		return 1, err
	}
	if suite.home, err = os.MkdirTemp("", "zen-lead-docs-home-"); err != nil {
		return 1, fmt.Errorf("failed to create a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(suite.home)) }()
	crds, err := monitoringCRDs(ctx)
	if err != nil {
		return 1, err
	}
	if suite.Cluster, err = cluster.Start(ctx, filepath.Join(suite.root, "bin/zen-lead"), crds...); err != nil {
		return 1, err
	}
	stopCluster := sync.OnceValue(suite.Stop)
	defer func() { err = errors.Join(err, stopCluster()) }()
	detach := context.AfterFunc(ctx, func() {
		_ = errors.Join(stopCluster(), os.RemoveAll(suite.home))
		const interrupted = 130
		os.Exit(interrupted)
	})
	defer detach()
	return m.Run(), nil
}

// monitoringCRDs are the Prometheus Operator's own files.
func monitoringCRDs(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(suite.root, "ci/prometheus.sh"), "crds").Output()
	if err != nil {
		return nil, fmt.Errorf("failed to find the Prometheus Operator's CRDs: %w", err)
	}
	var files []string
	for _, kind := range []string{"servicemonitors", "prometheusrules"} {
		files = append(files, filepath.Join(strings.TrimSpace(string(out)), "monitoring.coreos.com_"+kind+".yaml"))
	}
	return files, nil
}
