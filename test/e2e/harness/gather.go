package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Gather writes the state of the cluster and of some namespaces into a folder: nodes, pods, events, Services and slices,
// and the logs of all containers, those before a restart too. It goes on when a part fails and returns all errors.
func Gather(ctx context.Context, folder string, namespaces ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("failed to create folder %s: %w", folder, err)
	}
	errs := []error{kubectlTo(ctx, filepath.Join(folder, "nodes.txt"), "describe", "nodes")}
	for _, namespace := range namespaces {
		file := func(name string) string { return filepath.Join(folder, namespace+"-"+name) }
		errs = append(errs,
			kubectlTo(ctx, file("objects.txt"), "--namespace", namespace, "get", "all,endpointslices,leases", "--output", "wide"),
			kubectlTo(ctx, file("pods.txt"), "--namespace", namespace, "describe", "pods"),
			kubectlTo(ctx, file("routing.yaml"), "--namespace", namespace, "get", "services,endpointslices", "--output", "yaml"),
			kubectlTo(ctx, file("events.txt"), "--namespace", namespace, "get", "events", "--sort-by", ".metadata.creationTimestamp"),
			gatherLogs(ctx, file, namespace))
	}
	return errors.Join(errs...)
}

func gatherLogs(ctx context.Context, file func(string) string, namespace string) error {
	names, err := exec.CommandContext(ctx, "kubectl", "--namespace", namespace, "get", "pods", "--output", "name").Output()
	if err != nil {
		return fmt.Errorf("failed to list pods of namespace %s: %w", namespace, err)
	}
	var errs []error
	for name := range strings.FieldsSeq(string(names)) {
		log := file("log-" + strings.TrimPrefix(name, "pod/"))
		errs = append(errs, kubectlTo(ctx, log+".txt", "--namespace", namespace, "logs", name, "--all-containers", "--timestamps"))
		// Most containers have not been restarted.
		if kubectlTo(ctx, log+"-previous.txt", "--namespace", namespace, "logs", name, "--all-containers", "--timestamps", "--previous") != nil {
			errs = append(errs, os.Remove(log+"-previous.txt"))
		}
	}
	return errors.Join(errs...)
}

func kubectlTo(ctx context.Context, path string, args ...string) error {
	output, err := exec.CommandContext(ctx, "kubectl", args...).CombinedOutput()
	if writeErr := os.WriteFile(path, output, 0o644); writeErr != nil {
		return fmt.Errorf("failed to write %s: %w", path, writeErr)
	}
	if err != nil {
		return fmt.Errorf("failed to run kubectl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
