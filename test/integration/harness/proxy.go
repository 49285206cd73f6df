package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Proxy stands between one controller process and the API server, so that the requests of a process can be recorded,
// and its connection cut.
type Proxy struct {
	Requests   *Recorder
	Kubeconfig string
	watches    *watches
}

// StartProxy listens on a loopback port until the test ends. Whoever comes through it has the chart's rights.
func (w *World) StartProxy() *Proxy {
	w.Helper()
	transport, err := rest.TransportFor(w.ControllerConfig())
	if err != nil {
		w.Fatalf("failed to build a transport: %v", err)
	}
	target, err := url.Parse(w.Config().Host)
	if err != nil {
		w.Fatalf("failed to parse the API server's address: %v", err)
	}
	p := &Proxy{Requests: &Recorder{}, watches: &watches{next: transport}}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     p.Requests.Wrap(p.watches),
		FlushInterval: -1, // watches are streams
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				rw.WriteHeader(http.StatusBadGateway)
			}
		},
	})
	w.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	w.recorders = append(w.recorders, p.Requests)
	p.Kubeconfig = filepath.Join(w.TempDir(), "kubeconfig")
	if err := writeKubeconfig(p.Kubeconfig, server.URL); err != nil {
		w.Fatal(err)
	}
	return p
}

// Cut makes every request fail until the returned function is called. Watches that are open stay open.
func (p *Proxy) Cut() (restore func()) {
	p.Requests.Intercept(func(Request, *http.Request) (*http.Response, error) {
		return Refusal(http.StatusServiceUnavailable, "ServiceUnavailable", "the connection is cut"), nil
	})
	return func() { p.Requests.Intercept(nil) }
}

func writeKubeconfig(path, server string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: server}
	config.AuthInfos["proxy"] = &clientcmdapi.AuthInfo{}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy", AuthInfo: "proxy"}
	config.CurrentContext = "proxy"
	text, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("failed to encode kubeconfig %s: %w", path, err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("failed to write kubeconfig %s: %w", path, err)
	}
	return nil
}
