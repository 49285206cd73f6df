package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-zen/zen-lead/src/options"
	"github.com/kube-zen/zen-lead/test/integration/harness"
)

// chartMetricsAuthRules are the rules by which the API server judges who scrapes, read from the chart's template.
func chartMetricsAuthRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	text, err := os.ReadFile("../../charts/zen-lead/templates/_rules.tpl")
	require.NoError(t, err)
	match := regexp.MustCompile(`(?s)define "zen-lead.metricsAuthRules" -}}\n(.*?)\{\{- end`).FindSubmatch(text)
	require.NotNil(t, match)
	var rules []rbacv1.PolicyRule
	require.NoError(t, yaml.UnmarshalStrict(match[1], &rules))
	require.Len(t, rules, 2)
	return rules
}

// grantInCluster gives a subject rules in the whole cluster, until the test ends.
func grantInCluster(w *harness.World, name string, subject rbacv1.Subject, rules []rbacv1.PolicyRule) {
	w.Helper()
	name = w.Namespace + "-" + name
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{subject},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}
	for _, object := range []client.Object{role, binding} {
		require.NoError(w, w.Client.Create(w.Context(), object))
		w.Cleanup(func() { assert.NoError(w, w.Client.Delete(context.WithoutCancel(w.Context()), object)) })
	}
}

// token is that of a new ServiceAccount, as a pod would have it.
func token(w *harness.World, account string) string {
	w.Helper()
	serviceAccount := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}
	w.Create(serviceAccount)
	request := &authenticationv1.TokenRequest{}
	require.NoError(w, w.Client.SubResource("token").Create(w.Context(), serviceAccount, request))
	require.NotEmpty(w, request.Status.Token)
	return request.Status.Token
}

// readerRules are what the chart's ClusterRole for scrapers allows.
func readerRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}
}

// scrape asks for metrics over TLS, and returns the answer's code, its body and the certificate that was shown.
func scrape(w *harness.World, address, token string) (code int, body string, shown *x509.Certificate) {
	w.Helper()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
	require.NoError(w, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	var response *http.Response
	w.Eventually("metrics to be served", func() (err error) {
		response, err = (&http.Client{Transport: transport}).Do(request)
		return err
	})
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	return response.StatusCode, string(content), response.TLS.PeerCertificates[0]
}

// secureController runs with the rights that the chart gives in a namespace, and those in the cluster that are given here.
func secureController(w *harness.World, t *testing.T, inCluster []rbacv1.PolicyRule, change ...func(*options.Options)) *harness.Controller {
	w.Helper()
	restricted(w, chartRules(t))
	w.ServesOthers() // reviews belong to no namespace
	w.Cleanup(func() {
		for _, r := range w.Requests.All().Writes() {
			if r.Namespace != w.Namespace {
				assert.Contains(t, []string{"tokenreviews", "subjectaccessreviews"}, r.Resource, "%s", r)
			}
		}
	})
	if len(inCluster) > 0 {
		grantInCluster(w, "metrics-auth", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: w.Namespace}, inCluster)
	}
	config, err := suite.plane.User(w.Namespace)
	require.NoError(t, err)
	return w.StartControllerAs(config, append(change, func(o *options.Options) { o.MetricsSecure = true })...)
}

func TestSecureMetrics_OnlyForThoseWhoAreAllowed(t *testing.T) {
	w := newWorld(t)
	address := secureController(w, t, chartMetricsAuthRules(t)).Options.MetricsBindAddress
	routed(w, web(), pod("a"))
	allowed := token(w, "scraper")
	grantInCluster(w, "metrics-reader", rbacv1.Subject{Kind: "ServiceAccount", Name: "scraper", Namespace: w.Namespace}, readerRules())

	code, body, _ := scrape(w, address, allowed)
	assert.Equal(t, http.StatusOK, code, body)
	assert.Contains(t, body, "\nzen_lead_leader_ready{")
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"no token":       {"", http.StatusUnauthorized},
		"wrong token":    {"nonsense", http.StatusUnauthorized},
		"without rights": {token(w, "stranger"), http.StatusForbidden},
	} {
		code, body, _ := scrape(w, address, test.token)
		assert.Equal(t, test.want, code, name)
		assert.NotContains(t, body, "zen_lead_", name)
	}
	response, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, response.StatusCode, "plain HTTP")
	assert.NotContains(t, string(content), "zen_lead_")
}

// Without the rules, nobody gets anything: the rules are needed, and their lack opens nothing.
func TestSecureMetrics_WithoutTheChartsRulesNobodyIsServed(t *testing.T) {
	for name, rules := range map[string][]rbacv1.PolicyRule{"None": nil, "OneOfTwo": chartMetricsAuthRules(t)[:1]} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			address := secureController(w, t, rules).Options.MetricsBindAddress
			allowed := token(w, "scraper")
			grantInCluster(w, "metrics-reader", rbacv1.Subject{Kind: "ServiceAccount", Name: "scraper", Namespace: w.Namespace}, readerRules())
			code, body, _ := scrape(w, address, allowed)
			assert.Equal(t, http.StatusInternalServerError, code, "nobody can be judged")
			assert.NotContains(t, body, "zen_lead_")
		})
	}
}

func TestSecureMetrics_TheCertificateOfTheSecretIsServedAndRenewed(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	first := writeCertificate(t, dir, 1)
	controller := secureController(w, t, chartMetricsAuthRules(t), func(o *options.Options) { o.MetricsCertDir = dir })
	address := controller.Options.MetricsBindAddress
	_, _, shown := scrape(w, address, "")
	assert.Equal(t, first, shown.SerialNumber)

	second := writeCertificate(t, dir, 2)
	w.Eventually("the new certificate to be served", func() error {
		if _, _, shown := scrape(w, address, ""); shown.SerialNumber.Cmp(second) != 0 {
			return fmt.Errorf("it still shows number %s", shown.SerialNumber)
		}
		return nil
	})
}

// writeCertificate puts a certificate where a Secret would be mounted, the way the kubelet does: the names are links
// through a link that is replaced in one step.
func writeCertificate(t *testing.T, dir string, number int64) *big.Int {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: "zen-lead"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	content := filepath.Join(dir, fmt.Sprintf("..%d", number))
	require.NoError(t, os.Mkdir(content, 0o700))
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: certificate}, "tls.key": {Type: "EC PRIVATE KEY", Bytes: der}} {
		require.NoError(t, os.WriteFile(filepath.Join(content, name), pem.EncodeToMemory(block), 0o600))
		if number == 1 {
			require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	link := filepath.Join(dir, "..data_tmp")
	require.NoError(t, os.Symlink(filepath.Base(content), link))
	require.NoError(t, os.Rename(link, filepath.Join(dir, "..data")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", number-1))))
	return template.SerialNumber
}
