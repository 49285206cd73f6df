package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// killing is for how long, and from which seed: ZEN_LEAD_KILL_DURATION and ZEN_LEAD_KILL_SEED make it a longer one.
func killing(t *testing.T) (duration time.Duration, seed uint64) {
	t.Helper()
	duration, seed = 6*time.Second, 1
	var err error
	if value := os.Getenv("ZEN_LEAD_KILL_DURATION"); value != "" {
		duration, err = time.ParseDuration(value)
		require.NoError(t, err, "ZEN_LEAD_KILL_DURATION")
	}
	if value := os.Getenv("ZEN_LEAD_KILL_SEED"); value != "" {
		seed, err = strconv.ParseUint(value, 10, 64)
		require.NoError(t, err, "ZEN_LEAD_KILL_SEED")
	}
	return duration, seed
}

// TestFaults_KilledAtRandom kills the controller, kill -9, again and again, while pods come, go and change, and our
// objects are deleted. The invariants are watched from outside all the time. With the seed, the changes are the same
// each time; what they meet is not.
func TestFaults_KilledAtRandom(t *testing.T) {
	w := newWorld(t)
	duration, seed := killing(t)
	w.Invariants.AllowUserEdits()
	w.Service(web().Families(corev1.IPFamilyPolicyRequireDualStack))
	random := rand.New(rand.NewPCG(seed, 3))
	history := &history{World: w, random: rand.New(rand.NewPCG(seed, 1)), pods: map[string]bool{}}
	until, kills, steps := time.Now().Add(duration), 0, 0
	for time.Now().Before(until) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(300+random.IntN(1200))*time.Millisecond)
		process := w.StartProcess(suite.binary)
		for ctx.Err() == nil {
			history.step(steps)
			steps++
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(random.IntN(40)) * time.Millisecond):
			}
		}
		cancel()
		process.Kill()
		kills++
		assert.NotContains(t, process.Output(), "panic:")
		freeLease(w)
	}
	process := w.StartProcess(suite.binary)
	process.WaitReady()
	w.Pod(pod("last")) // somebody can lead in the end
	leader, begin := "", time.Now()
	w.Barrier()
	w.Eventually("the published leader to be Ready and staying", func() (err error) {
		leader, err = soundLeader(w)
		return err
	})
	w.ExpectLeader("web-leader", leader)
	mark := process.Proxy.Requests.Mark()
	w.Never(time.Second, "anything to be written once all is quiet", func() bool {
		return len(process.Proxy.Requests.Since(mark).Writes()) > 0
	})
	t.Logf("seed %d: %d kills, %d steps, %d states of the slice; %d terms went with the only object that told of them; at peace %s after the last",
		seed, kills, steps, len(w.Invariants.History("web-leader-ipv4")), w.Invariants.Lost(), time.Since(begin).Round(time.Millisecond))
}

// freeLease takes the Lease from a process that is dead for certain: nobody has to wait for its end.
func freeLease(w *harness.World) {
	w.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "zen-lead", Namespace: w.Namespace}}
	require.NoError(w, client.IgnoreNotFound(w.Client.Delete(w.Context(), lease)))
}
