package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

// settle is how long traffic goes on after a failover: longer than the old leader serves on after SIGTERM.
const settle = 7 * time.Second

func leaderDeleted(r *row) {
	r.compare()
	r.fail(r.deleteLeaders)
	r.leader(r.before.UID)
	r.pause(settle)
	r.unharmed(1)
}

// deleteLeaders deletes what leads, gracefully.
func (r *row) deleteLeaders() {
	r.Helper()
	for _, v := range r.victims() {
		_, _, err := harness.Delete(r.ctx, r.client, r.namespace, v.pod, v.uid)
		require.NoError(r, err)
	}
}

func leaderEvicted(r *row) {
	r.start()
	r.fail(func() {
		err := r.client.CoreV1().Pods(r.namespace).EvictV1(r.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: r.before.Pod}})
		require.NoError(r, err)
	})
	r.leader(r.before.UID)
	r.pause(settle)
	r.unharmed(1)
}

// nodeDrained drains the leader's node of the application's pods, one at a time as its PodDisruptionBudget wants. The next
// leader may be another one of them.
func nodeDrained(r *row) {
	r.start()
	r.kubectl("create", "poddisruptionbudget", app, "--selector", "app.kubernetes.io/name="+app, "--max-unavailable", "1")
	node, there := r.before.Node, 0
	for _, pod := range r.pods() {
		if pod.Spec.NodeName == node {
			there++
		}
	}
	r.Cleanup(func() {
		_, err := r.command(context.WithoutCancel(r.ctx), "kubectl", "uncordon", node)
		assert.NoError(r, err)
	})
	r.fail(func() {
		r.kubectl("drain", node, "--pod-selector", "app.kubernetes.io/name="+app, "--ignore-daemonsets", "--timeout", "2m")
	})
	r.pause(settle)
	last, leads := r.recorder.Leader()
	assert.True(r, leads && last.Node != node, "the leader is on another node: %+v", last)
	view := r.collect()
	assert.Zero(r, view.Failed, "failed requests")
	assert.Positive(r, r.result.Moves, "moves of the leader")
	assert.LessOrEqual(r, r.result.Moves, there, "moves of the leader, of whose application the node had so many pods")
}

// leaderStopsListening: the process lives on and its port is closed, so that the readiness probe fails. agnhost waits for
// a request that is under way before it exits, and listens no more.
func leaderStopsListening(r *row) {
	r.compare()
	r.ask(r.before.Pod, "/exit?wait=5m&code=0")
	r.pause(time.Second)
	r.fail(func() {
		r.ask(r.before.Pod, "/exit?timeout=5m&code=0")
		if r.rival != nil {
			r.ask(r.rival.pod, "/close")
		}
	})
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.recovered(true)
}

func leaderCrashes(r *row) {
	r.compare()
	r.fail(func() {
		for _, v := range r.victims() {
			r.ask(v.pod, "/exit?code=1")
		}
	})
	told := r.awaitRestart()
	r.pause(3 * time.Second)
	r.recovered(told)
}

func leaderKilled(r *row) {
	r.compare()
	r.fail(func() {
		for _, v := range r.victims() {
			r.kill(v.pod, v.node)
		}
	})
	told := r.awaitRestart()
	r.pause(3 * time.Second)
	r.recovered(told)
}

// leaderOutOfMemory: the kernel kills it, as it takes more memory than its limit.
func leaderOutOfMemory(r *row) {
	r.start(r.own("memory: 32Mi\n", "memory: 32Mi\n            limits:\n              memory: 64Mi\n")...)
	r.fail(func() { r.ask(r.before.Pod, "/eat?mb=1000") })
	told := r.awaitRestart()
	assert.Eventually(r, func() bool {
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, r.before.Pod, metav1.GetOptions{})
		if err != nil || len(pod.Status.ContainerStatuses) == 0 {
			return false
		}
		status := pod.Status.ContainerStatuses[0]
		for _, ended := range []*corev1.ContainerStateTerminated{status.LastTerminationState.Terminated, status.State.Terminated} {
			// Where containerd hears of the exit before it hears why, the reason stays "Error".
			if ended != nil && (ended.Reason == "OOMKilled" || ended.ExitCode == 128+int32(syscall.SIGKILL)) {
				return true
			}
		}
		return false
	}, 30*time.Second, 200*time.Millisecond, "the kubelet says that the leader was killed")
	r.pause(3 * time.Second)
	r.recovered(told)
}

// leaderFailsLiveness: the kubelet ends its container, which serves on for a moment and is started again.
func leaderFailsLiveness(r *row) {
	r.start(r.own("            periodSeconds: 1\n", "            periodSeconds: 1\n"+
		"          livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 1, failureThreshold: 2}\n")...)
	r.fail(func() { r.ask(r.before.Pod, "/sick") })
	r.leader(r.before.UID)
	assert.Eventually(r, func() bool {
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, r.before.Pod, metav1.GetOptions{})
		return err == nil && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].RestartCount == 1
	}, 30*time.Second, 200*time.Millisecond, "the leader's container is started again")
	r.pause(3 * time.Second)
	r.recovered(true)
}

