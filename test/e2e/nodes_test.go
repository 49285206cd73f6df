package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// onNode runs a script on a node, as root.
func (r *row) onNode(node, script string) string {
	r.Helper()
	out, err := r.command(r.ctx, "docker", "exec", node, "bash", "-c", script)
	require.NoError(r, err, "%s on node %s: %s", script, node, out)
	return out
}

// healed runs a script on a node when the row ends, however it ends; what is well already must stay so.
func (r *row) healed(node, script string) {
	r.Cleanup(func() {
		out, err := r.command(context.WithoutCancel(r.ctx), "docker", "exec", node, "bash", "-c", script)
		assert.NoError(r, err, "%s on node %s: %s", script, node, out)
		r.allReady()
	})
}

// allReady waits until nodes, and what runs on them for the cluster, are well: the next row needs them.
func (r *row) allReady() {
	for _, what := range [][]string{{"node", "--all"}, {"pod", "--all", "--namespace", "kube-system"}} {
		out, err := r.command(context.WithoutCancel(r.ctx), "kubectl", append([]string{"wait", "--for", "condition=Ready", "--timeout", "4m"}, what...)...)
		assert.NoError(r, err, out)
	}
}

// settleActive hands the controllers' leadership over until it is on, or off, a node, and the standby on another one than
// the active controller: the scheduler only prefers that, and a pod that goes still counts for it.
func (r *row) settleActive(node string, on bool) {
	r.Helper()
	require.Eventually(r, func() bool {
		ready, err := harness.Replaced(r.ctx, r.client, r.namespace, "app.kubernetes.io/name=zen-lead", 2)
		if err != nil || !ready {
			return false
		}
		lease, err := r.client.CoordinationV1().Leases(r.namespace).Get(r.ctx, release, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil {
			return false
		}
		active, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
		pods, err := r.client.CoreV1().Pods(r.namespace).List(r.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=zen-lead"})
		if err != nil || len(pods.Items) != 2 {
			return false
		}
		if pods.Items[0].Name != active {
			slices.Reverse(pods.Items)
		}
		holder, standby := pods.Items[0], pods.Items[1]
		victim := ""
		switch {
		case holder.Name != active:
			return false
		case (holder.Spec.NodeName == node) != on:
			victim = holder.Name
		case holder.Spec.NodeName == standby.Spec.NodeName:
			victim = standby.Name
		default:
			return true
		}
		_ = r.client.CoreV1().Pods(r.namespace).Delete(r.ctx, victim, metav1.DeleteOptions{})
		return false
	}, patience, time.Second, "the active controller on node %s: %v, and the other one elsewhere", node, on)
}

// many makes further Services of the same pods, each with a leader of its own, and returns a recording of all slices. A
// pod-deletion-cost makes them prefer the pod that leads already.
func (r *row) many(n int) *harness.Recorder {
	r.Helper()
	r.kubectl("annotate", "pod", r.before.Pod, "controller.kubernetes.io/pod-deletion-cost=100")
	recorder, err := harness.RecordSlices(r.ctx, r.client, r.namespace, discoveryv1.LabelManagedBy+"="+api.ManagedBy)
	require.NoError(r, err)
	for i := range n {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("many-%d", i), Annotations: map[string]string{api.AnnotationEnabled: "true"}},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app.kubernetes.io/name": app},
				Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
			},
		}
		_, err := r.client.CoreV1().Services(r.namespace).Create(r.ctx, service, metav1.CreateOptions{})
		require.NoError(r, err)
	}
	require.Eventually(r, func() bool { return len(led(recorder, r.before.Node, true)) == n+1 }, patience, 200*time.Millisecond, "%d leaders on one node", n+1)
	return recorder
}

