package app

import (
	"encoding/binary"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/options"
)

// After an outage, what has found the way back first finds it for all.
func TestOneConnectionServesTheLeaseAndAllElse(t *testing.T) {
	var connections atomic.Int32
	var accepted []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		accepted = append(accepted, r.Header.Get("Accept-Encoding"))
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := uncompressed(&rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: authority}})

	for _, c := range []*rest.Config{trimming(limited(config, options.Options{KubeAPIQPS: 1, KubeAPIBurst: 1})), unlimited(config), config} {
		client, err := rest.HTTPClientFor(c)
		require.NoError(t, err)
		response, err := client.Get(server.URL)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, 2, response.ProtoMajor)
	}
	assert.EqualValues(t, 1, connections.Load())
	assert.Equal(t, []string{"", "", ""}, accepted, "an API server compresses each event of a watch for whom it may")
}

// The manager's cache is the one that watches pods.
func TestTheManagersWatchesOfPodsAreTrimmed(t *testing.T) {
	pod, err := (&corev1.Pod{Spec: corev1.PodSpec{SchedulerName: "nobody reads this"}}).Marshal()
	require.NoError(t, err)
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Pod"}, Raw: pod}
	object, err := unknown.Marshal()
	require.NoError(t, err)
	event, err := (&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: append([]byte("k8s\x00"), object...)}}).Marshal()
	require.NoError(t, err)
	kinds := map[string]string{ // which the manager asks for
		"/api":                      `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":                     `{"kind":"APIGroupList","groups":[{"name":"discovery.k8s.io","versions":[{"groupVersion":"discovery.k8s.io/v1","version":"v1"}]}]}`,
		"/api/v1":                   `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","kind":"Pod","namespaced":true},{"name":"services","kind":"Service","namespaced":true}]}`,
		"/apis/discovery.k8s.io/v1": `{"kind":"APIResourceList","groupVersion":"discovery.k8s.io/v1","resources":[{"name":"endpointslices","kind":"EndpointSlice","namespaced":true}]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := []byte(kinds[r.URL.Path])
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		if r.URL.Query().Has("watch") {
			answer = append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...)
			w.Header().Set("Content-Type", runtime.ContentTypeProtobuf+";stream=watch")
		}
		_, err := w.Write(answer)
		assert.NoError(t, err)
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	manager, err := newManager(config, options.Options{
		KubeAPIQPS: 1, KubeAPIBurst: 1, MetricsBindAddress: "0", LeaderElectionID: "zen-lead", LeaderElectionNamespace: "default",
		LeaderElectionLeaseDuration: 3, LeaderElectionRenewDeadline: 2, LeaderElectionRetryPeriod: 1,
	}, informers.NewStore())
	require.NoError(t, err)
	for c, whole := range map[*rest.Config]bool{config: true, manager.GetConfig(): false} {
		client, err := rest.HTTPClientFor(c)
		require.NoError(t, err)
		response, err := client.Get(server.URL + "/api/v1/pods?watch=true")
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Contains(t, string(body), "ADDED")
		assert.Equal(t, whole, strings.Contains(string(body), "nobody reads this"))
	}
}
