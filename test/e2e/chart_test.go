package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-zen/zen-lead/src/api"
)

// previous is the version under which this chart is packaged once more: nothing is released yet to upgrade from.
const previous = "0.0.9"

// serveCharts serves a chart repository for the length of the test and returns its address.
func serveCharts(ctx context.Context, t *testing.T, env *environment) string {
	folder := t.TempDir()
	for _, args := range [][]string{
		{"package", "charts/zen-lead", "--destination", folder},
		{"package", "charts/zen-lead", "--destination", folder, "--version", previous},
		{"repo", "index", folder},
	} {
		out, err := env.command(ctx, "helm", args...)
		require.NoError(t, err, out)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	t.Cleanup(server.Close)
	return server.URL
}

// chartLifecycle: installed from a repository, upgraded, rolled back, uninstalled, reinstalled, and nobody notices. The
// older version has another pod annotation, so that each step replaces the controllers.
func chartLifecycle(r *row) {
	require.NoError(r, helm.AddRepoE(r, r.helm, "e2e", r.repository))
	r.helm.Version = previous
	r.install("e2e/zen-lead", map[string]string{"podAnnotations.example\\.com/chart": "previous"})
	r.deploy()
	r.send()
	epoch := r.before.Epoch

	r.helm.Version = ""
	r.fail(func() { require.NoError(r, helm.UpgradeE(r, r.helm, "e2e/zen-lead", release)) })
	require.NoError(r, helm.RollbackE(r, r.helm, release, "1"))
	require.NoError(r, helm.DeleteE(r, r.helm, release, true))
	r.kubectl("wait", "pod", "--selector", "app.kubernetes.io/name=zen-lead", "--for", "delete", "--timeout", "1m")
	r.kubectl("get", "service", app+api.LeaderSuffix)
	r.install("e2e/zen-lead", nil)
	r.pause(settle)
	r.unharmed(0)
	last, leads := r.recorder.Leader()
	require.True(r, leads)
	assert.Equal(r, r.before.UID, last.UID, "the leader")
	assert.Equal(r, epoch, last.Epoch, "the epoch")

	require.NoError(r, helm.DeleteE(r, r.helm, release, true))
	// What NOTES.txt says removes what an uninstallation leaves.
	r.kubectl("delete", "endpointslices", "--selector", "endpointslice.kubernetes.io/managed-by=zen-lead")
	r.kubectl("delete", "services", "--selector", "app.kubernetes.io/managed-by=zen-lead")
	_, err := r.client.CoreV1().Services(r.namespace).Get(r.ctx, app+api.LeaderSuffix, metav1.GetOptions{})
	assert.True(r, apierrors.IsNotFound(err), "the leader Service is removed: %v", err)
}

// helmTest: it passes where Services are routed, and fails where no controller runs.
func helmTest(r *row) {
	r.install(r.path("charts", "zen-lead"), nil)
	test := func(timeout string) (string, error) {
		return r.command(r.ctx, "helm", "test", release, "--namespace", r.namespace, "--timeout", timeout)
	}
	// Its client comes before its server is Ready, fails, and is restarted by the kubelet after 10 s, then 20 s more: where
	// it could succeed, a minute would do.
	out, err := test("2m")
	require.NoError(r, err, out)
	r.kubectl("delete", "services", "--selector", "app.kubernetes.io/managed-by=zen-lead")
	r.kubectl("scale", "deployment", release, "--replicas", "0")
	r.kubectl("wait", "pod", "--selector", "app.kubernetes.io/name=zen-lead,app.kubernetes.io/instance="+release, "--for", "delete", "--timeout", "1m")
	out, err = test("1m")
	assert.Error(r, err, "helm test without a controller: %s", out)
}