// awaitRestart waits until another pod leads, or until the leader's container has been started again without that Kubernetes
// was told that the pod was not Ready: a kubelet puts what it sees at short intervals into one report, and then nobody
// knows of a failure. It tells whether Kubernetes was told.
func (r *row) awaitRestart() (told bool) {
	r.Helper()
	var restarted time.Time
	require.Eventually(r, func() bool {
		if leader, leads := r.recorder.Leader(); leads && leader.UID != r.before.UID {
			told = true
			return true
		}
		pod, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, r.before.Pod, metav1.GetOptions{})
		again := err == nil && len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].RestartCount > 0 && pod.Status.ContainerStatuses[0].Ready
		if !again || r.notReady() {
			restarted = time.Time{}
			return false
		}
		if restarted.IsZero() {
			restarted = time.Now()
		}
		return time.Since(restarted) > 3*time.Second
	}, 3*time.Minute, 200*time.Millisecond, "another leader, or the same one restarted")
	if !told {
		r.note("the kubelet started the container again before it reported that the pod was not Ready: the leader stayed")
	}
	return told
}

// notReady tells whether the API server has known the former leader as not Ready since the row failed it.
func (r *row) notReady() bool {
	return slices.ContainsFunc(r.recorder.Pods(), func(c harness.PodChange) bool {
		return c.UID == r.before.UID && c.What == harness.PodNotReady && c.At.After(r.event)
	})
}

// recovered asserts what an unplanned failure promises: one move if Kubernetes was told of it, and the client is served
// again, and soon.
func (r *row) recovered(told bool) {
	r.Helper()
	view := r.collect()
	assert.Less(r, view.LongestGap.Duration(), 20*time.Second, "longest gap")
	require.NotEmpty(r, view.AnsweredBy)
	last := view.AnsweredBy[len(view.AnsweredBy)-1]
	if !told {
		assert.Zero(r, r.result.Moves, "moves of the leader, of whose failure nobody was told")
		assert.Equal(r, r.before.Pod, last, "who answers in the end")
		return
	}
	assert.Equal(r, 1, r.result.Moves, "moves of the leader; the old one must not come back")
	assert.NotEqual(r, r.before.Pod, last, "who answers in the end")
}

// ask sends a request to a pod by way of the API server, and does not wait for the answer: there may be none.
func (r *row) ask(pod, path string) {
	uri := "/api/v1/namespaces/" + r.namespace + "/pods/" + pod + ":8080/proxy" + path
	go func() { _, _ = r.client.CoreV1().RESTClient().Get().RequestURI(uri).DoRaw(r.ctx) }()
}

// kill ends a pod's only container from within its node, with no warning to anybody.
func (r *row) kill(pod, node string) {
	r.Helper()
	object, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, pod, metav1.GetOptions{})
	require.NoError(r, err)
	require.NotEmpty(r, object.Status.ContainerStatuses)
	_, id, _ := strings.Cut(object.Status.ContainerStatuses[0].ContainerID, "://")
	r.onNode(node, "ctr --namespace k8s.io tasks kill --signal SIGKILL "+id)
}

// deploymentRollout keeps all replicas: were one to go at once, before any new pod is Ready, it might be the leader, and
// its successor would be an outdated pod that has to go in its turn.
func deploymentRollout(r *row) {
	r.start("replicas: 3", "replicas: 5\n  strategy: {rollingUpdate: {maxUnavailable: 0}}")
	r.fail(func() { r.kubectl("rollout", "restart", "deployment/"+app) })
	r.kubectl("rollout", "status", "deployment/"+app, "--timeout", "3m")
	r.pause(settle)
	r.unharmed(1)
}

// statefulSetRollout: the pod that leads, the first one, is the last to be replaced, by one of the same name.
func statefulSetRollout(r *row) {
	r.start("kind: Deployment", "kind: StatefulSet", "spec:\n  replicas: 3", "spec:\n  serviceName: "+app+"\n  replicas: 3")
	require.Equal(r, app+"-0", r.before.Pod, "the first pod of a StatefulSet leads")
	r.fail(func() { r.kubectl("rollout", "restart", "statefulset/"+app) })
	r.kubectl("rollout", "status", "statefulset/"+app, "--timeout", "3m")
	r.pause(settle)
	r.unharmed(1)
}

// oneReplicaRolled: the only pod goes before the next one comes. It serves on until that is Ready, for which it has time
// enough here, and is well until its end: agnhost's /healthz, unlike its /readyz, does not change at SIGTERM.
func oneReplicaRolled(r *row) {
	const servesOn = 15
	r.start("replicas: 3", "replicas: 1\n  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}", "/readyz", "/healthz",
		"--delay-shutdown=5", fmt.Sprintf("--delay-shutdown=%d", servesOn))
	r.fail(func() { r.kubectl("rollout", "restart", "deployment/"+app) })
	r.leader(r.before.UID)
	r.pause(time.Until(r.event.Add((servesOn + 3) * time.Second)))
	r.unharmed(1)
}

