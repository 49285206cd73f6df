package e2e

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/test/e2e/harness"
)

// flapFor is how long pods are Ready by turns.
const flapFor = 18 * time.Second

// flap makes all pods Ready for 3 s and not for 4 s, by turns: first the standbys, and the leader once each of these has
// been seen not Ready.
func (r *row) flap() {
	r.Helper()
	standbys := map[string]bool{}
	for _, pod := range r.pods() {
		if pod.UID != r.before.UID {
			standbys[pod.Name] = true
			r.tell(pod.Name, fmt.Sprintf("/flap?up=3s&down=4s&phase=%dms", 7000-2300*len(standbys)))
		}
	}
	require.Eventually(r, func() bool {
		for _, pod := range r.pods() {
			if !harness.Ready(&pod) {
				delete(standbys, pod.Name)
			}
		}
		return len(standbys) == 0
	}, patience, 200*time.Millisecond, "standbys that flap")
	r.fail(func() { r.tell(r.before.Pod, "/flap?up=3s&down=4s&phase=0s") })
}

func (r *row) pods() []corev1.Pod {
	list, err := r.client.CoreV1().Pods(r.namespace).List(r.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + app})
	if err != nil {
		r.Logf("pods cannot be listed now: %s", err)
	}
	return list.Items
}

func (r *row) steady() {
	r.Helper()
	for _, pod := range r.pods() {
		r.tell(pod.Name, "/steady")
	}
}

// tell sends a request to a pod of the project's own application, and waits for the answer.
func (r *row) tell(pod, path string) {
	r.Helper()
	uri := "/api/v1/namespaces/" + r.namespace + "/pods/" + pod + ":8080/proxy" + path
	_, err := r.client.CoreV1().RESTClient().Get().RequestURI(uri).DoRaw(r.ctx)
	require.NoError(r, err, "pod %s: %s", pod, path)
}

func (r *row) startFlappers() {
	r.Helper()
	r.start(r.own("            periodSeconds: 1\n", "            periodSeconds: 1\n            failureThreshold: 1\n")...)
}

// flapping: without damping the leader follows whoever is Ready, and the Service is nearly always served.
func flapping(r *row) {
	r.startFlappers()
	r.flap()
	r.pause(flapFor)
	r.steady()
	r.pause(3 * time.Second)
	r.leader("")
	r.collect()
	assert.GreaterOrEqual(r, r.result.Moves, 2, "moves of the leader")
}

// flappingDamped: a pod must have been Ready for 10 s before it may lead, which none is while all flap. The price of calm.
func flappingDamped(r *row) {
	r.startFlappers()
	r.kubectl("annotate", "service", app, api.AnnotationMinReadyDuration+"=10s")
	r.flap()
	r.pause(flapFor)
	steady := time.Now()
	r.steady()
	after := r.leader(r.before.UID)
	r.pause(3 * time.Second)
	r.collect()
	assert.Equal(r, 1, r.result.Moves, "moves of the leader")
	// A pod may have been Ready already, since less than one turn.
	assert.Greater(r, after.At.Sub(steady), 6*time.Second, "from the end of the flapping to a leader")
}

// headlessSource: its leader Service is an ordinary one, with an address.
func headlessSource(r *row) {
	r.start("  ipFamilyPolicy: PreferDualStack\n", "  clusterIP: None\n  ipFamilyPolicy: PreferDualStack\n")
	leader, err := r.client.CoreV1().Services(r.namespace).Get(r.ctx, app+api.LeaderSuffix, metav1.GetOptions{})
	require.NoError(r, err)
	assert.NotNil(r, net.ParseIP(leader.Spec.ClusterIP), "the leader Service's address: %s", leader.Spec.ClusterIP)
	r.fail(r.deleteLeaders)
	r.leader(r.before.UID)
	r.pause(settle)
	r.unharmed(1)
}

// revision is an application with two named ports, whose numbers differ between revisions.
func (r *row) revision(http, admin int) []string {
	return []string{
		"[netexec, --http-port=8080, --delay-shutdown=5]", fmt.Sprintf(`[serve, "--listen=:%d,:%d"]`, http, admin),
		"AGNHOST_IMAGE", r.TrafficImage,
		"containerPort: 8080\n", fmt.Sprintf("containerPort: %d\n            - {name: admin, containerPort: %d}\n", http, admin),
		"      targetPort: http\n", "      targetPort: http\n    - {name: admin, port: 81, targetPort: admin}\n",
	}
}

