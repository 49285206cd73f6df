package e2e

import (
	"context"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// settle is how long traffic goes on after a failover: longer than the old leader serves on after SIGTERM.
const settle = 7 * time.Second

func leaderDeleted(r *row) {
	r.start()
	r.fail(func() {
		_, _, err := harness.Delete(r.ctx, r.client, r.namespace, r.before.Pod, r.before.UID)
		require.NoError(r, err)
	})
	r.leader(r.before.UID)
	r.pause(settle)
	r.unharmed(1)
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

// nodeDrained drains the leader's node of the application's pods, one at a time as its PodDisruptionBudget wants.
func nodeDrained(r *row) {
	r.start()
	r.kubectl("create", "poddisruptionbudget", app, "--selector", "app.kubernetes.io/name="+app, "--max-unavailable", "1")
	node := r.before.Node
	r.Cleanup(func() {
		_, err := r.command(context.WithoutCancel(r.ctx), "kubectl", "uncordon", node)
		assert.NoError(r, err)
	})
	r.fail(func() {
		r.kubectl("drain", node, "--pod-selector", "app.kubernetes.io/name="+app, "--ignore-daemonsets", "--timeout", "2m")
	})
	after := r.leader(r.before.UID)
	assert.NotEqual(r, node, after.Node)
	r.pause(settle)
	r.unharmed(1)
}

// leaderStopsListening: the process lives on and its port is closed, so that the readiness probe fails. agnhost waits for
// a request that is under way before it exits, and listens no more.
func leaderStopsListening(r *row) {
	r.start()
	r.ask(r.before.Pod, "/exit?wait=5m&code=0")
	r.pause(time.Second)
	r.fail(func() { r.ask(r.before.Pod, "/exit?timeout=5m&code=0") })
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.recovered()
}

func leaderCrashes(r *row) {
	r.start()
	r.fail(func() { r.ask(r.before.Pod, "/exit?code=1") })
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.recovered()
}

func leaderKilled(r *row) {
	r.start()
	r.fail(func() { r.kill(r.before.Pod, r.before.Node) })
	r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.recovered()
}

// recovered asserts what an unplanned failure promises: one move, and the client is served again, and soon.
func (r *row) recovered() {
	r.Helper()
	view := r.collect()
	assert.Equal(r, 1, r.result.Moves, "moves of the leader; the old one must not come back")
	assert.Less(r, view.LongestGap.Duration(), 10*time.Second, "longest gap")
	require.NotEmpty(r, view.AnsweredBy)
	assert.NotEqual(r, r.before.Pod, view.AnsweredBy[len(view.AnsweredBy)-1], "who answers in the end")
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
	_, id, _ := strings.Cut(object.Status.ContainerStatuses[0].ContainerID, "://")
	out, err := r.command(r.ctx, "docker", "exec", node, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id)
	require.NoError(r, err, out)
}

func deploymentRollout(r *row) {
	r.start("replicas: 3", "replicas: 5")
	r.fail(func() { r.kubectl("rollout", "restart", "deployment/"+app) })
	r.kubectl("rollout", "status", "deployment/"+app, "--timeout", "3m")
	r.pause(settle)
	r.unharmed(1)
}

// oneReplicaRolled: the only pod goes before the next one comes. It serves on until that is Ready: agnhost's /healthz,
// unlike its /readyz, stays well after SIGTERM.
func oneReplicaRolled(r *row) {
	r.start("replicas: 3", "replicas: 1\n  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}", "/readyz", "/healthz")
	r.fail(func() { r.kubectl("rollout", "restart", "deployment/"+app) })
	r.leader(r.before.UID)
	r.pause(settle)
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
}

// nodePoweredOff stops the leader's node as a power cut does.
func nodePoweredOff(r *row) {
	r.start()
	node := r.before.Node
	r.Cleanup(func() {
		_, err := r.command(context.WithoutCancel(r.ctx), "docker", "start", node)
		assert.NoError(r, err)
		_, err = r.command(context.WithoutCancel(r.ctx), "kubectl", "wait", "node", node, "--for", "condition=Ready", "--timeout", "3m")
		assert.NoError(r, err)
	})
	r.fail(func() {
		out, err := r.command(r.ctx, "docker", "kill", node)
		require.NoError(r, err, out)
	})
	after := r.leader(r.before.UID)
	assert.NotEqual(r, node, after.Node)
	r.pause(5 * time.Second)
	r.collect()
	assert.Equal(r, 1, r.result.Moves)
}
