package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/options"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// quickElection are lease timings for tests that wait for one replica to take over from another.
func quickElection() []string {
	return []string{"--leader-election-lease-duration=6s", "--leader-election-renew-deadline=4s", "--leader-election-retry-period=250ms"}
}

// runBinary runs the binary to its end without a cluster.
func runBinary(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), suite.binary, args...)
	command.Env = []string{"KUBECONFIG=/nonexistent"}
	var out, err strings.Builder
	command.Stdout, command.Stderr = &out, &err
	_ = command.Run() // the exit code is what is asked for
	return command.ProcessState.ExitCode(), out.String(), err.String()
}

func TestTrap01_TheBinaryStartsAndServesProbesAndMetrics(t *testing.T) {
	w := newWorld(t)
	process := w.StartProcess(suite.binary)
	process.WaitReady()
	assert.NoError(t, process.Probe("/healthz"))
	w.Pods(pod("a"), pod("b"))
	w.Service(web())
	w.Eventually("a leader", func() error { _, err := w.State("web-leader"); return err })
	expectMetrics(w, process, map[string]float64{"zen_lead_leader_ready": 1, "zen_lead_leader_epoch": 1})
	metrics, err := process.Metrics()
	require.NoError(t, err)
	assert.Contains(t, metrics, "zen_lead_build_info")
	assert.Contains(t, metrics, "controller_runtime_reconcile_total")
	assert.Zero(t, process.Terminate(), "%s", process.Output())
	assert.NotContains(t, process.Output(), "panic")
	assert.NotContains(t, process.Output(), "DATA RACE")
	assert.NotContains(t, process.Output(), `"level":"ERROR"`, "an orderly life and end has no errors to tell of")
}

func TestTrap13_WrongFlagsGiveOneLineAndExitCode2(t *testing.T) {
	valid := []string{"--leader-election-namespace=default"}
	for _, row := range []struct{ flag, says string }{
		{"--namespaces=Not_A_Name", "--namespaces"},
		{"--namespaces=a,a", "twice"},
		{"--leader-election-lease-duration=1ms", "--leader-election-lease-duration"},
		{"--leader-election-renew-deadline=1h", "--leader-election-renew-deadline"},
		{"--leader-election-retry-period=1h", "--leader-election-retry-period"},
		{"--leader-election-id=Not_A_Name", "--leader-election-id"},
		{"--metrics-bind-address=nonsense", "--metrics-bind-address"},
		{"--health-probe-bind-address=nonsense", "--health-probe-bind-address"},
		{"--kube-api-qps=0", "--kube-api-qps"},
		{"--kube-api-qps=many", "kube-api-qps"},
		{"--kube-api-burst=0", "--kube-api-burst"},
		{"--concurrent-reconciles=0", "--concurrent-reconciles"},
		{"--default-min-ready-duration=-1s", "--default-min-ready-duration"},
		{"--log-level=loud", "--log-level"},
		{"--log-format=xml", "--log-format"},
		{"--no-such-flag", "no-such-flag"},
		{"stray", "stray"},
		{"--leader-election-namespace=", "--leader-election-namespace"},
	} {
		t.Run(row.flag, func(t *testing.T) {
			code, stdout, stderr := runBinary(t, append(slices.Clone(valid), row.flag)...)
			assert.Equal(t, 2, code)
			assert.Empty(t, stdout)
			assert.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %q", stderr)
			assert.Contains(t, stderr, row.says)
		})
	}
}

func TestTrap13_AKubeconfigThatIsNotThere(t *testing.T) {
	code, stdout, stderr := runBinary(t, "--leader-election-namespace=default", "--kubeconfig=/nonexistent/kubeconfig")
	assert.Positive(t, code)
	assert.Empty(t, stdout)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), "one line: %q", stderr)
	assert.Contains(t, stderr, "/nonexistent/kubeconfig")
}

func TestTrap13_HelpNamesEveryFlag(t *testing.T) {
	code, stdout, stderr := runBinary(t, "--help")
	assert.Zero(t, code)
	for _, name := range options.FlagNames() {
		assert.Contains(t, stdout+stderr, "-"+name)
	}
	code, stdout, _ = runBinary(t, "--version")
	assert.Zero(t, code)
	assert.NotEmpty(t, strings.TrimSpace(stdout))
}

