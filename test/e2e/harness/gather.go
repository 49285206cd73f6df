package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Gather writes the state of the cluster and of some namespaces into a folder: nodes, pods, events, Services and slices,
// and the logs of all containers, those before a restart too. It goes on when a part fails and returns all errors.
func Gather(ctx context.Context, folder string, namespaces ...string) error {
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

// NotReady says what each pod of some namespaces that is not ready waits for; pods that have ended are left out.
func NotReady(ctx context.Context, client kubernetes.Interface, namespaces ...string) ([]string, error) {
	var waiting []string
	for _, namespace := range namespaces {
		pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return waiting, fmt.Errorf("failed to list pods of namespace %s: %w", namespace, err)
		}
		for _, pod := range pods.Items {
			if !ended(&pod) && !Ready(&pod) {
				waiting = append(waiting, fmt.Sprintf("pod %s/%s: %s", namespace, pod.Name, whyNotReady(&pod)))
			}
		}
	}
	return waiting, nil
}

// Ready tells whether a pod's condition Ready is true.
func Ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Replaced tells whether so many pods of a label selector are Ready and none of them goes.
func Replaced(ctx context.Context, client kubernetes.Interface, namespace, selector string, n int) (bool, error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return false, fmt.Errorf("failed to list pods of namespace %s: %w", namespace, err)
	}
	for _, pod := range pods.Items {
		if !Ready(&pod) || pod.DeletionTimestamp != nil {
			return false, nil
		}
	}
	return len(pods.Items) == n, nil
}

func gatherLogs(ctx context.Context, file func(string) string, namespace string) error {
	names, err := exec.CommandContext(ctx, "kubectl", "--namespace", namespace, "get", "pods", "--output", "name").Output()
	if err != nil {
		return fmt.Errorf("failed to list pods of namespace %s: %w", namespace, err)
	}
	var errs []error
	for name := range strings.FieldsSeq(string(names)) {
		log := file("log-" + strings.TrimPrefix(name, "pod/"))
		// A container that has not started has no log; then the file says so.
		_ = kubectlTo(ctx, log+".txt", "--namespace", namespace, "logs", name, "--all-containers", "--timestamps")
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
