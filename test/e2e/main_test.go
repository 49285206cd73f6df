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
	Slow                                      bool
}

// environment is what the rows share.
type environment struct {
	config
	client     kubernetes.Interface
	invariants *harness.Invariants
	repository string
}

// scenario is a row of the failure matrix.
type scenario struct {
	name string
	// breaksNodes: not on a cluster that is not ours. slow: takes minutes, test/e2e/e2e.sh --fast leaves it out. alone: other
	// rows would suffer; these run first, the others after them, two at a time with --fast and one at a time otherwise.
	breaksNodes, slow, alone bool
	run                      func(*row)
}

func scenarios() []scenario {
	return []scenario{
		{name: "1-leader-deleted", run: leaderDeleted},
		{name: "1-leader-evicted", run: leaderEvicted},
		{name: "1-node-drained", breaksNodes: true, alone: true, run: nodeDrained},
		{name: "2-leader-stops-listening", run: leaderStopsListening},
		{name: "2-leader-crashes", run: leaderCrashes},
		{name: "2-leader-killed", breaksNodes: true, run: leaderKilled},
		{name: "3-deployment-rollout", run: deploymentRollout},
		{name: "4-one-replica-rolled", run: oneReplicaRolled},
		{name: "5-leader-relabelled", run: leaderRelabelled},
		{name: "7-controller-handed-over", run: controllerHandedOver},
		{name: "7-controller-killed", breaksNodes: true, run: controllerKilled},
		{name: "7-controllers-down", run: controllersDown},
		{name: "9-chart-upgraded-from-the-same-chart-as-0.0.9", run: chartLifecycle},
		{name: "9-helm-test", run: helmTest},
		{name: "6-node-powered-off", breaksNodes: true, slow: true, alone: true, run: nodePoweredOff},
	}
}

func TestRows(t *testing.T) {
	chosen := os.Getenv("ZEN_LEAD_E2E")
	if chosen == "" {
		t.Skip("it needs a cluster: run make e2e")
	}
	env := &environment{}
	require.NoError(t, json.Unmarshal([]byte(chosen), &env.config))
	// An interruption ends the rows' waits; they then clean up as after any failure.
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGINT, syscall.SIGTERM)
	t.Cleanup(stop)

	var err error
	env.client, _, err = harness.Connect("")
	require.NoError(t, err)
	removeLeftovers(ctx, t, env)
	env.invariants, err = harness.WatchInvariants(ctx, env.client)
	require.NoError(t, err)
	env.repository = serveCharts(ctx, t, env)
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			if s.slow && !env.Slow {
				t.Skip("it takes minutes: run make e2e")
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