func TestTrap13_NamespacesFlagBoundsWhatIsServed(t *testing.T) {
	w, elsewhere := newWorld(t), newWorld(t)
	process := w.StartProcess(suite.binary)
	process.WaitReady()
	elsewhere.Pod(pod("a"))
	elsewhere.Service(web())
	w.Pod(pod("a"))
	w.Service(web())
	w.ExpectLeader("web-leader", "a")
	elsewhere.Absent(&corev1.Service{}, "web-leader")
	for _, r := range process.Proxy.Requests.All() {
		assert.Equal(t, w.Namespace, r.Namespace, "%s", r)
	}
}

func TestTrap13_SeveralNamespacesAndAll(t *testing.T) {
	for name, value := range map[string]func(a, b *harness.World) string{
		"Two": func(a, b *harness.World) string { return a.Namespace + "," + b.Namespace },
		"All": func(*harness.World, *harness.World) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			w, second := newWorld(t), newWorld(t)
			w.ServesOthers()
			process := w.StartProcess(suite.binary, "--namespaces="+value(w, second))
			process.WaitReady()
			for _, world := range []*harness.World{w, second} {
				world.Pod(pod("a"))
				world.Service(web())
				world.ExpectLeader("web-leader", "a")
				world.Annotate("web", "zen-lead.io/enabled", "false")
				world.Gone(&corev1.Service{}, "web-leader")
			}
		})
	}
}

func TestTrap13_LogFormatAndLevel(t *testing.T) {
	w := newWorld(t)
	process := w.StartProcess(suite.binary, "--log-format=json", "--log-level=info")
	process.WaitReady()
	w.Pods(pod("a"))
	w.Service(web())
	w.ExpectLeader("web-leader", "a")
	w.SetReady("a", false)
	w.ExpectNobody("web-leader")
	require.Zero(t, process.Terminate())
	lines := strings.Split(strings.TrimSpace(process.Stdout()+process.Stderr()), "\n")
	require.NotEmpty(t, lines)
	for _, line := range lines {
		var entry map[string]any
		assert.NoError(t, json.Unmarshal([]byte(line), &entry), "every line is JSON: %s", line)
		assert.NotEqual(t, "DEBUG", entry["level"])
	}
	assert.Less(t, len(lines), 60, "info is for what matters")

	quiet := w.StartProcess(suite.binary, "--log-format=text", "--log-level=error")
	quiet.WaitReady()
	assert.NotContains(t, quiet.Output(), "level=INFO")
}

func TestTrap13_MetricsCanBeSwitchedOff(t *testing.T) {
	w := newWorld(t)
	process := w.StartProcess(suite.binary, "--metrics-bind-address=0")
	process.WaitReady()
	_, err := process.Metrics()
	assert.Error(t, err)
}

func TestTrap13_QPSAndBurstBoundWrites(t *testing.T) {
	w := newWorld(t)
	const qps, burst, services = 4, 2, 4
	w.Pod(pod("a"))
	for i := range services {
		w.Service(harness.MakeService(fmt.Sprintf("s%d", i)).Enabled())
	}
	w.StartController(func(o *options.Options) { o.KubeAPIQPS, o.KubeAPIBurst = qps, burst })
	for i := range services {
		w.ExpectLeader(fmt.Sprintf("s%d-leader", i), "a")
	}
	writes := w.Requests.Since(0).Writes()
	for i := range writes {
		inASecond := 0
		for _, later := range writes[i:] {
			if later.Start.Sub(writes[i].Start) < time.Second {
				inASecond++
			}
		}
		assert.LessOrEqual(t, inASecond, qps+burst+1)
	}
}

func TestTrap13_ConcurrentReconciles(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			w := newWorld(t)
			w.StartController(func(o *options.Options) { o.ConcurrentReconciles = workers })
			routed(w, web(), pod("a"), pod("b"))
			w.Pods(pod("x").App("other"))
			w.Service(harness.MakeService("other").App("other").Enabled())
			w.ExpectLeader("other-leader", "x")
			w.Pod(pod("y").App("other"))
			w.Quiet()
			held, release := make(chan struct{}), make(chan struct{})
			w.Requests.Intercept(func(r harness.Request, request *http.Request) (*http.Response, error) {
				if r.Verb == "update" && r.Name == "web-leader-ipv4" {
					close(held)
					select {
					case <-release:
					case <-request.Context().Done():
					}
				}
				return nil, nil
			})
			w.KillPod("a")
			<-held
			w.KillPod("x")
			if workers == 1 {
				w.QuietRequestsFor(500 * time.Millisecond)
				assert.Equal(t, []string{"x"}, leaders(w, "other-leader-ipv4"), "the only worker is held")
			} else {
				w.ExpectLeader("other-leader", "y")
			}
			w.Requests.Intercept(nil)
			close(release)
			w.ExpectLeader("other-leader", "y")
			w.ExpectLeader("web-leader", "b")
		})
	}
}

