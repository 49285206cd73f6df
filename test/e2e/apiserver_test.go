package e2e

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// outage breaks the API server for a while: routing goes on as if nothing had happened. Once a controller is active
// again the leader is deleted, and the failover happens.
func (r *row) outage(how, end string, lasts time.Duration) {
	r.Helper()
	r.start()
	r.healed(controlPlane, end)
	broken := time.Now()
	r.onNode(controlPlane, how)
	r.pause(lasts)
	r.onNode(controlPlane, end)
	mended := time.Now()
	r.awaitActive(mended)
	r.note("%.0f s after the API server had failed, %.0f s after it was mended, a controller was active", time.Since(broken).Seconds(), time.Since(mended).Seconds())
	r.fail(func() { r.deleteEventually() })
	r.leader(r.before.UID)
	r.pause(afterOutage)
	view := r.collect()
	assert.Zero(r, r.failedBefore(r.event), "failed requests while the API server was away")
	assert.Equal(r, 1, r.result.Moves, "moves of the leader")
	require.NotEmpty(r, view.AnsweredBy)
	assert.NotEqual(r, r.before.Pod, view.AnsweredBy[len(view.AnsweredBy)-1], "who answers in the end")
}

// afterOutage is how long traffic goes on there: kube-proxy's watches, as all of client-go's, are taken up again within 30 s
// of an outage, and until then the client's node may send it to the former leader.
const afterOutage = 35 * time.Second

// awaitActive waits until a controller has renewed the Lease after a moment, by the API server's clock, which is ours.
func (r *row) awaitActive(after time.Time) {
	r.Helper()
	require.Eventually(r, func() bool {
		lease, err := r.client.CoordinationV1().Leases(r.namespace).Get(r.ctx, release, metav1.GetOptions{})
		return err == nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != "" && lease.Spec.RenewTime.After(after)
	}, 4*time.Minute, 200*time.Millisecond, "a controller is active again")
}

// deleteEventually deletes the leader; an API server that is not quite itself yet is asked again.
func (r *row) deleteEventually() {
	r.Helper()
	var err error
	require.Eventually(r, func() bool {
		_, _, err = harness.Delete(r.ctx, r.client, r.namespace, r.before.Pod, r.before.UID)
		return err == nil
	}, time.Minute, 200*time.Millisecond, "delete the leader: %v", err)
}

// apiServerRestarted: its process is killed; the kubelet starts it again.
func apiServerRestarted(r *row) {
	r.outage("pkill -KILL -x kube-apiserver", "true", 0)
}

// apiServerUnreachable: nobody reaches it, not even what runs beside it, for a minute.
func apiServerUnreachable(r *row) {
	cut := "INPUT -p tcp --dport 6443 -j DROP"
	r.outage(rules(true, cut), rules(false, cut), time.Minute)
}

// etcdPaused: the API server has nothing to read from or to write to. Shorter than the time in which the active
// controller must renew its Lease.
func etcdPaused(r *row) {
	r.outage("pkill -STOP -x etcd", "pkill -CONT -x etcd", 8*time.Second)
}

// apiServerSlow: it stands still for four fifths of the time, in pieces, while the leader is deleted.
func apiServerSlow(r *row) {
	const times = 40
	r.start()
	r.healed(controlPlane, "pkill -CONT -x kube-apiserver")
	r.onNode(controlPlane, fmt.Sprintf("(for i in $(seq %d); do pkill -STOP -x kube-apiserver; sleep 0.4; pkill -CONT -x kube-apiserver; sleep 0.1; done) >/dev/null 2>&1 &", times))
	r.pause(time.Second)
	r.fail(func() { r.deleteEventually() })
	r.leader(r.before.UID)
	r.pause(time.Until(r.event.Add(times * 500 * time.Millisecond)))
	r.pause(2 * time.Second)
	view := r.collect()
	assert.Equal(r, 1, r.result.Moves, "moves of the leader")
	assert.Less(r, r.result.ToSlice.Duration(), 20*time.Second, "event to slice")
	require.NotEmpty(r, view.AnsweredBy)
	assert.NotEqual(r, r.before.Pod, view.AnsweredBy[len(view.AnsweredBy)-1], "who answers in the end")
}

// dropConnections ends every connection to the API server that is open, as a load balancer before it may.
const dropConnections = "ss -K state established sport = :6443"

// watchesDropped ends all connections to the API server, over which all watches go. They are
// opened anew, and a leader that is deleted at that time is replaced.
func watchesDropped(r *row) {
	r.start()
	before := time.Now()
	r.onNode(controlPlane, dropConnections)
	r.fail(func() { r.deleteEventually() })
	r.leader(r.before.UID)
	r.pause(settle)
	view := r.collect()
	assert.Equal(r, 1, r.result.Moves, "moves of the leader")
	assert.NotEqual(r, r.before.Pod, view.AnsweredBy[len(view.AnsweredBy)-1], "who answers in the end")
	watches, err := harness.Watches(r.ctx, controlPlane, r.namespace, release, before)
	require.NoError(r, err)
	assert.GreaterOrEqual(r, watches, 3, "watches of zen-lead that were opened anew: Services, slices, pods")
	r.note("%d watches of zen-lead were opened anew", watches)
}
