package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
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
	"github.com/kube-zen/zen-lead/test/traffic/elected"
	"github.com/kube-zen/zen-lead/test/traffic/report"
)

const (
	release      = "zen-lead"
	app          = "my-app"
	controlPlane = "zen-lead-control-plane"
	patience     = 2 * time.Minute
	interval     = 10 * time.Millisecond

	// Names of the client's targets.
	leaderService  = "leader-service"
	plainService   = "plain-service"
	electedService = "elected-service"
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
	// also are targets beside the leader Service and the plain one.
	also []harness.Target
	// rival is the pod that leads by the usual way without zen-lead, where a row compares the two.
	rival *victim
	runs  []report.Run
}

// victim is a pod to be failed.
type victim struct {
	pod, node string
	uid       types.UID
}

func newRow(ctx context.Context, t *testing.T, env *environment, name string) *row {
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	r := &row{T: t, environment: env, ctx: ctx, namespace: ofTests + "-" + strings.ToLower(random.UniqueId()), started: time.Now()}
	r.result = harness.Result{Row: name, Run: env.run, Family: env.family, At: r.started, Load: load(), ToSlice: -1}
	r.helm = helmOptions(t, r.namespace)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.namespace, Labels: map[string]string{
		"app.kubernetes.io/part-of": ofTests, "pod-security.kubernetes.io/enforce": "restricted",
	}}}
	_, err := env.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(r.end)
	return r
}

// load is the machine's load average of the last minute: what a reader of the numbers should know.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	average, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		return -1
	}
	return average
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

// manifest is the demo's application. change edits it: pairs of what to replace and by what.
func (r *row) manifest(change ...string) string {
	r.Helper()
	text, err := os.ReadFile(r.path("test", "demo", "my-app.yaml"))
	require.NoError(r, err)
	edited := string(text)
	for i := 0; i+1 < len(change); i += 2 {
		require.Contains(r, edited, change[i], "what is to be replaced in the application's manifest")
		edited = strings.ReplaceAll(edited, change[i], change[i+1])
	}
	return strings.ReplaceAll(edited, "AGNHOST_IMAGE", r.AgnhostImage)
}

func (r *row) apply(text string) {
	r.Helper()
	file := r.TempDir() + "/objects.yaml"
	require.NoError(r, os.WriteFile(file, []byte(text), 0o644))
	r.kubectl("apply", "--filename", file)
}

// own makes the application the project's own, which can fail in more ways.
func (r *row) own(change ...string) []string {
	return append([]string{"[netexec, --http-port=8080, --delay-shutdown=5]", `[serve, "--listen=:8080"]`, "AGNHOST_IMAGE", r.TrafficImage}, change...)
}

// deploy makes the application and opts its Service in.
func (r *row) deploy(change ...string) {
	r.Helper()
	text := r.manifest(change...)
	r.apply(text)
	var err error
	r.recorder, err = harness.Record(r.ctx, r.client, r.namespace, app+api.LeaderSuffix)
	require.NoError(r, err)
	r.kubectl("annotate", "service", app, api.AnnotationEnabled+"=true")
	kind := "deployment/"
	if strings.Contains(text, "kind: StatefulSet") {
		kind = "statefulset/"
	}
	r.kubectl("rollout", "status", kind+app, "--timeout", "3m")
	r.before = r.leader("")
}

// prepare installs the chart and the application, at the same time.
func (r *row) prepare(change ...string) {
	r.Helper()
	options := *r.helm
	options.ExtraArgs = map[string][]string{}
	require.NoError(r, helm.InstallE(r, &options, r.path("charts", "zen-lead"), release))
	r.deploy(change...)
	r.kubectl("rollout", "status", "deployment/"+release, "--timeout", "3m")
}

// start is what nearly every row begins with: chart, application, traffic.
func (r *row) start(change ...string) {
	r.Helper()
	r.prepare(change...)
	r.send()
}

// compare starts with an application beside ours that leads by an election of its own, its leader on the same node.
func (r *row) compare(change ...string) {
	r.Helper()
	if r.Fast {
		r.start(change...)
		return
	}
	manifest, err := os.ReadFile(r.path("test", "e2e", "apps", "elected.yaml"))
	require.NoError(r, err)
	r.apply(strings.ReplaceAll(string(manifest), "TRAFFIC_IMAGE", r.TrafficImage))
	r.prepare(change...)
	r.kubectl("rollout", "status", "deployment/my-elected", "--timeout", "3m")
	require.Eventually(r, r.rivalBeside, patience, time.Second, "the other application's leader on node %s", r.before.Node)
	r.also = append(r.also, harness.Target{Name: electedService, URL: "http://my-elected/hostname"})
	r.send()
}

