package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// TrafficClient is a pod that runs the traffic program against one or more targets.
type TrafficClient struct {
	Namespace string
	Name      string
	Image     string
	// AwayFrom is a node that the client should not run on; where there is no other it does.
	AwayFrom string
	Duration time.Duration
	Interval time.Duration
	Targets  []Target
}

// Target is a URL and its name in the reports.
type Target struct {
	Name string
	URL  string
}

// Pod returns the client's pod. It fits into a namespace with Pod Security "restricted".
func (c TrafficClient) Pod() *corev1.Pod {
	args := []string{"--duration=" + c.Duration.String(), "--interval=" + c.Interval.String()}
	for _, t := range c.Targets {
		args = append(args, t.Name+"="+t.URL)
	}
	var grace int64 = 5
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace,
			Name:      c.Name,
			Labels:    map[string]string{"app.kubernetes.io/name": "traffic", "app.kubernetes.io/instance": c.Name},
		},
		Spec: corev1.PodSpec{
			Affinity:                      awayFrom(c.AwayFrom),
			AutomountServiceAccountToken:  new(bool),
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: &grace,
			SecurityContext:               restrictedPod(),
			Containers: []corev1.Container{{
				Name:            "traffic",
				Image:           c.Image,
				ImagePullPolicy: corev1.PullIfNotPresent,
				Args:            args,
				// An instrument that waits for a processor measures the machine: without a request it is last in the queue.
				Resources:       corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}},
				SecurityContext: restrictedContainer(),
			}},
		},
	}
}

func awayFrom(node string) *corev1.Affinity {
	if node == "" {
		return nil
	}
	other := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{
		Key: "metadata.name", Operator: corev1.NodeSelectorOpNotIn, Values: []string{node},
	}}}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: other}},
	}}
}

func restrictedPod() *corev1.PodSecurityContext {
	var user int64 = 65532
	nonRoot := true
	return &corev1.PodSecurityContext{
		RunAsNonRoot:   &nonRoot,
		RunAsUser:      &user,
		RunAsGroup:     &user,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func restrictedContainer() *corev1.SecurityContext {
	readOnly := true
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(bool),
		ReadOnlyRootFilesystem:   &readOnly,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// Start creates the client's pod and waits until it has had an answer from each target, so that what is measured later
// is not the start of the client. It returns the node that the client runs on.
func (c TrafficClient) Start(ctx context.Context, client kubernetes.Interface) (node string, err error) {
	pod, err := client.CoreV1().Pods(c.Namespace).Create(ctx, c.Pod(), metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to create pod %s/%s: %w", c.Namespace, c.Name, err)
	}
	var last error
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		pod, err = client.CoreV1().Pods(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if last = c.answered(ctx, client, pod); last != nil && ended(pod) {
			return false, last
		}
		return last == nil, nil
	})
	if err != nil {
		return "", fmt.Errorf("failed to start traffic client %s/%s: %w", c.Namespace, c.Name, errors.Join(err, last))
	}
	return pod.Spec.NodeName, nil
}

// answered says what is missing until each target has answered.
func (c TrafficClient) answered(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodPending {
		return errors.New(whyNotReady(pod))
	}
	log, err := PodLog(ctx, client, c.Namespace, c.Name)
	if err != nil {
		return err
	}
	// The log is read while it grows: leave out a line that is still being written.
	runs, err := report.Read(bytes.NewReader(log[:bytes.LastIndexByte(log, '\n')+1]))
	if err != nil {
		return fmt.Errorf("%w; the log is:\n%s", err, log)
	}
	answered := 0
	for _, run := range runs {
		if len(run.Segments) > 0 {
			answered++
		}
	}
	if answered < len(c.Targets) {
		return fmt.Errorf("%d of %d targets have answered", answered, len(c.Targets))
	}
	return nil
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// whyNotReady says what a pod waits for.
func whyNotReady(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if w := status.State.Waiting; w != nil {
			return fmt.Sprintf("the container waits: %s %s", w.Reason, w.Message)
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return "the pod is not scheduled: " + condition.Message
		}
	}
	if pod.Status.Phase == corev1.PodRunning {
		return "it runs, and is not ready"
	}
	return "the pod is pending"
}

// Stop tells the client to end; it then reports what it saw.
func (c TrafficClient) Stop(ctx context.Context) error {
	command := exec.CommandContext(ctx, "kubectl", "--namespace", c.Namespace, "exec", c.Name, "--", "/traffic", "stop")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("failed to stop traffic client %s/%s: %w\n%s", c.Namespace, c.Name, err, out)
	}
	return nil
}

// Collect waits until the client has ended by itself and returns what it saw, one run for each target.
func (c TrafficClient) Collect(ctx context.Context, client kubernetes.Interface) ([]report.Run, error) {
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if pod.Status.Phase == corev1.PodFailed {
			return false, fmt.Errorf("the client failed: %s", pod.Status.Message)
		}
		return ended(pod), nil
	})
	if err != nil {
		return nil, fmt.Errorf("failed to wait for the end of traffic client %s/%s: %w", c.Namespace, c.Name, err)
	}
	log, err := PodLog(ctx, client, c.Namespace, c.Name)
	if err != nil {
		return nil, err
	}
	runs, err := report.Read(bytes.NewReader(log))
	if err != nil {
		return nil, fmt.Errorf("failed to read the report of traffic client %s/%s: %w", c.Namespace, c.Name, err)
	}
	if len(runs) != len(c.Targets) {
		return nil, fmt.Errorf("failed to read the report of traffic client %s/%s: it has %d targets, not %d", c.Namespace, c.Name, len(runs), len(c.Targets))
	}
	for _, run := range runs {
		if run.Summary == nil {
			return nil, fmt.Errorf("failed to read the report of traffic client %s/%s: no summary for target %s", c.Namespace, c.Name, run.Target)
		}
	}
	return runs, nil
}
