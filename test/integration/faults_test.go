package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// fault is something that goes wrong with the writes of slices, for a number of times.
type fault struct {
	answer harness.Intercept
	times  int
	// metric counts it, and event tells of it, if a user can act.
	metric string
	labels harness.Labels
	event  string
	// apart is the least time between two tries.
	apart time.Duration
}

func refusing(code int, reason string) harness.Intercept {
	return func(harness.Request, *http.Request) (*http.Response, error) {
		return harness.Refusal(code, reason, "made up"), nil
	}
}

// waitASecond is what an API server answers that has too much to do.
func waitASecond(harness.Request, *http.Request) (*http.Response, error) {
	response := harness.Refusal(http.StatusTooManyRequests, "TooManyRequests", "made up")
	response.Header.Set("Retry-After", "1")
	return response, nil
}

// hangs lets a write wait, as an admission webhook does, until the API server gives up.
func hangs(_ harness.Request, request *http.Request) (*http.Response, error) {
	select {
	case <-time.After(300 * time.Millisecond):
	case <-request.Context().Done():
	}
	return harness.Refusal(http.StatusGatewayTimeout, "Timeout", "made up"), nil
}

func sliceError() harness.Labels { return harness.Labels{"operation": "update", "result": "error"} }

func TestFaults_OfAnswers(t *testing.T) {
	for name, f := range map[string]fault{
		"409":        {refusing(http.StatusConflict, "Conflict"), 4, "zen_lead_write_conflicts_total", nil, "", 0},
		"429":        {waitASecond, 2, "rest_client_requests_total", harness.Labels{"code": "429"}, "", time.Second},
		"500":        {refusing(http.StatusInternalServerError, "InternalError"), 4, "zen_lead_slice_writes_total", sliceError(), "WriteRejected", 0},
		"503":        {refusing(http.StatusServiceUnavailable, "ServiceUnavailable"), 4, "zen_lead_slice_writes_total", sliceError(), "", 0},
		"401":        {refusing(http.StatusUnauthorized, "Unauthorized"), 4, "zen_lead_slice_writes_total", sliceError(), "", 0},
		"Timeout":    {hangs, 2, "zen_lead_slice_writes_total", sliceError(), "", 0},
		"Reset":      {func(harness.Request, *http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, 4, "zen_lead_slice_writes_total", sliceError(), "", 0},
		"AnswerLost": {nil, 1, "zen_lead_slice_writes_total", sliceError(), "", 0},
	} {
		t.Run(name, func(t *testing.T) { f.meet(newWorld(t)) })
	}
}

// meet has a leader die while the fault is there.
func (f fault) meet(w *harness.World) {
	w.Helper()
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	before, err := f.seen(controller)
	require.NoError(w, err)
	answer := f.answer
	if answer == nil {
		answer = losing(w)
	}
	var met atomic.Int32
	mark := w.Requests.Mark()
	w.Requests.Intercept(func(r harness.Request, request *http.Request) (*http.Response, error) {
		if r.Resource != "endpointslices" || !r.IsWrite() || int(met.Add(1)) > f.times {
			return nil, nil
		}
		return answer(r, request)
	})
	w.KillPod("a")
	w.ExpectLeader("web-leader", "b")
	w.Quiet()
	assert.Greater(w, int(met.Load()), f.times-1, "the fault was not met")

	writes := w.Requests.Since(mark).On("endpointslices").Writes()
	assert.LessOrEqual(w, len(writes), f.times+2, "nothing is tried more often than it takes: %s", writes)
	for i := 1; i < len(writes) && i <= f.times; i++ {
		assert.GreaterOrEqual(w, writes[i].Start.Sub(writes[i-1].Start), f.apart, "tries are apart")
	}
	after, err := f.seen(controller)
	require.NoError(w, err)
	assert.Greater(w, after, before, "%s%v counts it", f.metric, f.labels)
	if f.event != "" {
		w.ExpectEvent("web", corev1.EventTypeWarning, f.event, "web-leader-ipv4", "made up")
	}
	w.ExpectEvent("web", corev1.EventTypeNormal, "LeaderChanged", "pod a to pod b")
}

func (f fault) seen(c *harness.Controller) (float64, error) {
	metrics, err := c.Metrics()
	return metrics.Sum(f.metric, f.labels), err
}

// losing lets a write through and loses the answer.
func losing(w *harness.World) harness.Intercept {
	w.Helper()
	transport, err := rest.TransportFor(w.ControllerConfig())
	require.NoError(w, err)
	return func(_ harness.Request, request *http.Request) (*http.Response, error) {
		response, err := transport.RoundTrip(request.Clone(request.Context()))
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, errors.New("connection reset by peer")
	}
}

func TestFaults_AdmissionDeniesOurWrites(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	policy := denySlices(w)
	mark := w.Requests.Mark()
	w.KillPod("a")
	w.ExpectEvent("web", corev1.EventTypeWarning, "WriteRejected", "web-leader-ipv4", "nobody touches slices")
	w.Eventually("several tries", func() error {
		if n := len(w.Requests.Since(mark).Writes()); n < 4 {
			return fmt.Errorf("%d tries", n)
		}
		return nil
	})
	require.NoError(t, expectMetric(controller, "zen_lead_leader_ready", harness.Labels{"service": "web"}, 1))
	metrics, err := controller.Metrics()
	require.NoError(t, err)
	assert.Positive(t, metrics.Sum("zen_lead_slice_writes_total", sliceError()))
	require.NoError(t, w.Client.Delete(t.Context(), policy))
	w.ExpectLeader("web-leader", "b")
	assert.Equal(t, 1, w.CountEvents("web", "WriteRejected"), "said once, not at each try")
	assert.Less(t, len(w.Requests.Since(mark).Writes()), 30, "tries are spaced out")
}

// denySlices has the API server deny every change of slices in the test's namespace, and returns once it does.
func denySlices(w *harness.World) client.Object {
	w.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "deny-" + w.Namespace},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{"discovery.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"endpointslices"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "object.metadata.namespace != '" + w.Namespace + "'", Message: "nobody touches slices"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: policy.Name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	inCluster(w, policy, binding)
	w.Eventually("slices to be denied", func() error {
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "probe"}, AddressType: discoveryv1.AddressTypeIPv4}
		if err := w.Client.Create(w.Context(), slice, client.DryRunAll); err == nil {
			return errors.New("one was accepted")
		}
		return nil
	})
	return binding
}