// holder is who holds the Lease.
func holder(w *harness.World) (string, error) {
	lease := &coordinationv1.Lease{}
	if err := w.Client.Get(w.Context(), w.Key("zen-lead"), lease); err != nil {
		return "", err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", fmt.Errorf("nobody holds the Lease")
	}
	return *lease.Spec.HolderIdentity, nil
}

// replicas starts two processes and returns the active one first.
func replicas(w *harness.World) (active, standby *harness.Process) {
	w.Helper()
	active = w.StartProcess(suite.binary, quickElection()...)
	active.WaitReady()
	w.Eventually("the first replica to hold the Lease", func() error { _, err := holder(w); return err })
	standby = w.StartProcess(suite.binary, quickElection()...)
	standby.WaitReady()
	return active, standby
}

func writesOf(p *harness.Process) harness.Requests { return p.Proxy.Requests.Since(0).Writes() }

func TestLeaderElection_AStandbyIsReadyAndDoesNotWrite(t *testing.T) {
	w := newWorld(t)
	active, standby := replicas(w)
	w.Pod(pod("a"))
	w.Service(web())
	w.ExpectLeader("web-leader", "a")
	w.Pod(pod("b"))
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	assert.NotEmpty(t, writesOf(active))
	assert.Empty(t, writesOf(standby))
	assert.Empty(t, standby.Proxy.Requests.Since(0).Events())
	assert.NoError(t, standby.Probe("/readyz"))
	metrics, err := standby.Metrics()
	require.NoError(t, err)
	assert.Empty(t, metrics.Naming(harness.Labels{"service": "web"}), "only the active replica reports on Services")
}

func TestLeaderElection_TheStandbyTakesOverFromAKilledReplica(t *testing.T) {
	w := newWorld(t)
	active, standby := replicas(w)
	w.Pod(pod("a"))
	w.Service(web())
	before := w.ExpectLeader("web-leader", "a")
	w.Pod(pod("b"))
	active.Kill()

	// With every writer gone the last leader stays published.
	slice, err := w.GetSlice("web-leader-ipv4")
	require.NoError(t, err)
	assert.Equal(t, before.Primary.ResourceVersion, slice.ResourceVersion)
	w.TerminatePod("a")
	after := w.ExpectLeader("web-leader", "b")
	assert.Equal(t, before.Epoch+1, after.Epoch)
	assert.NotEmpty(t, writesOf(standby))
	for _, r := range standby.Proxy.Requests.Since(0) {
		if r.IsWrite() {
			assert.NotEqual(t, "create", r.Verb+r.Resource, "nothing is made anew")
		}
	}
}

func TestLeaderElection_TheStandbyTakesOverAtOnceFromAReplicaThatStops(t *testing.T) {
	w := newWorld(t)
	long := []string{"--leader-election-lease-duration=60s", "--leader-election-renew-deadline=40s", "--leader-election-retry-period=250ms"}
	active := w.StartProcess(suite.binary, long...)
	active.WaitReady()
	w.Eventually("the first replica to hold the Lease", func() error { _, err := holder(w); return err })
	standby := w.StartProcess(suite.binary, long...)
	standby.WaitReady()
	w.Pod(pod("a"))
	w.Service(web())
	w.ExpectLeader("web-leader", "a")
	w.Pod(pod("b"))
	first, err := holder(w)
	require.NoError(t, err)
	assert.Zero(t, active.Terminate(), "%s", active.Output())
	// Well within the lease: it was given back.
	w.Eventually("the standby to hold the Lease", func() error {
		now, err := holder(w)
		if err == nil && now == first {
			err = fmt.Errorf("%s still does", now)
		}
		return err
	})
	mark := standby.Proxy.Requests.Mark()
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
	writes := standby.Proxy.Requests.Since(mark).Writes().Lines()
	assert.Equal(t, []string{"update endpointslices web-leader-ipv4", "patch services web-leader"}, writes,
		"the standby's caches are warm: it writes what changed and nothing else")
	assert.Empty(t, standby.Proxy.Requests.Since(mark).Where(func(r harness.Request) bool { return r.Verb == "list" || r.Verb == "get" }))
}