// leaderRelabelled takes the leader out of its Service and back: it stays alive, and comes back as a standby.
func leaderRelabelled(r *row) {
	r.start()
	r.fail(func() { r.kubectl("label", "pod", r.before.Pod, "app.kubernetes.io/name=quarantined", "--overwrite") })
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.kubectl("label", "pod", r.before.Pod, "app.kubernetes.io/name="+app, "--overwrite")
	r.pause(settle)
	r.collect()
	assert.Zero(r, r.result.Clients[0].Failed, "failed requests")
}

// scaledToTheLeader scales down to one pod, the leader: a pod-deletion-cost makes it the one that stays.
func scaledToTheLeader(r *row) {
	r.start()
	r.kubectl("annotate", "pod", r.before.Pod, "controller.kubernetes.io/pod-deletion-cost=100")
	r.fail(func() { r.kubectl("scale", "deployment", app, "--replicas", "1") })
	require.Eventually(r, func() bool {
		left, err := harness.Replaced(r.ctx, r.client, r.namespace, "app.kubernetes.io/name="+app, 1)
		return err == nil && left
	}, patience, 200*time.Millisecond, "one pod is left")
	r.pause(2 * time.Second)
	r.unharmed(0)
}

// scaledToZero: the last leader serves until its end, then nobody does; a new pod takes over in a new term.
func scaledToZero(r *row) {
	r.start()
	r.fail(func() { r.kubectl("scale", "deployment", app, "--replicas", "0") })
	require.Eventually(r, func() bool {
		all := r.recorder.Leaderships()
		return all[len(all)-1].Endpoints == 0
	}, patience, 100*time.Millisecond, "nobody leads")
	empty := time.Now()
	r.pause(10 * time.Second) // a kube-proxy without a CPU has taken more than four to hear of it, for the plain Service too
	r.kubectl("scale", "deployment", app, "--replicas", "3")
	after := r.leader(r.before.UID)
	r.pause(4 * time.Second)
	view := r.collect()
	// The pods are deleted one after another: until the last is, another one may lead for a moment.
	assert.Positive(r, r.result.Moves, "moves of the leader")
	assert.LessOrEqual(r, r.result.Moves, 3, "moves of the leader")
	assert.Equal(r, after.Pod, view.AnsweredBy[len(view.AnsweredBy)-1], "who answers in the end")
	assert.NotEqual(r, r.before.Epoch, after.Epoch)
	assert.Positive(r, view.Failed, "nobody was there to answer")
	// kube-proxy refuses by ICMP, of which the kernel sends a client a few at first and then one a second.
	refused := 0
	for _, failure := range r.runs[0].Failures {
		if failure.Start.After(empty) && failure.Start.Before(after.At) && failure.Class == report.Refused {
			refused++
		}
	}
	assert.Positive(r, refused, "a Service with nobody refuses")
}

// active is the controller pod that holds the Lease, and its node.
func (r *row) active() (pod, node string) {
	r.Helper()
	holder := r.kubectl("get", "lease", release, "--output", "jsonpath={.spec.holderIdentity}")
	pod, _, _ = strings.Cut(holder, "_")
	return pod, r.kubectl("get", "pod", pod, "--output", "jsonpath={.spec.nodeName}")
}

func controllerHandedOver(r *row) {
	r.start()
	pod, _ := r.active()
	r.fail(func() {
		r.kubectl("delete", "pod", pod, "--wait=false")
		_, _, err := harness.Delete(r.ctx, r.client, r.namespace, r.before.Pod, r.before.UID)
		require.NoError(r, err)
	})
	r.leader(r.before.UID)
	r.pause(settle)
	r.collect()
	assert.Equal(r, 1, r.result.Moves)
	assert.Less(r, r.result.ToSlice.Duration(), 6*time.Second, "event to slice")
}

// controllerKilled kills the active controller, then deletes the leader: nobody acts until the Lease has run out.
func controllerKilled(r *row) {
	r.start()
	pod, node := r.active()
	r.fail(func() {
		r.kill(pod, node)
		_, _, err := harness.Delete(r.ctx, r.client, r.namespace, r.before.Pod, r.before.UID)
		require.NoError(r, err)
	})
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.collect()
	assert.Equal(r, 1, r.result.Moves)
	assert.Less(r, r.result.ToSlice.Duration(), 30*time.Second, "event to slice: lease duration and two tries, and the machine's own time")
}

// controllersDown: routing goes on while no controller runs; a leader that fails then is replaced once one is back.
func controllersDown(r *row) {
	r.start()
	r.kubectl("scale", "deployment", release, "--replicas", "0")
	r.kubectl("wait", "pod", "--selector", "app.kubernetes.io/name=zen-lead", "--for", "delete", "--timeout", "1m")
	r.pause(3 * time.Second)
	r.fail(func() {
		_, _, err := harness.Delete(r.ctx, r.client, r.namespace, r.before.Pod, r.before.UID)
		require.NoError(r, err)
	})
	r.kubectl("scale", "deployment", release, "--replicas", "2")
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.collect()
	assert.Equal(r, 1, r.result.Moves)
	assert.Zero(r, r.failedBefore(r.event), "routing goes on")
}
