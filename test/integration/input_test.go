package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// badInput is a Service that is not as it should be, and the Event that says so.
type badInput struct {
	service *harness.ServiceBuilder
	reason  string
	message string
}

func badInputs() map[string]badInput {
	const (
		enabled = `annotation zen-lead.io/enabled is %s, which is not "true" or "false"; nothing is switched on or off until it is`
		sticky  = `annotation zen-lead.io/sticky is %s, which is not "true" or "false"; using "true"`
		ready   = `annotation zen-lead.io/min-ready-duration is %s, which is not a duration of 0 or more such as "10s" or "1m30s"; using "0s"`
		label   = `annotation zen-lead.io/leader-service-name is %s, which is not a DNS label (lower-case letters, digits and '-', beginning with a letter); using "%s-leader"`
		own     = `annotation zen-lead.io/leader-service-name is %[1]q, which is not a name other than the Service's own; using "%[1]s-leader"`
		length  = `the leader Service's name %q has %d characters and may have 63; set annotation zen-lead.io/leader-service-name to a shorter name`
	)
	with := func(name, key, value string) *harness.ServiceBuilder {
		return harness.MakeService(name).Enabled().Annotate(key, value)
	}
	named := strings.Repeat("n", 64)
	table := map[string]badInput{
		"own":    {with("own", api.AnnotationLeaderServiceName, "own"), "InvalidAnnotation", fmt.Sprintf(own, "own")},
		"length": {with("length", api.AnnotationLeaderServiceName, named), "LeaderServiceNameTooLong", fmt.Sprintf(length, named, 64)},
		"external": {harness.MakeService("external").Enabled().Spec(func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalName, s.Selector = corev1.ServiceTypeExternalName, "example.org", nil
		}), "UnsupportedService", ""},
		"selectorless": {harness.MakeService("selectorless").Enabled().Spec(func(s *corev1.ServiceSpec) { s.Selector = nil }), "UnsupportedService", ""},
		"port":         {harness.MakeService("port").Enabled().Ports(harness.Port("p", 80, intstr.FromString("nope"), corev1.ProtocolTCP)), "PortUnresolved", ""},
		"protocol":     {harness.MakeService("protocol").Enabled().Ports(harness.Port("p", 80, intstr.FromString("http"), corev1.ProtocolUDP)), "PortUnresolved", ""},
	}
	add := func(kind, key, format string, values ...string) {
		for i, value := range values {
			name := fmt.Sprintf("%s-%d", kind, i)
			args := []any{quoted(value), name}[:strings.Count(format, "%")]
			reason := "InvalidAnnotation"
			table[name] = badInput{with(name, key, value), reason, fmt.Sprintf(format, args...)}
		}
	}
	add("enabled", api.AnnotationEnabled, enabled, "", "True", "yes", "1", " true", "true\n", "\u202etrue", strings.Repeat("x", 300))
	add("sticky", api.AnnotationSticky, sticky, "", "no", "FALSE", "\x00")
	add("ready", api.AnnotationMinReadyDuration, ready, "", "10", "-1s", "soon", "1s\nlevel=ERROR msg=forged", "1e9h", "99999999h")
	add("name", api.AnnotationLeaderServiceName, label, "", "Web", "-web", "web-", "1web", "a.b", "a/b", "../kube-system/dns", "wéb", "web\n", "*")
	return table
}

// quoted is how a value is repeated: on one line, and not without end.
func quoted(value string) string {
	const most = 80
	if len(value) > most {
		return fmt.Sprintf("%q…", value[:most])
	}
	return fmt.Sprintf("%q", value)
}

// TestBadInput_EachHasItsEvent has every Service at once that one can get wrong.
func TestBadInput_EachHasItsEvent(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Pod(pod("a"))
	table := badInputs()
	for _, input := range table {
		w.Service(input.service)
	}
	w.Service(web())
	w.ExpectLeader("web-leader", "a")
	for name, input := range table {
		event := w.ExpectEvent(name, corev1.EventTypeWarning, input.reason)
		if input.message != "" {
			assert.Equal(t, input.message, event.Message, name)
		}
		assert.NotContains(t, event.Message, "\n", name)
		assert.LessOrEqual(t, len(event.Message), 1024, name)
	}
	w.Quiet()
	for name, input := range table {
		assert.Equal(t, 1, w.CountEvents(name, input.reason), "%s: said once", name)
	}
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	for name := range table {
		assert.Positive(t, metrics.Sum("zen_lead_config_errors", harness.Labels{"service": name}), name)
	}
}

// TestLimits_OfSizeAndCount has values as large as the API server takes them, and more ports than anybody has.
func TestLimits_OfSizeAndCount(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Pod(pod("a"))
	huge := strings.Repeat("forged\n", 30<<10)
	w.Service(web().Annotate(api.AnnotationMinReadyDuration, huge))
	event := w.ExpectEvent("web", corev1.EventTypeWarning, "InvalidAnnotation")
	assert.LessOrEqual(t, len(event.Message), 1024)
	assert.NotContains(t, event.Message, "\n")
	w.ExpectLeader("web-leader", "a")
	leader, err := w.GetService("web-leader")
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprint(leader.Annotations, leader.Labels), "forged", "what a user writes is not copied")
	body, err := controller.Metrics()
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprint(body), "forged", "nor does it become a label")

	var ports []corev1.ServicePort
	const many = 250
	for i := range int32(many) {
		ports = append(ports, harness.Port(fmt.Sprintf("p%d", i), 1000+i, intstr.FromInt32(2000+i), corev1.ProtocolTCP))
	}
	w.Service(harness.MakeService("many").Enabled().Ports(ports...))
	state := w.ExpectLeader("many-leader", "a")
	assert.Len(t, state.Primary.Ports, many)
	assert.Len(t, state.Service.Spec.Ports, many)
}

// TestLogInjection has a user write what looks like the controller's own words.
func TestLogInjection(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			process := w.StartProcess(suite.binary, "--log-format="+format, "--log-level=debug")
			process.WaitReady()
			w.Pod(pod("a"))
			const forged = "x\nlevel=ERROR msg=forged\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\x1b[2J"
			w.Service(web().Annotate(api.AnnotationSticky, forged).Annotate(api.AnnotationLeaderServiceName, forged))
			w.Service(harness.MakeService("unclear").Annotate(api.AnnotationEnabled, forged))
			w.ExpectEvent("unclear", corev1.EventTypeWarning, "InvalidAnnotation")
			w.ExpectLeader("web-leader", "a")
			w.Annotate("web", api.AnnotationEnabled, "false")
			expectRemoved(w, "web-leader")
			process.Terminate()
			output := process.Stdout() + process.Stderr()
			assert.NotContains(t, output, "\x1b")
			for _, line := range strings.Split(strings.TrimSpace(output), "\n") {
				line = strings.TrimSpace(line)
				assert.False(t, strings.HasPrefix(line, "level=ERROR msg=forged") || strings.HasPrefix(line, `{"level":"ERROR","msg":"forged"`), "%q", line)
				if format == "json" {
					assert.True(t, strings.HasPrefix(line, "{"), "%q", line)
				}
			}
		})
	}
}