// slowBody gives what it reads with a delay, as a watch cache that is behind does.
type slowBody struct {
	io.ReadCloser
	delay time.Duration
}

func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	<-time.After(b.delay)
	return n, err
}

func TestFaults_SlowWatches(t *testing.T) {
	for _, slow := range []string{"pods", "endpointslices"} {
		t.Run(slow, func(t *testing.T) {
			w := newWorld(t)
			transport, err := rest.TransportFor(w.ControllerConfig())
			require.NoError(t, err)
			w.Requests.Intercept(func(r harness.Request, request *http.Request) (*http.Response, error) {
				if r.Verb != "watch" || r.Resource != slow {
					return nil, nil
				}
				response, err := transport.RoundTrip(request.Clone(request.Context()))
				if err == nil {
					response.Body = slowBody{response.Body, 150 * time.Millisecond}
				}
				return response, err
			})
			w.StartController()
			routed(w, web().Families(corev1.IPFamilyPolicyRequireDualStack), pod("a"), pod("b"))
			w.KillPod("a")
			w.ExpectLeader("web-leader", "b")
			w.Pod(pod("c"))
			w.KillPod("b")
			w.ExpectLeader("web-leader", "c")
			w.QuietFor(500 * time.Millisecond)
			assert.Equal(t, []string{"a", "b", "c"}, leaders(w, "web-leader-ipv4"), "late news move nobody back")
		})
	}
}

// brokenBody ends in place of the next news once it is broken.
type brokenBody struct {
	io.ReadCloser
	broken *atomic.Bool
}

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.broken.Load() {
		return 0, io.EOF
	}
	return n, err
}

// expiredHistory is what an API server answers to a watch from a resourceVersion that it does not have any more: within
// the stream if it comes from its cache, as an answer of its own if it comes from etcd.
func expiredHistory(inStream bool) *http.Response {
	gone := harness.Refusal(http.StatusGone, "Expired", "too old resource version")
	if !inStream {
		return gone
	}
	status, _ := io.ReadAll(gone.Body)
	event := fmt.Sprintf(`{"type":"ERROR","object":%s}`, status)
	gone.StatusCode, gone.Body, gone.ContentLength = http.StatusOK, io.NopCloser(strings.NewReader(event)), -1
	return gone
}

