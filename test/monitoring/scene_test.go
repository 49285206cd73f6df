package monitoring

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// flaps is how often the leader of Service flap moves in the scene: more often than ZenLeadServiceFlapping bears.
const flaps = 7

// scene is two controller processes, Services in every state, and a Prometheus that watches.
type scene struct {
	*harness.World
	*server
}

func pod(app string, n int) *harness.PodBuilder {
	return harness.MakePod(fmt.Sprintf("%s-%d", app, n)).App(app).Ready(time.Now().Add(-time.Hour + time.Duration(n)*time.Minute))
}

func service(app string) *harness.ServiceBuilder { return harness.MakeService(app).App(app).Enabled() }

func leader(app string) string { return app + api.LeaderSuffix }

// startScene returns when Prometheus knows the Services in the state from which they start.
func startScene(t *testing.T, plane *harness.ControlPlane) *scene {
	t.Helper()
	w := harness.NewWorld(t, plane)
	active := w.StartProcess(tool(t, "zen-lead"))
	active.WaitReady()
	w.Eventually("the first process to be active", func() error {
		metrics, err := active.Metrics()
		if err == nil && metrics.Sum("leader_election_master_status", nil) != 1 {
			err = fmt.Errorf("it is not")
		}
		return err
	})
	standby := w.StartProcess(tool(t, "zen-lead"))
	standby.WaitReady()
	s := &scene{World: w, server: startPrometheus(w, map[string]*harness.Process{"zen-lead-a": active, "zen-lead-b": standby})}
	s.cast()
	s.scraped(`count(zen_lead_leader_epoch == 1)`, 6)
	return s
}

// cast makes Services of every kind.
func (s *scene) cast() {
	foreign := harness.MakeService(leader("taken")).App("else")
	s.Service(foreign)
	for app, pods := range map[string]int{"db": 3, "web": 1, "cache": 1, "flap": 2, "sticky": 1, "last": 1, "idle": 0, "ports": 0, "taken": 1} {
		for n := range pods {
			s.Pod(pod(app, n))
		}
		if app == "ports" {
			s.Pod(pod(app, 0))
			s.Service(service(app).Ports(harness.Port("admin", 81, intstr.FromString("admin"), corev1.ProtocolTCP)))
			continue
		}
		s.Service(service(app))
	}
	s.Pod(pod("web", 1).NotReady())
	s.Service(service("typo").Annotate(api.AnnotationEnabled, "yes"))
	s.Service(service("bare").Spec(func(spec *corev1.ServiceSpec) { spec.Selector = nil }))
	for _, app := range []string{"db", "web", "cache", "flap", "sticky", "last"} {
		s.ExpectLeader(leader(app), app+"-0")
	}
	s.ExpectNobody(leader("idle"))
}

// play lets happen what the dashboard is to show.
func (s *scene) play() {
	s.failovers()
	s.flap(flaps)
	s.SetReady("cache-0", false)
	s.ExpectNobody(leader("cache"))
	s.TerminatePod("last-0")
	s.ExpectServing(leader("last"), "last-0")
	s.Pod(pod("sticky", 1).Cost("100"))
	s.drift()
}

// failovers moves the leader of db three times, for three reasons.
func (s *scene) failovers() {
	s.UpdatePod("db-0", func(p *corev1.Pod) { p.Labels["app"] = "retired" })
	s.ExpectLeader(leader("db"), "db-1")
	s.TerminatePod("db-1")
	s.ExpectLeader(leader("db"), "db-2")
	s.Pod(pod("db", 3))
	s.SetReady("db-2", false)
	s.ExpectLeader(leader("db"), "db-3")
	s.SetReady("db-2", true)
}

func (s *scene) flap(times int) {
	for n := range times {
		leads, stands := fmt.Sprintf("flap-%d", n%2), fmt.Sprintf("flap-%d", (n+1)%2)
		s.SetReady(leads, false)
		s.ExpectLeader(leader("flap"), stands)
		s.SetReady(leads, true)
	}
}

// drift deletes a slice and changes a leader Service: both are put right.
func (s *scene) drift() {
	s.DeleteSlice(harness.SliceName(leader("web"), corev1.IPv4Protocol))
	s.ExpectLeader(leader("web"), "web-0")
	s.UpdateService(leader("web"), func(service *corev1.Service) { service.Spec.Ports[0].Port = 99 })
	s.Eventually("the leader Service's port to be put right", func() error {
		service, err := s.GetService(leader("web"))
		if err == nil && service.Spec.Ports[0].Port == 99 {
			err = fmt.Errorf("it is not")
		}
		return err
	})
}

// scraped waits until Prometheus answers a query with one series of that value.
func (s *scene) scraped(expr string, want float64) {
	s.Helper()
	s.Eventually(expr+" to be "+fmt.Sprint(want), func() error {
		series, err := s.query(expr)
		if err != nil {
			return err
		}
		if len(series) != 1 || series[0].Points[0].Value != want {
			return fmt.Errorf("it is %v", series)
		}
		return nil
	})
}

// grafana fills in the variables of a query as Grafana does with All chosen everywhere. The windows hold all of the scene,
// however slow the machine.
func grafana(expr string) string {
	return strings.NewReplacer("$__rate_interval", "10m", "$__range", "20m", "$job", ".*", "$namespace", ".*", "$service", ".*").Replace(expr)
}

// quick is grafana with windows for a scene of two minutes.
func quick(expr string) string {
	return grafana(strings.NewReplacer("$__rate_interval", "8s", "$__range", "2m").Replace(expr))
}

// chosen fills in one job, one namespace and one Service.
func (s *scene) chosen(expr, service string) string {
	return grafana(strings.NewReplacer("$job", "zen-lead-metrics", "$namespace", s.Namespace, "$service", service).Replace(expr))
}

// value is the only value of a query.
func (s *scene) value(expr string) float64 {
	s.Helper()
	series, err := s.query(expr)
	require.NoError(s, err)
	require.Len(s, series, 1, expr)
	return series[0].Points[0].Value
}
