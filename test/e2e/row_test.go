package e2e

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/gruntwork-io/terratest/modules/k8s"
	"github.com/gruntwork-io/terratest/modules/logger"
	"github.com/gruntwork-io/terratest/modules/random"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/e2e/harness"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

const (
	release      = "zen-lead"
	app          = "my-app"
	controlPlane = "zen-lead-control-plane"
	patience     = 2 * time.Minute
)

// row is one row of the matrix as it runs: a namespace that enforces Pod Security "restricted", the chart with its two
// controllers, an application of some replicas, and a client on another node than the leader's.
type row struct {
	*testing.T
	*environment
	ctx       context.Context
	namespace string
	helm      *helm.Options
	recorder  *harness.Recorder
	traffic   harness.TrafficClient
	result    harness.Result
	started   time.Time
	answered  time.Time // when each target of the client had answered
	event     time.Time
	before    harness.Leadership
	marked    int
}

func newRow(ctx context.Context, t *testing.T, env *environment, name string) *row {
	r := &row{T: t, environment: env, ctx: ctx, namespace: ofTests + "-" + strings.ToLower(random.UniqueId()), started: time.Now()}
	r.result = harness.Result{Row: name, At: r.started, ToSlice: -1}
	r.helm = helmOptions(t, r.namespace)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace, Labels: map[string]string{
		"app.kubernetes.io/part-of": ofTests, "pod-security.kubernetes.io/enforce": "restricted",
	}}}
	_, err := env.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(r.end)
	return r
}

func helmOptions(t *testing.T, namespace string) *helm.Options {
	home := t.TempDir()
	return &helm.Options{
		KubectlOptions: k8s.NewKubectlOptions("", os.Getenv("KUBECONFIG"), namespace),
		Logger:         logger.Discard,
		EnvVars:        map[string]string{"HELM_CACHE_HOME": home + "/cache", "HELM_CONFIG_HOME": home + "/config", "HELM_DATA_HOME": home + "/data"},
		ExtraArgs: map[string][]string{
			"install": {"--wait", "--timeout", "3m"}, "upgrade": {"--wait", "--timeout", "3m"}, "rollback": {"--wait", "--timeout", "3m"}, "delete": {"--wait"},
		},
	}
}

// end judges what holds for every row, writes down its result, and takes away what it made, also after an interruption.
func (r *row) end() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), patience)
	defer cancel()
	assert.Empty(r, r.invariants.Violations(r.namespace), "what must never happen")
	if r.Cluster == "kind" && r.recorder != nil {
		foreign, writes, err := harness.ForeignWrites(ctx, controlPlane, r.namespace, release)
		assert.NoError(r, err)
		assert.Empty(r, foreign, "writes to what zen-lead does not own")
		assert.Positive(r, writes, "writes of zen-lead in the audit log")
	}
	if r.Failed() {
		folder := r.path(".cluster", "logs", strings.ReplaceAll(r.Name(), "/", "-"))
		if err := harness.Gather(ctx, folder, r.namespace); err != nil {
			r.Logf("not all evidence could be gathered: %s", err)
		}
		r.Logf("pods, events, slices and logs are in %s", folder)
	}
	r.result.Passed, r.result.Seconds = !r.Failed(), time.Since(r.started).Seconds()
	assert.NoError(r, r.result.Append(r.path(".cluster", "e2e-results.jsonl")))
	assert.NoError(r, r.client.CoreV1().Namespaces().Delete(ctx, r.namespace, metav1.DeleteOptions{}))
}

// kubectl runs kubectl in the row's namespace and fails the row if that fails.
func (r *row) kubectl(args ...string) string {
	r.Helper()
	out, err := r.command(r.ctx, "kubectl", append([]string{"--namespace", r.namespace}, args...)...)
	require.NoError(r, err, "kubectl %v: %s", args, out)
	return out
}

func (r *row) install(chart string, set map[string]string) {
	r.Helper()
	options := *r.helm
	options.SetValues = set
	require.NoError(r, helm.InstallE(r, &options, chart, release))
}

