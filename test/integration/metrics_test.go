package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// expectMetrics waits until each metric of Service web has a value.
func expectMetrics(w *harness.World, c scraped, want map[string]float64) {
	w.Helper()
	labels := harness.Labels{"namespace": w.Namespace, "service": "web"}
	w.Eventually(fmt.Sprintf("the metrics to be %v", want), func() error {
		metrics, err := c.Metrics()
		if err != nil {
			return err
		}
		for name, value := range want {
			have, err := metrics.Only(name, labels)
			if err != nil {
				return err
			}
			if have != value {
				return fmt.Errorf("%s is %v, not %v", name, have, value)
			}
		}
		return nil
	})
}

func TestTrap21_MetricsOfAServiceThroughItsLife(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	labels := harness.Labels{"namespace": w.Namespace, "service": "web"}
	first := w.ExpectLeader("web-leader", "a")
	expectMetrics(w, controller, map[string]float64{
		"zen_lead_leader_ready": 1, "zen_lead_leader_epoch": 1,
		"zen_lead_leader_since_timestamp_seconds": float64(first.Switched.Unix()),
	})
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	assert.EqualValues(t, 2, metrics.Sum("zen_lead_candidates", with(labels, "state", "eligible")))
	assert.EqualValues(t, 1, metrics.Sum("zen_lead_services", harness.Labels{"state": "led"}))
	assert.EqualValues(t, 1, metrics.Sum("zen_lead_build_info", nil))
	assert.Zero(t, metrics.Sum("zen_lead_failover_duration_seconds", nil), "a first election is no failover")
	transitions := metrics.Sum("zen_lead_leader_transitions_total", labels)
	writes := metrics.Sum("zen_lead_slice_writes_total", nil)

	w.TerminatePod("a")
	second := w.ExpectLeader("web-leader", "b")
	expectMetrics(w, controller, map[string]float64{
		"zen_lead_leader_ready": 1, "zen_lead_leader_epoch": 2,
		"zen_lead_leader_since_timestamp_seconds": float64(second.Switched.Unix()),
	})
	metrics, err = controller.Metrics()
	require.NoError(t, err)
	assert.Equal(t, transitions+1, metrics.Sum("zen_lead_leader_transitions_total", labels))
	assert.EqualValues(t, 1, metrics.Sum("zen_lead_leader_transitions_total", with(labels, "reason", "leader_terminating")))
	assert.EqualValues(t, 1, metrics.Sum("zen_lead_failover_duration_seconds", nil))
	assert.Equal(t, writes+1, metrics.Sum("zen_lead_slice_writes_total", nil))

	w.KillPod("a") // which would otherwise serve as the last resort
	w.SetReady("b", false)
	w.Eventually("nobody to lead", func() error {
		return expectMetric(controller, "zen_lead_leader_ready", labels, 0)
	})
	w.Eventually("the time without a leader to be counted", func() error {
		m, err := controller.Metrics()
		if err == nil && m.Sum("zen_lead_leaderless_seconds_total", labels) <= 0.1 {
			err = fmt.Errorf("it is %v", m.Series("zen_lead_leaderless_seconds_total", labels))
		}
		return err
	})
	w.DeleteService("web")
	expectNoSeries(w, controller, labels)
}

func with(labels harness.Labels, key, value string) harness.Labels {
	more := harness.Labels{key: value}
	for k, v := range labels {
		more[k] = v
	}
	return more
}

func expectNoSeries(w *harness.World, c scraped, labels harness.Labels) {
	w.Helper()
	w.Eventually("every series of the Service to be gone", func() error {
		metrics, err := c.Metrics()
		if err == nil && len(metrics.Naming(labels)) > 0 {
			err = fmt.Errorf("%v", metrics.Naming(labels))
		}
		return err
	})
}

func TestTrap21_SeriesGoWithTheOptIn(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	labels := harness.Labels{"namespace": w.Namespace, "service": "web"}
	expectMetrics(w, controller, map[string]float64{"zen_lead_leader_epoch": 2})
	w.Annotate("web", api.AnnotationEnabled, "false")
	expectNoSeries(w, controller, labels)
	expectRemoved(w, "web-leader")
	w.Fence()
	expectNoSeries(w, controller, labels)
}

