package app

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

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

	for _, c := range []*rest.Config{limited(config, options.Options{KubeAPIQPS: 1, KubeAPIBurst: 1}), unlimited(config), config} {
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
