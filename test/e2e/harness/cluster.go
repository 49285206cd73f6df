// Package harness holds what tests and the demo need of a cluster with real nodes: applications, traffic clients on
// chosen nodes, a record of who led when, and the evidence to gather when something went wrong.
package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const pollInterval = 100 * time.Millisecond

// Connect returns a client for a kubeconfig file, or for the user's current one if path is empty, and the name of the
// context that it uses.
func Connect(path string) (kubernetes.Interface, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, "", fmt.Errorf("failed to read the kubeconfig: %w", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("failed to use the kubeconfig: %w", err)
	}
	// A test's own waits must not be what it measures.
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, "", fmt.Errorf("failed to use the kubeconfig: %w", err)
	}
	return client, raw.CurrentContext, nil
}

// Explain says what a failure to reach the API server means, without the request that met it.
func Explain(err error) string {
	if reached := new(url.Error); errors.As(err, &reached) {
		return reached.Err.Error()
	}
	return err.Error()
}

// Nodes returns the nodes that ordinary pods can run on now.
func Nodes(ctx context.Context, client kubernetes.Interface) ([]corev1.Node, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to list nodes: %w", err)
	}
	var nodes []corev1.Node
	for _, node := range list.Items {
		if schedulable(&node) {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

func schedulable(node *corev1.Node) bool {
	if node.Spec.Unschedulable {
		return false
	}
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Family tells the IP families of a cluster, from the addresses that its nodes have for pods: ipv4, ipv6 or dual.
func Family(ctx context.Context, client kubernetes.Interface) (string, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to list nodes: %w", err)
	}
	var v4, v6 bool
	for _, node := range nodes.Items {
		for _, cidr := range node.Spec.PodCIDRs {
			six := strings.Contains(cidr, ":")
			v4, v6 = v4 || !six, v6 || six
		}
	}
	switch {
	case v4 && v6:
		return "dual", nil
	case v6:
		return "ipv6", nil
	}
	return "ipv4", nil
}

// Delete deletes a pod gracefully, and tells when the request was sent and when the API server had accepted it: what
// kubectl does, with the moments known.
func Delete(ctx context.Context, client kubernetes.Interface, namespace, name string, uid types.UID) (sent, accepted time.Time, err error) {
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	sent = time.Now()
	if err := client.CoreV1().Pods(namespace).Delete(ctx, name, options); err != nil {
		return sent, accepted, fmt.Errorf("failed to delete pod %s/%s: %w", namespace, name, err)
	}
	return sent, time.Now(), nil
}

// DeletePods deletes pods at once and waits until the API server has forgotten them; pods that do not exist are fine.
func DeletePods(ctx context.Context, client kubernetes.Interface, namespace string, names ...string) error {
	pods := client.CoreV1().Pods(namespace)
	for _, name := range names {
		err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("failed to delete pod %s/%s: %w", namespace, name, err)
		}
	}
	for _, name := range names {
		err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
			_, err := pods.Get(ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err), ignoreNotFound(err)
		})
		if err != nil {
			return fmt.Errorf("failed to wait for the end of pod %s/%s: %w", namespace, name, err)
		}
	}
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// PodLog returns the whole log of a pod's only container.
func PodLog(ctx context.Context, client kubernetes.Interface, namespace, name string) (_ []byte, err error) {
	stream, err := client.CoreV1().Pods(namespace).GetLogs(name, &corev1.PodLogOptions{}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("failed to read the log of pod %s/%s: %w", namespace, name, err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	log, err := io.ReadAll(stream)
	if err != nil {
		return nil, fmt.Errorf("failed to read the log of pod %s/%s: %w", namespace, name, err)
	}
	return log, nil
}