func TestTrap21_PlainServicesHaveNoSeries(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Service(harness.MakeService("plain"))
	w.Service(harness.MakeService("off").Annotate(api.AnnotationEnabled, "false").Annotate(api.AnnotationSticky, "nonsense"))
	w.Pod(pod("a"))
	w.Fence()
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	assert.Empty(t, metrics.Naming(harness.Labels{"service": "plain"}))
	assert.Empty(t, metrics.Naming(harness.Labels{"service": "off"}))
	for name := range metrics {
		for _, series := range metrics.Series(name, nil) {
			for _, pair := range series.GetLabel() {
				assert.NotEqual(t, "pod", pair.GetName(), "identities of pods belong in annotations: %s", name)
			}
		}
	}
}

func TestTrap21_FailoverDurationIsTakenAfterTheWrite(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	const held = 400 * time.Millisecond
	w.Requests.Intercept(func(r harness.Request, request *http.Request) (*http.Response, error) {
		if r.Verb == "update" && r.Name == "web-leader-ipv4" {
			select {
			case <-time.After(held):
			case <-request.Context().Done():
			}
		}
		return nil, nil
	})
	started := time.Now()
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	took := time.Since(started)
	w.Requests.Intercept(nil)
	w.Eventually("the failover to be observed", func() error {
		return expectMetric(controller, "zen_lead_failover_duration_seconds", nil, 1)
	})
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	observed := metrics.Series("zen_lead_failover_duration_seconds", nil)[0].Histogram.GetSampleSum()
	assert.GreaterOrEqual(t, observed, held.Seconds())
	assert.LessOrEqual(t, observed, took.Seconds())
}

func TestTrap21_AFailedWriteIsNoFailover(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if r.Verb == "update" && r.Resource == "endpointslices" {
			return harness.Refusal(http.StatusInternalServerError, "InternalError", "no"), nil
		}
		return nil, nil
	})
	w.KillPod("a")
	w.Eventually("refused writes to be counted", func() error {
		metrics, err := controller.Metrics()
		if err == nil && metrics.Sum("zen_lead_slice_writes_total", harness.Labels{"operation": "update", "result": "error"}) < 2 {
			err = fmt.Errorf("writes: %v", metrics.Series("zen_lead_slice_writes_total", nil))
		}
		return err
	})
	labels := harness.Labels{"namespace": w.Namespace, "service": "web"}
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	assert.Zero(t, metrics.Sum("zen_lead_failover_duration_seconds", nil))
	assert.EqualValues(t, 1, metrics.Sum("zen_lead_leader_epoch", labels))
	assert.Zero(t, w.CountEvents("web", "LeaderChanged"), "no Event for what did not happen")
	w.Requests.Intercept(nil)
	w.ExpectLeader("web-leader", "b")
	expectMetrics(w, controller, map[string]float64{"zen_lead_leader_epoch": 2, "zen_lead_leader_ready": 1})
	w.Eventually("the failover to be observed", func() error {
		return expectMetric(controller, "zen_lead_failover_duration_seconds", nil, 1)
	})
	assert.Equal(t, 1, w.CountEvents("web", "LeaderChanged"))
}

func TestMetrics_CandidatesByStateAndSuppressedSwitches(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web().Annotate(api.AnnotationMinReadyDuration, "1h"), pod("m").Ready(time.Now().Add(-3*time.Hour)),
		pod("unready").NotReady(), pod("waits").Ready(time.Now()), pod("pending").Phase(corev1.PodPending), pod("evicted").Phase(corev1.PodFailed), pod("nowhere").IP("fd00:10:244::eeee"))
	w.Pod(pod("going"))
	w.TerminatePod("going")
	labels := harness.Labels{"namespace": w.Namespace, "service": "web"}
	w.Eventually("candidates to be counted by state", func() error {
		for state, want := range map[string]float64{
			"eligible": 1, "not_ready": 1, "waiting": 1, "not_running": 1, "ended": 1, "no_address": 1, "terminating": 1,
		} {
			if err := expectMetric(controller, "zen_lead_candidates", with(labels, "state", state), want); err != nil {
				return err
			}
		}
		return nil
	})
	w.Pod(pod("better").Cost("100").Ready(time.Now().Add(-4 * time.Hour)))
	w.Eventually("the switch that stickiness suppressed to be counted once", func() error {
		return expectMetric(controller, "zen_lead_suppressed_switches_total", with(labels, "reason", "sticky"), 1)
	})
	for i := range 6 {
		w.SetReady("unready", i%2 == 0)
	}
	w.Fence()
	require.NoError(t, expectMetric(controller, "zen_lead_suppressed_switches_total", with(labels, "reason", "sticky"), 1))
}
