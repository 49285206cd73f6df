// Package elected is what people use instead of zen-lead: the application itself holds an election through client-go, and
// the pod that has won it moves a label to itself, by which a Service selects.
package elected

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Candidate takes part in the election.
type Candidate struct {
	Client    kubernetes.Interface
	Namespace string
	Pod       string
	Lease     string // its name is the label's value too
}

// Label is the label that moves.
const Label = "example.com/leads"

// InCluster is the pod that the process runs in.
func InCluster(lease string) (*Candidate, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("failed to find the cluster: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("failed to use the cluster: %w", err)
	}
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return nil, fmt.Errorf("failed to read the pod's namespace: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("failed to read the pod's name: %w", err)
	}
	return &Candidate{Client: client, Namespace: strings.TrimSpace(string(namespace)), Pod: name, Lease: lease}, nil
}

// Run takes part until ctx ends, and then gives the Lease away at once, if it is held. The durations are those of the
// Kubernetes components, which nearly everybody copies.
func (c *Candidate) Run(ctx context.Context) {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Lease},
		Client:     c.Client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: c.Pod},
	}
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock:            lock,
			LeaseDuration:   15 * time.Second,
			RenewDeadline:   10 * time.Second,
			RetryPeriod:     2 * time.Second,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: c.take,
				OnStoppedLeading: func() {},
			},
		})
	}
}

// take moves the label here. The former leader keeps it until then: to take it off first would leave nobody with it.
func (c *Candidate) take(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.move(ctx)
		if err == nil {
			return
		}
		_, _ = fmt.Fprintln(os.Stderr, "traffic:", err)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *Candidate) move(ctx context.Context) error {
	if err := c.label(ctx, c.Pod, `"`+c.Lease+`"`); err != nil {
		return err
	}
	others, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: Label + "=" + c.Lease})
	if err != nil {
		return fmt.Errorf("failed to list pods of namespace %s: %w", c.Namespace, err)
	}
	for _, pod := range others.Items {
		if pod.Name != c.Pod {
			if err := c.label(ctx, pod.Name, "null"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Candidate) label(ctx context.Context, pod, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, Label, value)
	if _, err := c.Client.CoreV1().Pods(c.Namespace).Patch(ctx, pod, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("failed to label pod %s/%s: %w", c.Namespace, pod, err)
	}
	return nil
}
