// Package e2e fails what leads in every way that real nodes allow, while a client on another node opens new connections
// by DNS name, and tells what that client saw. `make e2e` runs it, `make e2e ROW=<regexp>` some of its rows.
package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// ofTests marks the namespaces that these tests make, so that a later run finds what an earlier one left.
const ofTests = "zen-lead-e2e"

// config is what test/e2e/e2e.sh chooses, as JSON in $ZEN_LEAD_E2E.
type config struct {
	Root, Cluster, AgnhostImage, TrafficImage string
	Fast                                      bool
}

// environment is what the rows share.
type environment struct {
	config
	client     kubernetes.Interface
	invariants *harness.Invariants
	repository string
	run        string // names this run in the results
	family     string // ipv4, ipv6 or dual
}

// scenario is a row of the failure matrix.
type scenario struct {
	name string
	// breaksNodes: not on a cluster that is not ours. alone: other rows would suffer; these run first, one at a time, and the
	// others after them, some at once. fast: one of the few that make test runs. family: only on a cluster with these IP families.
	breaksNodes, alone, fast bool
	family                   string
	run                      func(*row)
}

func scenarios() []scenario {
	return []scenario{
		{name: "1-leader-deleted", fast: true, run: leaderDeleted},
		{name: "1-leader-evicted", run: leaderEvicted},
		{name: "1-node-drained", breaksNodes: true, alone: true, run: nodeDrained},
		{name: "2-leader-stops-listening", fast: true, run: leaderStopsListening},
		{name: "2-leader-crashes", run: leaderCrashes},
		{name: "2-leader-killed", breaksNodes: true, run: leaderKilled},
		{name: "2-leader-out-of-memory", run: leaderOutOfMemory},
		{name: "2-leader-fails-liveness", run: leaderFailsLiveness},
		{name: "3-deployment-rollout", run: deploymentRollout},
		{name: "3-statefulset-rollout", run: statefulSetRollout},
		{name: "4-one-replica-rolled", run: oneReplicaRolled},
		{name: "5-scaled-to-the-leader", run: scaledToTheLeader},
		{name: "5-scaled-to-zero-and-up", run: scaledToZero},
		{name: "5-leader-relabelled", run: leaderRelabelled},
		{name: "6-node-powered-off", breaksNodes: true, alone: true, fast: true, run: nodePoweredOff},
		{name: "6-kubelet-hung", breaksNodes: true, alone: true, run: kubeletHung},
		{name: "6-node-cut-off-from-api-server", breaksNodes: true, alone: true, run: cutOffFromAPIServer},
		{name: "6-node-cut-off-from-clients", breaksNodes: true, alone: true, run: cutOffFromClients},
		{name: "7-controller-handed-over", run: controllerHandedOver},
		{name: "7-controller-killed", breaksNodes: true, fast: true, run: controllerKilled},
		{name: "7-controllers-down", run: controllersDown},
		{name: "7-controller-and-leader-on-one-dead-node", breaksNodes: true, alone: true, run: controllerAndLeaderLost},
		{name: "8-api-server-restarted", breaksNodes: true, alone: true, run: apiServerRestarted},
		{name: "8-api-server-unreachable-for-a-minute", breaksNodes: true, alone: true, run: apiServerUnreachable},
		{name: "8-api-server-slow", breaksNodes: true, alone: true, run: apiServerSlow},
		{name: "8-etcd-paused", breaksNodes: true, alone: true, run: etcdPaused},
		{name: "8-watches-dropped", breaksNodes: true, alone: true, run: watchesDropped},
		{name: "9-chart-upgraded-from-the-same-chart-as-0.0.9", run: chartLifecycle},
		{name: "9-helm-test", run: helmTest},
		{name: "10-flapping", run: flapping},
		{name: "10-flapping-with-min-ready-duration", run: flappingDamped},
		{name: "11-headless-source", run: headlessSource},
		{name: "11-ports-that-differ-between-revisions", run: portsDiffer},
		{name: "11-udp", run: udp},
		{name: "11-dual-stack", family: "dual", run: everyFamily},
		{name: "11-ipv6", family: "ipv6", run: everyFamily},
		{name: "12-long-lived-connections", run: longLived},
	}
}

func TestRows(t *testing.T) {
	chosen := os.Getenv("ZEN_LEAD_E2E")
	if chosen == "" {
		t.Skip("it needs a cluster: run make e2e")
	}
	env := &environment{run: time.Now().UTC().Format(time.RFC3339)}
	require.NoError(t, json.Unmarshal([]byte(chosen), &env.config))
	// An interruption ends the rows' waits; they then clean up as after any failure.
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGINT, syscall.SIGTERM)
	t.Cleanup(stop)

	var err error
	env.client, _, err = harness.Connect("")
	require.NoError(t, err)
	env.family, err = harness.Family(ctx, env.client)
	require.NoError(t, err)
	removeLeftovers(ctx, t, env)
	env.invariants, err = harness.WatchInvariants(ctx, env.client)
	require.NoError(t, err)
	env.repository = serveCharts(ctx, t, env)
	begun := 0
	for _, s := range scenarios() {
		if env.Fast && !s.fast {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			begun++
			if s.family != "" && s.family != env.family {
				t.Skipf("the cluster's IP families are %s: make one with CLUSTER_IP_FAMILY=%s", env.family, s.family)
			}
			if s.breaksNodes && env.Cluster != "kind" {
				t.Skip("it breaks a node, or reaches into one, and this cluster is not ours")
			}
			if !s.alone {
				t.Parallel()
			}
			if ctx.Err() != nil {
				t.Fatal("interrupted")
			}
			s.run(newRow(ctx, t, env, s.name))
		})
	}
	require.Positive(t, begun, "no row has such a name")
}

func removeLeftovers(ctx context.Context, t *testing.T, env *environment) {
	list, err := env.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=" + ofTests})
	require.NoError(t, err)
	for _, namespace := range list.Items {
		t.Logf("removing namespace %s of an earlier run", namespace.Name)
		_ = env.client.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{})
	}
}

// command runs a program in the project's folder and returns what it printed.
func (e *environment) command(ctx context.Context, name string, args ...string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(limited, name, args...)
	command.Dir = e.Root
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (e *environment) path(parts ...string) string {
	return filepath.Join(append([]string{e.Root}, parts...)...)
}