// A process that has not seen the pods yet must not count as one that could take over.
func TestReadiness_WaitsForEachCache(t *testing.T) {
	w := newWorld(t)
	process := w.StartProcess(suite.binary)
	release := process.Proxy.Hold("pods")
	defer release()
	early := false
	w.Eventually("the process to see Services and slices", func() error {
		early = early || process.Probe("/readyz") == nil
		if !process.Proxy.Saw("services", metav1.InitialEventsAnnotationKey) || !process.Proxy.Saw("endpointslices", metav1.InitialEventsAnnotationKey) {
			return errors.New("not yet")
		}
		return nil
	})
	assert.False(t, early || process.Probe("/readyz") == nil, "ready without having seen the pods")
	assert.NoError(t, process.Probe("/healthz"))
	release()
	process.WaitReady()
}

func awaitSeen(w *harness.World, p *harness.Process, pod *corev1.Pod) {
	w.Helper()
	w.Eventually("the standby to see pod "+pod.Name, func() error {
		// Without the end of the initial list it would not begin to work at all.
		if !p.Proxy.Saw("pods", metav1.InitialEventsAnnotationKey) || !p.Proxy.Saw("pods", string(pod.UID)) {
			return errors.New("not yet")
		}
		return nil
	})
}

// Slices and pods come by watches of their own. A standby that has seen who leads, and not yet the pod, or only as it was
// before, must not take the leader for gone when it takes over.
func TestLeaderElection_ASuccessorThatIsBehindInPodsKeepsTheLeader(t *testing.T) {
	for name, seenBefore := range map[string]bool{"Unseen": false, "SeenBeforeItWasReady": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			active, standby := replicas(w)
			awaitSeen(w, standby, w.Pod(pod("a")))
			w.Service(web())
			w.ExpectLeader("web-leader", "a")
			if seenBefore {
				awaitSeen(w, standby, w.Pod(pod("b").NotReady()))
			}
			release := standby.Proxy.Hold("pods")
			defer release()
			if seenBefore {
				w.SetReady("b", true)
			} else {
				w.Pod(pod("b"))
			}
			w.KillPod("a")
			before := w.ExpectLeader("web-leader", "b")
			active.Kill()
			w.Eventually("the successor to ask about the pod that leads", func() error {
				asked := standby.Proxy.Requests.Since(0).Where(func(r harness.Request) bool {
					return r.Verb == "get" && r.Resource == "pods" && r.Name == "b"
				})
				if len(asked) == 0 {
					return errors.New("not yet")
				}
				return nil
			})
			release()
			awaitSeen(w, standby, w.Pod(pod("other").App("other"))) // and with it all that was held back
			w.KillPod("b")
			after := w.ExpectNobody("web-leader")
			assert.Equal(t, before.Epoch, after.Epoch)
			for _, r := range writesOf(standby) {
				slice, ok := r.Decode().(*discoveryv1.EndpointSlice)
				if !ok {
					continue
				}
				assert.Equal(t, before.Primary.Annotations[api.AnnotationEpoch], slice.Annotations[api.AnnotationEpoch])
				for _, e := range slice.Endpoints {
					assert.Equal(t, "b", e.TargetRef.Name)
				}
			}
		})
	}
}

func TestLeaderElection_AReplicaThatIsCutOffStopsAndTheOtherGoesOn(t *testing.T) {
	w := newWorld(t)
	active, standby := replicas(w)
	w.Pod(pod("a"))
	w.Service(web())
	w.ExpectLeader("web-leader", "a")
	w.Pod(pod("b"))
	active.Proxy.Cut()
	w.TerminatePod("a")
	w.ExpectLeader("web-leader", "b")
	assert.NotEmpty(t, writesOf(standby))
	assert.NotZero(t, active.Wait(harness.Patience), "a replica that lost its Lease has to end, and to say so")
}

func TestLeaderElection_IDNamesTheLease(t *testing.T) {
	w := newWorld(t)
	w.StartControllerAs(w.Config(), func(o *options.Options) { o.LeaderElectionID = "another" }) // the chart's rights are for one name
	w.Eventually("the Lease", func() error { return w.Client.Get(w.Context(), w.Key("another"), &coordinationv1.Lease{}) })
	w.Absent(&coordinationv1.Lease{}, "zen-lead")
}
