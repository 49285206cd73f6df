// Package metrics exports what zen-lead knows and controller-runtime does not: who is routed, who is not and why, what
// moved, and how long it took.
//
// What is known of a Service is kept as one value and turned into samples when scraped, so that nothing of a Service
// remains once it is forgotten. Services that did not opt in have no series.
package metrics

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const namespace = "zen_lead"

// State is what an opted-in Service is in. Its values serve as metric labels.
type State string

// The states of a Service.
const (
	// Led: a Ready pod is published.
	Led State = "led"
	// ServingTerminating: a terminating pod is published, because nobody may lead.
	ServingTerminating State = "serving_terminating"
	// Leaderless: nobody is published.
	Leaderless State = "leaderless"
	// Conflict: the leader Service's name belongs to somebody else.
	Conflict State = "conflict"
	// Refused: the Service cannot have a leader Service as it is.
	Refused State = "refused"
	// Unclear: the Service has no leader Service, and its opt-in says neither yes nor no. It has no series but the error.
	Unclear State = "unclear"
)

// Status is what is known of a Service after it was looked at.
type Status struct {
	State State
	// Epoch and Since are those of the current or last term.
	Epoch int64
	Since time.Time
	// Candidates are the pods by state, as election.Decision counts them.
	Candidates map[string]int
	// Problems are the reasons for which its annotations or its spec could not be used as they are.
	Problems []string
	// UnresolvedPorts is the number of pods that may not lead because a port does not resolve.
	UnresolvedPorts int
	// Suppressed is the reason for which Challenger, a better candidate, does not lead; both empty if there is none.
	Suppressed string
	Challenger types.UID
}

// service is a Service's Status and what was counted over its time.
type service struct {
	Status
	leaderlessSince time.Time
	leaderless      time.Duration
	transitions     map[string]int
	suppressed      map[string]int
}

// Recorder collects what happens. It is safe for concurrent use.
type Recorder struct {
	clock clock.PassiveClock

	mu       sync.Mutex
	services map[types.NamespacedName]*service

	failover  prometheus.Histogram
	writes    *prometheus.CounterVec
	conflicts prometheus.Counter
	drift     *prometheus.CounterVec
	info      prometheus.Gauge
}

// NewRecorder returns a Recorder, not yet registered.
func NewRecorder(c clock.PassiveClock, version string) *Recorder {
	r := &Recorder{
		clock:    c,
		services: make(map[types.NamespacedName]*service),
		failover: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "failover_duration_seconds",
			Help:    "Time from the event that made a leader lose leadership, as the controller received it, to the acknowledged write of the leader slices.",
			Buckets: []float64{.001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1, 2, 5, 10, 30},
		}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "slice_writes_total", Help: "Writes of leader slices by operation and result.",
		}, []string{"operation", "result"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "write_conflicts_total",
			Help: "Writes of any object that the API server refused because the object had changed in the meantime.",
		}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "drift_repairs_total", Help: "Objects of zen-lead that somebody else had changed or deleted and that were put right, by kind.",
		}, []string{"kind"}),
		info: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "build_info", Help: "Always 1; the version is in the label.",
			ConstLabels: prometheus.Labels{"version": version},
		}),
	}
	r.info.Set(1)
	return r
}

// Register registers everything. It fails if another Recorder is registered; the returned function undoes it.
func (r *Recorder) Register(registry prometheus.Registerer) (unregister func(), err error) {
	var done []prometheus.Collector
	unregister = func() {
		for _, c := range done {
			registry.Unregister(c)
		}
	}
	for _, c := range []prometheus.Collector{&serviceCollector{recorder: r}, r.failover, r.writes, r.conflicts, r.drift, r.info} {
		if err := registry.Register(c); err != nil {
			unregister()
			return nil, fmt.Errorf("failed to register metrics: %w", err)
		}
		done = append(done, c)
	}
	return unregister, nil
}

// Observe replaces what is known of a Service.
func (r *Recorder) Observe(key types.NamespacedName, status Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.service(key)
	if status.Suppressed != "" && (status.Suppressed != s.Suppressed || status.Challenger != s.Challenger) {
		count(&s.suppressed, status.Suppressed)
	}
	now := r.clock.Now()
	led := status.State == Led || status.State == ServingTerminating
	switch {
	case led && !s.leaderlessSince.IsZero():
		s.leaderless += now.Sub(s.leaderlessSince)
		s.leaderlessSince = time.Time{}
	case !led && s.leaderlessSince.IsZero():
		s.leaderlessSince = now
	}
	s.Status = status
}

// Transition counts a change of leader.
func (r *Recorder) Transition(key types.NamespacedName, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count(&r.service(key).transitions, reason)
}

// count counts by reason. Most Services have nothing to count, and no map.
func count(counts *map[string]int, reason string) {
	if *counts == nil {
		*counts = make(map[string]int, 1)
	}
	(*counts)[reason]++
}

