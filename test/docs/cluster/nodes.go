package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

const (
	// terminating is how long a pod goes on after it was asked to end.
	terminating = 500 * time.Millisecond
	// missing is the tag of an image that nobody can pull: its pod stays Pending.
	missing = ":does-not-exist"
	// controllerImage is the image whose pods are processes.
	controllerImage = "ghcr.io/kube-zen/zen-lead:"
)

// nodes plays scheduler and kubelets.
type nodes struct {
	cluster *Cluster
	client  client.WithWatch
	typed   kubernetes.Interface
	binary  string
	server  *httptest.Server
	cancel  context.CancelFunc
	work    sync.WaitGroup

	mu      sync.Mutex
	pods    map[types.UID]*state
	counter int
}

// state is what is known of a pod.
type state struct {
	started, ending bool
	process         *child
}

func startNodes(ctx context.Context, c *Cluster, binary string) (*nodes, error) {
	typed, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return nil, fmt.Errorf("failed to build a client: %w", err)
	}
	n := &nodes{cluster: c, client: c.Client, typed: typed, binary: binary, pods: map[types.UID]*state{}}
	n.server = httptest.NewTLSServer(http.HandlerFunc(n.logs))
	ctx, n.cancel = context.WithCancel(ctx)
	if err := n.describe(ctx); err != nil {
		n.stop()
		return nil, err
	}
	n.work.Go(func() { n.run(ctx) })
	return n, nil
}

func (n *nodes) stop() {
	n.cancel()
	n.work.Wait()
	n.server.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.pods {
		s.process.kill()
	}
}

// describe lets the API server find the kubelets' port, where it asks for logs.
func (n *nodes) describe(ctx context.Context) error {
	port := int32(n.server.Listener.Addr().(*net.TCPAddr).Port)
	for _, name := range harness.Nodes() {
		node, err := n.typed.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("failed to get node %s: %w", name, err)
		}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = port
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		if _, err := n.typed.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("failed to update the status of node %s: %w", name, err)
		}
	}
	return nil
}

// logs answers as a kubelet does: /containerLogs/NAMESPACE/POD/CONTAINER.
func (n *nodes) logs(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) != 4 || parts[0] != "containerLogs" {
		http.NotFound(w, r)
		return
	}
	pod, err := n.typed.CoreV1().Pods(parts[1]).Get(r.Context(), parts[2], metav1.GetOptions{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	n.mu.Lock()
	s := n.pods[pod.UID]
	n.mu.Unlock()
	if s != nil && s.process != nil {
		_, _ = w.Write(s.process.output())
	}
}

// run handles every change of every pod until ctx ends.
func (n *nodes) run(ctx context.Context) {
	for ctx.Err() == nil {
		watcher, err := n.client.Watch(ctx, &corev1.PodList{})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		for event := range watcher.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok && event.Type != watch.Deleted {
				n.handle(ctx, pod)
			}
		}
		watcher.Stop()
	}
}

func (n *nodes) handle(ctx context.Context, pod *corev1.Pod) {
	n.mu.Lock()
	s := n.pods[pod.UID]
	if s == nil {
		s = &state{}
		n.pods[pod.UID] = s
	}
	n.counter++
	number := n.counter
	n.mu.Unlock()
	switch {
	case pod.DeletionTimestamp != nil:
		if !s.ending {
			s.ending = true
			n.work.Go(func() { n.finish(ctx, pod, s) })
		}
	case pod.Spec.NodeName == "":
		node := harness.Nodes()[number%len(harness.Nodes())]
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
			Target: corev1.ObjectReference{Kind: "Node", Name: node}}
		n.tolerate(n.typed.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{}))
	case !s.started && !pullable(pod):
		s.started = true
		n.setStatus(ctx, pod, corev1.PodPending, number)
	case !s.started:
		s.started = true
		n.work.Go(func() { n.start(ctx, pod, s, number) })
	}
}

func pullable(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		if strings.HasSuffix(pod.Spec.Containers[i].Image, missing) {
			return false
		}
	}
	return true
}

// start makes a pod Ready, zen-lead's own once its process says so.
func (n *nodes) start(ctx context.Context, pod *corev1.Pod, s *state, number int) {
	if strings.HasPrefix(pod.Spec.Containers[0].Image, controllerImage) {
		process, err := n.startController(ctx, pod)
		n.mu.Lock()
		s.process = process
		n.mu.Unlock()
		if err != nil {
			n.record(ctx, pod, err)
			return
		}
	}
	n.setStatus(ctx, pod, corev1.PodRunning, number)
}

// record says as an Event what kept a pod from starting.
func (n *nodes) record(ctx context.Context, pod *corev1.Pod, err error) {
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: pod.Name + ".", Namespace: pod.Namespace},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: "Failed", Message: err.Error(),
	}
	_, err = n.typed.CoreV1().Events(pod.Namespace).Create(ctx, event, metav1.CreateOptions{})
	n.tolerate(err)
}

func (n *nodes) setStatus(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase, number int) {
	pod = pod.DeepCopy()
	pod.Status.Phase = phase
	ready := phase == corev1.PodRunning
	harness.SetReady(pod, ready, time.Now())
	if ready {
		v4, v6 := fmt.Sprintf("10.244.%d.%d", number/200%250, number%200+1), fmt.Sprintf("fd00:10:244::%x", number)
		pod.Status.PodIP, pod.Status.PodIPs = v4, []corev1.PodIP{{IP: v4}, {IP: v6}}
	}
	started := metav1.Now()
	pod.Status.StartTime = &started
	pod.Status.ContainerStatuses = nil
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		status := corev1.ContainerStatus{Name: container.Name, Image: container.Image, Ready: ready, Started: &ready}
		if ready {
			status.State.Running = &corev1.ContainerStateRunning{StartedAt: started}
		} else {
			status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	n.tolerate(n.client.Status().Update(ctx, pod))
}

// finish ends a pod that was asked to.
func (n *nodes) finish(ctx context.Context, pod *corev1.Pod, s *state) {
	n.mu.Lock()
	process := s.process
	n.mu.Unlock()
	if process != nil {
		terminate(process)
	} else if grace := pod.DeletionGracePeriodSeconds; grace != nil && *grace > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(terminating):
		}
	}
	none, uid := int64(0), pod.UID
	n.tolerate(n.typed.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name,
		metav1.DeleteOptions{GracePeriodSeconds: &none, Preconditions: &metav1.Preconditions{UID: &uid}}))
}

// tolerate says what went wrong, unless it is what comes of a pod that changed or went meanwhile, or of the end.
func (n *nodes) tolerate(err error) {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || strings.Contains(err.Error(), context.Canceled.Error()) {
		return
	}
	fmt.Println("nodes:", err)
}
