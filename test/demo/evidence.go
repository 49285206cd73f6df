package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// gatherEvidence writes down what a person needs to find out why the demo failed.
func (d *demo) gatherEvidence() {
	if d.client == nil {
		return
	}
	if _, err := d.client.Discovery().ServerVersion(); err != nil {
		d.screen.printf("        The API server does not answer (%s), so nothing can be gathered: see `make cluster-status`.\n", harness.Explain(err))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	waiting, err := harness.NotReady(ctx, d.client, systemNamespace, namespace)
	if err != nil {
		d.screen.printf("        %s\n", err)
	}
	for _, pod := range waiting {
		d.screen.printf("        %s\n", pod)
	}
	folder := filepath.Join(d.work, "demo-logs")
	err = os.RemoveAll(folder)
	if err == nil {
		err = harness.Gather(ctx, folder, systemNamespace, namespace)
	}
	if err != nil {
		d.screen.printf("        %s\n", fmt.Errorf("not all evidence could be gathered: %w", err))
	}
	d.screen.printf("        Pods, events, slices and logs are in %s; the cluster is left as it is.\n", folder)
}