// Failover notes how long a change of leader took from the event to the acknowledged write.
func (r *Recorder) Failover(took time.Duration) { r.failover.Observe(took.Seconds()) }

// Forget drops all that is known of a Service.
func (r *Recorder) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.services, key)
}

// SliceWrite counts a write of a leader slice. Both labels are bounded.
func (r *Recorder) SliceWrite(operation, result string) {
	r.writes.WithLabelValues(operation, result).Inc()
}

// Conflict counts a write that was refused because of a stale resourceVersion.
func (r *Recorder) Conflict() { r.conflicts.Inc() }

// DriftRepair counts an object of ours that somebody else had changed.
func (r *Recorder) DriftRepair(kind string) { r.drift.WithLabelValues(kind).Inc() }

// service returns the entry of a Service; r.mu is held.
func (r *Recorder) service(key types.NamespacedName) *service {
	s, ok := r.services[key]
	if !ok {
		s = &service{}
		r.services[key] = s
	}
	return s
}

// serviceCollector turns what is known of the Services into samples.
type serviceCollector struct {
	recorder *Recorder
}

type desc struct {
	name   string
	help   string
	labels []string
}

// perService are the metrics made from the known Services.
func perService() map[string]desc {
	byService := []string{"namespace", "service"}
	with := func(label string) []string { return append(byService[:2:2], label) }
	descs := map[string]desc{}
	for _, d := range []desc{
		{"services", "Opted-in Services by state.", []string{"state"}},
		{"leader_ready", "1 if the leader slice publishes a Ready pod, else 0.", byService},
		{"leader_epoch", "Number of the leader's current or last term.", byService},
		{"leader_since_timestamp_seconds", "When the leader's current or last term began, as a Unix time.", byService},
		{"candidates", "Selected pods by whether they may lead, or why not.", with("state")},
		{"leaderless_seconds_total", "Time during which no pod was published.", byService},
		{"leader_transitions_total", "Changes of leader by reason, the first election apart.", with("reason")},
		{"config_errors", "1 for each reason for which the Service's annotations or spec cannot be used as they are.", with("reason")},
		{"port_resolution_failures", "Pods that may not lead because a port of the Service does not resolve on them.", byService},
		{"suppressed_switches_total", "Better candidates than the leader that were passed over, by reason.", with("reason")},
	} {
		descs[d.name] = d
	}
	return descs
}

func (d desc) prometheus() *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", d.name), d.help, d.labels, nil)
}

// Describe implements prometheus.Collector.
func (c *serviceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range perService() {
		ch <- d.prometheus()
	}
}

// Collect implements prometheus.Collector.
func (c *serviceCollector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{ch: ch, descs: make(map[string]*prometheus.Desc)}
	for name, d := range perService() {
		e.descs[name] = d.prometheus()
	}
	r := c.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	states := map[State]int{Led: 0, ServingTerminating: 0, Leaderless: 0, Conflict: 0, Refused: 0, Unclear: 0}
	now := r.clock.Now()
	for key, s := range r.services {
		states[s.State]++
		e.service(key, s, now)
	}
	for state, n := range states {
		e.gauge("services", float64(n), string(state))
	}
}

// emitter sends samples under the names of perService.
type emitter struct {
	ch    chan<- prometheus.Metric
	descs map[string]*prometheus.Desc
}

func (e emitter) gauge(name string, value float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.descs[name], prometheus.GaugeValue, value, labels...)
}

func (e emitter) counter(name string, value float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.descs[name], prometheus.CounterValue, value, labels...)
}

func (e emitter) service(key types.NamespacedName, s *service, now time.Time) {
	ns, name := key.Namespace, key.Name
	for _, reason := range s.Problems {
		e.gauge("config_errors", 1, ns, name, reason)
	}
	if s.State == Unclear {
		return
	}
	e.gauge("leader_ready", boolValue(s.State == Led), ns, name)
	e.gauge("leader_epoch", float64(s.Epoch), ns, name)
	if !s.Since.IsZero() {
		e.gauge("leader_since_timestamp_seconds", float64(s.Since.Unix()), ns, name)
	}
	for state, n := range s.Candidates {
		e.gauge("candidates", float64(n), ns, name, state)
	}
	leaderless := s.leaderless
	if !s.leaderlessSince.IsZero() {
		leaderless += now.Sub(s.leaderlessSince)
	}
	e.counter("leaderless_seconds_total", leaderless.Seconds(), ns, name)
	for reason, n := range s.transitions {
		e.counter("leader_transitions_total", float64(n), ns, name, reason)
	}
	e.gauge("port_resolution_failures", float64(s.UnresolvedPorts), ns, name)
	for reason, n := range s.suppressed {
		e.counter("suppressed_switches_total", float64(n), ns, name, reason)
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
