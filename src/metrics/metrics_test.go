package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	web  = types.NamespacedName{Namespace: "ns", Name: "web"}
)

func setUp(t *testing.T) (*Recorder, *clocktesting.FakePassiveClock, *prometheus.Registry) {
	t.Helper()
	clock := clocktesting.NewFakePassiveClock(noon)
	recorder := NewRecorder(clock, "v1")
	registry := prometheus.NewPedanticRegistry()
	_, err := recorder.Register(registry)
	require.NoError(t, err)
	return recorder, clock, registry
}

func expect(t *testing.T, registry *prometheus.Registry, name, want string) {
	t.Helper()
	assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(want), "zen_lead_"+name))
}

func TestTrap01RegisteringTwiceIsAnErrorAndNotAPanic(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	unregister, err := NewRecorder(clocktesting.NewFakePassiveClock(noon), "v1").Register(registry)
	require.NoError(t, err)
	second := NewRecorder(clocktesting.NewFakePassiveClock(noon), "v1")
	_, err = second.Register(registry)
	require.Error(t, err)
	unregister()
	_, err = second.Register(registry)
	require.NoError(t, err, "unregistering frees the names")
}

func TestTrap21NamesAndHelpFollowPrometheusPractice(t *testing.T) {
	recorder, _, registry := setUp(t)
	fill(recorder)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func fill(recorder *Recorder) {
	recorder.Observe(web, Status{State: Led, Epoch: 3, Since: noon, Candidates: map[string]int{"eligible": 2, "not_ready": 1},
		Problems: []string{"invalid_sticky"}, Suppressed: "sticky", Challenger: "x"})
	recorder.Transition(web, "leader_gone")
	recorder.Failover(5 * time.Millisecond)
	recorder.SliceWrite("update", "success")
	recorder.Conflict()
	recorder.DriftRepair("Service")
}

func TestTrap21NothingOfAServiceRemainsOnceForgotten(t *testing.T) {
	recorder, _, registry := setUp(t)
	before, err := testutil.GatherAndCount(registry)
	require.NoError(t, err)
	recorder.Observe(web, Status{State: Led, Epoch: 3, Since: noon, Candidates: map[string]int{"eligible": 2}, Problems: []string{"p"}, Suppressed: "s", Challenger: "x"})
	recorder.Transition(web, "leader_gone")
	during, err := testutil.GatherAndCount(registry)
	require.NoError(t, err)
	assert.Greater(t, during, before)
	recorder.Forget(web)
	after, err := testutil.GatherAndCount(registry)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestServiceSeries(t *testing.T) {
	recorder, _, registry := setUp(t)
	fill(recorder)
	expect(t, registry, "services", `
# HELP zen_lead_services Opted-in Services by state.
# TYPE zen_lead_services gauge
zen_lead_services{state="conflict"} 0
zen_lead_services{state="leaderless"} 0
zen_lead_services{state="led"} 1
zen_lead_services{state="refused"} 0
zen_lead_services{state="serving_terminating"} 0
zen_lead_services{state="unclear"} 0
`)
	expect(t, registry, "leader_since_timestamp_seconds", `
# HELP zen_lead_leader_since_timestamp_seconds When the leader's current or last term began, as a Unix time.
# TYPE zen_lead_leader_since_timestamp_seconds gauge
zen_lead_leader_since_timestamp_seconds{namespace="ns",service="web"} 1.7723664e+09
`)
	expect(t, registry, "leader_transitions_total", `
# HELP zen_lead_leader_transitions_total Changes of leader by reason, the first election apart.
# TYPE zen_lead_leader_transitions_total counter
zen_lead_leader_transitions_total{namespace="ns",reason="leader_gone",service="web"} 1
`)
	expect(t, registry, "candidates", `
# HELP zen_lead_candidates Selected pods by whether they may lead, or why not.
# TYPE zen_lead_candidates gauge
zen_lead_candidates{namespace="ns",service="web",state="eligible"} 2
zen_lead_candidates{namespace="ns",service="web",state="not_ready"} 1
`)
}

func TestLeaderlessSecondsGrowWhileNobodyLeads(t *testing.T) {
	recorder, clock, registry := setUp(t)
	check := func(seconds string) {
		t.Helper()
		expect(t, registry, "leaderless_seconds_total", `
# HELP zen_lead_leaderless_seconds_total Time during which no pod was published.
# TYPE zen_lead_leaderless_seconds_total counter
zen_lead_leaderless_seconds_total{namespace="ns",service="web"} `+seconds+"\n")
	}
	recorder.Observe(web, Status{State: Led})
	clock.SetTime(noon.Add(10 * time.Second))
	check("0")
	recorder.Observe(web, Status{State: Leaderless})
	clock.SetTime(noon.Add(13 * time.Second))
	check("3")
	recorder.Observe(web, Status{State: Leaderless})
	clock.SetTime(noon.Add(14 * time.Second))
	recorder.Observe(web, Status{State: ServingTerminating})
	clock.SetTime(noon.Add(60 * time.Second))
	check("4")
}

func TestSuppressedSwitchesCountChallengersNotLooks(t *testing.T) {
	recorder, _, registry := setUp(t)
	for _, challenger := range []types.UID{"a", "a", "b", "b"} {
		recorder.Observe(web, Status{State: Led, Suppressed: "sticky", Challenger: challenger})
	}
	recorder.Observe(web, Status{State: Led})
	expect(t, registry, "suppressed_switches_total", `
# HELP zen_lead_suppressed_switches_total Better candidates than the leader that were passed over, by reason.
# TYPE zen_lead_suppressed_switches_total counter
zen_lead_suppressed_switches_total{namespace="ns",reason="sticky",service="web"} 2
`)
}