// portsDiffer rolls out a revision whose ports have the same names and other numbers: one slice can hold one set of
// numbers, and it changes with the leader.
func portsDiffer(r *row) {
	r.also = append(r.also, harness.Target{Name: "admin-port", URL: "http://" + app + api.LeaderSuffix + ":81/hostname"})
	r.start(r.revision(8080, 9090)...)
	r.fail(func() { r.apply(r.manifest(r.revision(8082, 9092)...)) })
	r.kubectl("rollout", "status", "deployment/"+app, "--timeout", "3m")
	r.pause(settle)
	r.unharmed(1)
	assert.Zero(r, r.result.Clients[2].Failed, "failed requests to the second port")
	list, err := r.client.DiscoveryV1().EndpointSlices(r.namespace).List(r.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + app + api.LeaderSuffix})
	require.NoError(r, err)
	require.NotEmpty(r, list.Items)
	for _, slice := range list.Items {
		numbers := map[string]int32{}
		for _, port := range slice.Ports {
			numbers[*port.Name] = *port.Port
		}
		assert.Equal(r, map[string]int32{"http": 8082, "admin": 9092}, numbers, "ports of slice %s", slice.Name)
	}
}

// udp: each request is one datagram from a port of its own.
func udp(r *row) {
	r.also = append(r.also, harness.Target{Name: "udp", URL: "udp://" + app + api.LeaderSuffix + ":81"})
	r.start("      targetPort: http\n", "      targetPort: http\n    - {name: udp, port: 81, protocol: UDP, targetPort: 8081}\n")
	r.fail(r.deleteLeaders)
	after := r.leader(r.before.UID)
	r.pause(settle)
	r.unharmed(1)
	datagrams := r.result.Clients[2]
	assert.Zero(r, datagrams.Failed, "datagrams without an answer")
	require.NotEmpty(r, datagrams.AnsweredBy)
	assert.Equal(r, after.Pod, datagrams.AnsweredBy[len(datagrams.AnsweredBy)-1], "who answers in the end")
}

// everyFamily asks the leader Service at each of its addresses; both families' slices follow the same leader.
func everyFamily(r *row) {
	r.prepare()
	service, err := r.client.CoreV1().Services(r.namespace).Get(r.ctx, app+api.LeaderSuffix, metav1.GetOptions{})
	require.NoError(r, err)
	want := map[string]int{"dual": 2, "ipv6": 1}[r.family]
	require.Len(r, service.Spec.ClusterIPs, want)
	for i, ip := range service.Spec.ClusterIPs {
		family := strings.ToLower(string(service.Spec.IPFamilies[i]))
		r.also = append(r.also, harness.Target{Name: family, URL: "http://" + net.JoinHostPort(ip, "80") + "/hostname"})
	}
	r.send()
	r.fail(r.deleteLeaders)
	after := r.leader(r.before.UID)
	r.pause(settle)
	r.unharmed(1)
	for _, c := range r.result.Clients[2:] {
		assert.Zero(r, c.Failed, "failed requests by %s", c.Target)
		require.NotEmpty(r, c.AnsweredBy)
		assert.Equal(r, after.Pod, c.AnsweredBy[len(c.AnsweredBy)-1], "who answers by %s in the end", c.Target)
	}
	slices, err := r.client.DiscoveryV1().EndpointSlices(r.namespace).List(r.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + app + api.LeaderSuffix})
	require.NoError(r, err)
	assert.Len(r, slices.Items, want)
	for _, slice := range slices.Items {
		require.Len(r, slice.Endpoints, 1, slice.Name)
		assert.Equal(r, slices.Items[0].Endpoints[0].TargetRef.UID, slice.Endpoints[0].TargetRef.UID, "one leader in all families")
	}
}

// longLived: a connection that is open stays with the pod that it was opened to. A demoted leader that lives keeps it, new
// connections go to the new leader; when the process ends the connection breaks, and the next one finds the new leader.
func longLived(r *row) {
	const held = "held-connection"
	r.also = append(r.also, harness.Target{Name: held, URL: "held+http://" + app + api.LeaderSuffix + "/hostname"})
	r.start()
	r.fail(func() { r.kubectl("label", "pod", r.before.Pod, "app.kubernetes.io/name=demoted", "--overwrite") })
	after := r.leader(r.before.UID)
	r.pause(5 * time.Second)
	ended := time.Now()
	r.kubectl("delete", "pod", r.before.Pod, "--wait=false")
	r.pause(settle + 2*time.Second)
	r.unharmed(1)
	run := r.runs[2]
	last := run.LastAnswer(r.before.Pod)
	assert.True(r, last.After(ended), "the demoted leader answers on its connection as long as it lives")
	assert.Equal(r, []string{r.before.Pod, after.Pod}, r.result.Clients[2].AnsweredBy)
	r.note("the connection stayed with the demoted leader for %.1f s, until its process ended %.1f s after SIGTERM; %d requests on it failed, and the next connection reached the new leader after %d ms",
		last.Sub(after.At).Seconds(), last.Sub(ended).Seconds(), r.result.Clients[2].Failed, run.FirstAnswer(after.Pod).Sub(last).Milliseconds())
}