// TestFaults_CompactedHistory ends the watches just before the leader goes. What they have missed meanwhile cannot be had
// any more. The answer is made up: an API server forgets too slowly for a test.
func TestFaults_CompactedHistory(t *testing.T) {
	w := newWorld(t)
	transport, err := rest.TransportFor(w.ControllerConfig())
	require.NoError(t, err)
	broken, expired := &atomic.Bool{}, &sync.Map{}
	w.Requests.Intercept(func(r harness.Request, request *http.Request) (*http.Response, error) {
		switch {
		case r.Verb != "watch" || broken.Load() && request.URL.Query().Get("sendInitialEvents") == "true":
			return nil, nil
		case broken.Load():
			expired.Store(r.Resource, true)
			return expiredHistory(r.Resource == "pods"), nil
		}
		response, err := transport.RoundTrip(request.Clone(request.Context()))
		if err == nil {
			response.Body = brokenBody{response.Body, broken}
		}
		return response, err
	})
	w.StartController()
	routed(w, web(), pod("a"), pod("b"))
	broken.Store(true)
	w.KillPod("a")
	w.Service(harness.MakeService("news"))
	w.UpdateSlice("web-leader-ipv4", func(s *discoveryv1.EndpointSlice) { s.Annotations["news"] = "yes" })
	w.ExpectLeader("web-leader", "b")
	for _, resource := range []string{"pods", "services", "endpointslices"} {
		w.Eventually("the watch of "+resource+" to ask for what is gone", func() error {
			if _, met := expired.Load(resource); !met {
				return errors.New("it has not yet")
			}
			return nil
		})
	}
	w.Pod(pod("c"))
	w.KillPod("b")
	w.ExpectLeader("web-leader", "c")
}

func TestFaults_OfConnections(t *testing.T) {
	for name, test := range map[string]func(*harness.Wire){
		"Refused": (*harness.Wire).Refuse, "Reset": (*harness.Wire).Cut, "HalfOpen": (*harness.Wire).Stall,
	} {
		t.Run(name, func(t *testing.T) {
			// Without these, client-go takes 45 s to find out that nobody answers.
			t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
			t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")
			w := newWorld(t)
			wire := w.StartWire()
			controller := w.StartControllerAs(wire.Through(w.ControllerConfig()))
			routed(w, web(), pod("a"), pod("b"))
			state := w.ExpectLeader("web-leader", "a")
			opened := wire.Opened()
			test(wire)
			w.KillPod("a")
			w.Pod(pod("c"))
			if name != "Reset" {
				w.QuietRequestsFor(300 * time.Millisecond)
				slice, err := w.GetSlice("web-leader-ipv4")
				require.NoError(t, err)
				assert.Equal(t, state.Primary.ResourceVersion, slice.ResourceVersion, "the last leader stays published meanwhile")
			}
			wire.Restore()
			begin := time.Now()
			w.ExpectLeader("web-leader", "b")
			t.Logf("a leader again %s after the connection came back; %d connections since", time.Since(begin).Round(time.Millisecond), wire.Opened()-opened)
			assert.Less(t, wire.Opened()-opened, 20, "connections are not opened without end")
			require.NoError(t, expectMetric(controller, "zen_lead_leader_epoch", harness.Labels{"service": "web"}, 2))
		})
	}
}

// inCluster creates objects that belong to no namespace, until the test ends.
func inCluster(w *harness.World, objects ...client.Object) {
	w.Helper()
	for _, object := range objects {
		require.NoError(w, w.Client.Create(w.Context(), object))
		w.Cleanup(func() {
			assert.NoError(w, client.IgnoreNotFound(w.Client.Delete(context.WithoutCancel(w.Context()), object)))
		})
	}
}

// TestFaults_OutOfClusterIPs has no address left for the leader Service. The answer is the API server's, made up: a range
// of its own takes an API server of its own.
func TestFaults_OutOfClusterIPs(t *testing.T) {
	w := newWorld(t)
	controller := w.StartController()
	w.Pod(pod("a"))
	full := &atomic.Bool{}
	full.Store(true)
	w.Requests.Intercept(func(r harness.Request, _ *http.Request) (*http.Response, error) {
		if r.Resource != "services" || r.Verb != "create" || !full.Load() {
			return nil, nil
		}
		return harness.Refusal(http.StatusInternalServerError, "InternalError", "Internal error occurred: failed to allocate a serviceIP: range is full"), nil
	})
	w.Service(web())
	w.ExpectEvent("web", corev1.EventTypeWarning, "WriteRejected", "web-leader", "range is full")
	w.Eventually("the tries to be counted", func() error {
		metrics, err := controller.Metrics()
		if err == nil && metrics.Sum("controller_runtime_reconcile_errors_total", harness.Labels{"controller": "service-director"}) < 4 {
			err = errors.New("fewer than 4 errors")
		}
		return err
	})
	w.Absent(&discoveryv1.EndpointSlice{}, "web-leader-ipv4")
	assert.Equal(t, 1, w.CountEvents("web", "WriteRejected"), "said once, not at each try")
	full.Store(false)
	w.ExpectLeader("web-leader", "a")
}