// deploy makes the application and opts its Service in. change edits the manifest of the demo's application.
func (r *row) deploy(change ...string) {
	r.Helper()
	manifest, err := os.ReadFile(r.path("test", "demo", "my-app.yaml"))
	require.NoError(r, err)
	text := strings.NewReplacer(append(change, "AGNHOST_IMAGE", r.AgnhostImage)...).Replace(string(manifest))
	file := r.TempDir() + "/app.yaml"
	require.NoError(r, os.WriteFile(file, []byte(text), 0o644))
	r.kubectl("apply", "--filename", file)
	r.recorder, err = harness.Record(r.ctx, r.client, r.namespace, app+api.LeaderSuffix)
	require.NoError(r, err)
	r.kubectl("annotate", "service", app, api.AnnotationEnabled+"=true")
	r.kubectl("rollout", "status", "deployment/"+app, "--timeout", "3m")
	r.before = r.leader("")
}

// start is what nearly every row begins with: chart, application, traffic.
func (r *row) start(change ...string) {
	r.Helper()
	r.install(r.path("charts", "zen-lead"), nil)
	r.deploy(change...)
	r.send()
}

// send starts the client: one target is the leader Service, the other the application's plain Service beside it.
func (r *row) send() {
	r.Helper()
	r.traffic = harness.TrafficClient{
		Namespace: r.namespace, Name: "client", Image: r.TrafficImage, AwayFrom: r.before.Node, Duration: 10 * time.Minute, Interval: 5 * time.Millisecond,
		Targets: []harness.Target{
			{Name: "leader-service", URL: "http://" + app + api.LeaderSuffix + "/hostname"},
			{Name: "plain-service", URL: "http://" + app + "/hostname"},
		},
	}
	limited, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	_, err := r.traffic.Start(limited, r.client)
	require.NoError(r, err)
	r.answered = time.Now()
	r.pause(2 * time.Second)
}

// fail notes the moment of what a row does to its leader.
func (r *row) fail(what func()) {
	r.Helper()
	r.marked, r.event = len(r.recorder.Leaderships()), time.Now()
	what()
}

// leader waits for a leader other than the pod with this UID.
func (r *row) leader(otherThan types.UID) harness.Leadership {
	r.Helper()
	limited, cancel := context.WithTimeout(r.ctx, 3*time.Minute)
	defer cancel()
	leader, err := r.recorder.WaitForLeader(limited, otherThan)
	require.NoError(r, err)
	return leader
}

// pause lets traffic go on.
func (r *row) pause(d time.Duration) {
	select {
	case <-r.ctx.Done():
	case <-time.After(d):
	}
}

// collect ends the traffic, sums up what was seen and returns what the client saw of the leader Service.
func (r *row) collect() harness.ClientView {
	r.Helper()
	limited, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	require.NoError(r, r.traffic.Stop(limited))
	runs, err := r.traffic.Collect(limited, r.client)
	require.NoError(r, err)
	// The runs are in the order in which the targets happened to start.
	for _, target := range r.traffic.Targets {
		i := slices.IndexFunc(runs, func(run report.Run) bool { return run.Target == target.Name })
		require.GreaterOrEqual(r, i, 0, "what was seen of %s", target.Name)
		r.result.Clients = append(r.result.Clients, harness.View(runs[i], r.answered))
	}
	r.countMoves()
	view := r.result.Clients[0]
	r.Logf("%d requests, %d failed, longest gap %s, answered by %v; event to slice %s, %d moves; plain Service: %d failed",
		view.Sent, view.Failed, view.LongestGap.Duration(), view.AnsweredBy, r.result.ToSlice.Duration(), r.result.Moves, r.result.Clients[1].Failed)
	return view
}

func (r *row) countMoves() {
	leads := r.before.UID
	for _, l := range r.recorder.Leaderships() {
		if l.Endpoints == 0 || !l.Ready || l.UID == leads {
			continue
		}
		if l.At.After(r.event) {
			r.result.Moves++
			if r.result.ToSlice < 0 && !r.event.IsZero() {
				r.result.ToSlice = report.Millis(l.At.Sub(r.event))
			}
		}
		leads = l.UID
	}
}

// unharmed asserts what a planned change promises: nobody noticed, and the leader moved so many times.
func (r *row) unharmed(moves int) {
	r.Helper()
	view := r.collect()
	assert.Zero(r, view.Failed, "failed requests")
	assert.Equal(r, moves, r.result.Moves, "moves of the leader")
}