// led are the moments at which slices last got a leader who is ready and is on a node, or off it.
func led(recorder *harness.Recorder, node string, on bool) []time.Time {
	latest := map[string]harness.Leadership{}
	for _, l := range recorder.Leaderships() {
		if last, known := latest[l.Slice]; !known || last.UID != l.UID || last.Ready != l.Ready {
			latest[l.Slice] = l
		}
	}
	var moments []time.Time
	for _, l := range latest {
		if l.Endpoints > 0 && l.Ready && (l.Node == node) == on {
			moments = append(moments, l.At)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	return moments
}

// services that fail at once when their node dies.
const manyServices = 50

// powerOff stops a node as a power cut does, and starts it when the row ends.
func (r *row) powerOff(node string) {
	r.Helper()
	r.Cleanup(func() {
		out, err := r.command(context.WithoutCancel(r.ctx), "docker", "start", node)
		assert.NoError(r, err, out)
		r.allReady()
	})
	out, err := r.command(r.ctx, "docker", "kill", node)
	require.NoError(r, err, out)
}

// nodePoweredOff stops the node of the leader, and of those of many other Services, and brings it back.
func nodePoweredOff(r *row) {
	r.also = append(r.also, harness.Target{Name: "held-connection", URL: "held+http://" + app + api.LeaderSuffix + "/hostname"})
	r.compare()
	node, n := r.before.Node, manyServices
	if r.Fast {
		n = 5
	}
	r.settleActive(node, false)
	all := r.many(n)
	r.fail(func() { r.powerOff(node) })
	after := r.leader(r.before.UID)
	assert.NotEqual(r, node, after.Node)
	require.Eventually(r, func() bool { return len(led(all, node, false)) == n+1 }, patience, 200*time.Millisecond, "%d leaders on the other node", n+1)
	moments := led(all, node, false)
	r.note("%d Services had their leader there: %.1f s after the power cut the first had another one, %d ms later the last",
		n+1, moments[0].Sub(r.event).Seconds(), moments[n].Sub(moments[0]).Milliseconds())
	r.pause(4 * time.Second)
	r.noteUnanswered()
	if !r.Fast {
		out, err := r.command(r.ctx, "docker", "start", node)
		require.NoError(r, err, out)
		r.kubectl("wait", "node", node, "--for", "condition=Ready", "--timeout", "3m")
		r.pause(4 * time.Second)
	}
	r.collect()
	assert.Equal(r, 1, r.result.Moves, "moves of the leader: it does not go back to the node")
	assert.Less(r, r.result.ToSlice.Duration(), 2*time.Minute, "event to slice: Kubernetes' 50 s, and the machine's own time")
}

// noteUnanswered counts what the client's node still remembers of connections to the dead pod. It remembers them for two
// minutes; a client that comes by the same port again in that time is led to the dead pod once more.
func (r *row) noteUnanswered() {
	r.Helper()
	client, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, r.traffic.Name, metav1.GetOptions{})
	require.NoError(r, err)
	leader, err := r.client.CoreV1().Pods(r.namespace).Get(r.ctx, r.before.Pod, metav1.GetOptions{})
	if err != nil || leader.Status.PodIP == "" {
		return
	}
	count := r.onNode(client.Spec.NodeName, "conntrack -L -p tcp --state SYN_SENT 2>/dev/null | grep -c 'src="+leader.Status.PodIP+" ' || true")
	r.note("%s unanswered connections to the dead pod, of all targets, were still remembered on the client's node 4 s later", count)
}

// kubeletHung: the kubelet no longer says anything, and its pods serve on: nobody may notice the move.
func kubeletHung(r *row) {
	r.start()
	node := r.before.Node
	r.healed(node, "pkill -CONT -x kubelet")
	r.fail(func() { r.onNode(node, "pkill -STOP -x kubelet") })
	after := r.leader(r.before.UID)
	assert.NotEqual(r, node, after.Node)
	r.pause(4 * time.Second)
	r.onNode(node, "pkill -CONT -x kubelet")
	r.kubectl("wait", "node", node, "--for", "condition=Ready", "--timeout", "3m")
	r.pause(4 * time.Second)
	r.unharmed(1)
}

// rules are firewall rules that a script sets, or removes, in both families; one that is not there is fine.
func rules(set bool, all ...string) string {
	do, or := "-I", ""
	if !set {
		do, or = "-D", " 2>/dev/null || true"
	}
	var script []string
	for _, rule := range all {
		for _, tables := range []string{"iptables", "ip6tables"} {
			script = append(script, fmt.Sprintf("%s %s %s%s", tables, do, rule, or))
		}
	}
	return strings.Join(script, "\n")
}

// cutOffFromAPIServer: the leader's node serves on, and nobody hears of it any more; nobody may notice the move.
func cutOffFromAPIServer(r *row) {
	r.start()
	node := r.before.Node
	r.settleActive(node, false)
	cut := []string{"OUTPUT -p tcp --dport 6443 -j DROP", "FORWARD -p tcp --dport 6443 -j DROP"}
	r.healed(node, rules(false, cut...))
	r.fail(func() { r.onNode(node, rules(true, cut...)) })
	after := r.leader(r.before.UID)
	assert.NotEqual(r, node, after.Node)
	r.pause(4 * time.Second)
	r.onNode(node, rules(false, cut...))
	r.kubectl("wait", "node", node, "--for", "condition=Ready", "--timeout", "3m")
	r.pause(4 * time.Second)
	r.unharmed(1)
}

// cutOffFromClients: Kubernetes finds the leader well, as it can reach it, and so does zen-lead: nothing moves, and
// clients on other nodes wait for their network.
func cutOffFromClients(r *row) {
	r.start()
	node := r.before.Node
	cut := "FORWARD -i eth0 -p tcp --dport 8080 -j DROP"
	r.healed(node, rules(false, cut))
	r.fail(func() { r.onNode(node, rules(true, cut)) })
	r.pause(6 * time.Second)
	r.onNode(node, rules(false, cut))
	mended := time.Now()
	r.pause(4 * time.Second)
	view := r.collect()
	assert.Zero(r, r.result.Moves, "moves of the leader")
	assert.Positive(r, view.Failed, "the network was cut, and so requests failed")
	assert.Equal(r, []string{r.before.Pod}, view.AnsweredBy)
	assert.Equal(r, view.Failed, r.failedBefore(mended.Add(2*time.Second)), "failures end when the network is mended")
}

// controllerAndLeaderLost: the node of both dies. By the time that Kubernetes gives the node up the other controller has
// long taken over.
func controllerAndLeaderLost(r *row) {
	r.start()
	node := r.before.Node
	r.settleActive(node, true)
	r.fail(func() { r.powerOff(node) })
	after := r.leader(r.before.UID)
	assert.NotEqual(r, node, after.Node)
	r.pause(4 * time.Second)
	r.collect()
	assert.Equal(r, 1, r.result.Moves)
	assert.Less(r, r.result.ToSlice.Duration(), 2*time.Minute, "event to slice: Kubernetes' 50 s, and the machine's own time")
}