// rivalBeside finds the other application's leader; one on another node than ours is deleted, so that the next one may be.
func (r *row) rivalBeside() bool {
	pods, err := r.client.CoreV1().Pods(r.namespace).List(r.ctx, metav1.ListOptions{LabelSelector: elected.Label})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].DeletionTimestamp != nil {
		return false
	}
	pod := pods.Items[0]
	if pod.Spec.NodeName != r.before.Node {
		_ = r.client.CoreV1().Pods(r.namespace).Delete(r.ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		return false
	}
	ready, err := harness.Replaced(r.ctx, r.client, r.namespace, "app.kubernetes.io/name=my-elected", 3)
	if err != nil || !ready {
		return false
	}
	r.rival = &victim{pod: pod.Name, node: pod.Spec.NodeName, uid: pod.UID}
	return true
}

// send starts the client: one target is the leader Service, another the application's plain Service beside it.
func (r *row) send() {
	r.Helper()
	r.traffic = harness.TrafficClient{
		Namespace: r.namespace, Name: "client", Image: r.TrafficImage, AwayFrom: r.before.Node, Duration: 10 * time.Minute, Interval: interval,
		Targets: append([]harness.Target{
			{Name: leaderService, URL: "http://" + app + api.LeaderSuffix + "/hostname"},
			{Name: plainService, URL: r.plainURL()},
		}, r.also...),
	}
	limited, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	_, err := r.traffic.Start(limited, r.client)
	require.NoError(r, err)
	r.answered = time.Now()
	r.pause(2 * time.Second)
}

// plainURL: the ports of a headless Service are its pods'.
func (r *row) plainURL() string {
	r.Helper()
	service, err := r.client.CoreV1().Services(r.namespace).Get(r.ctx, app, metav1.GetOptions{})
	require.NoError(r, err)
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		return "http://" + app + ":8080/hostname"
	}
	return "http://" + app + "/hostname"
}

// fail notes the moment of what a row does to its leader.
func (r *row) fail(what func()) {
	r.Helper()
	r.event = time.Now()
	what()
}

// victims are the pods that lead: ours, and the one beside it.
func (r *row) victims() []victim {
	victims := []victim{{pod: r.before.Pod, node: r.before.Node, uid: r.before.UID}}
	if r.rival != nil {
		victims = append(victims, *r.rival)
	}
	return victims
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
		r.runs = append(r.runs, runs[i])
		r.result.Clients = append(r.result.Clients, harness.View(runs[i], r.answered))
		r.result.Tracks = append(r.result.Tracks, harness.NewTrack(runs[i], r.answered, r.event))
	}
	r.countMoves()
	view := r.result.Clients[0]
	r.Logf("event to slice %s, %d moves", r.result.ToSlice.Duration(), r.result.Moves)
	for i, c := range r.result.Clients {
		r.Logf("%s: %d requests, %d failed %v, longest gap %s, answered by %v", c.Target, c.Sent, c.Failed, r.runs[i].Summary.ByClass, c.LongestGap.Duration(), c.AnsweredBy)
	}
	r.logLate()
	return view
}

// logLate tells of failures long after the switch: there should be none, and if there are, whoever reads wants to know why.
func (r *row) logLate() {
	if r.result.ToSlice < 0 {
		return
	}
	switched := r.event.Add(r.result.ToSlice.Duration())
	for _, run := range r.runs {
		late, reasons := 0, map[string]int{}
		for _, failure := range run.Failures {
			if failure.Start.After(switched.Add(2 * time.Second)) {
				late++
				reasons[failure.Detail]++
			}
		}
		if late > 0 {
			r.Logf("%s: %d requests failed that were sent more than 2 s after the slice: %v", run.Target, late, reasons)
		}
	}
}

// failedBefore is how many requests to the leader Service failed that were sent before a moment.
func (r *row) failedBefore(moment time.Time) int {
	failed := 0
	for _, failure := range r.runs[0].Failures {
		if failure.Start.After(r.answered) && failure.Start.Before(moment) {
			failed++
		}
	}
	return failed
}

// note adds to the row's result what else was measured.
func (r *row) note(format string, args ...any) {
	r.result.Notes = append(r.result.Notes, fmt.Sprintf(format, args...))
	r.Logf(format, args...)
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
