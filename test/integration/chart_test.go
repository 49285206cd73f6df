package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kube-zen/zen-lead/test/integration/harness"
)

const chartDir = "../../charts/zen-lead"

// rendered are the objects that Helm makes of the chart, hooks and all, for an installation in the test's namespace.
func rendered(w *harness.World, args ...string) []*unstructured.Unstructured {
	w.Helper()
	objects, err := render(w.Context(), w.Namespace, args...)
	require.NoError(w, err)
	return objects
}

func render(ctx context.Context, namespace string, args ...string) ([]*unstructured.Unstructured, error) {
	command := exec.CommandContext(ctx, "../../bin/helm",
		append([]string{"template", "zen-lead", chartDir, "--namespace", namespace, "--kube-version", "1.37.2"}, args...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("failed to render the chart (is there bin/helm? make bin/helm): %w\n%s", err, &stderr)
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(out), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("failed to read the rendered chart: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// accept asks the API server what it would do with an object, unknown fields and all. Nothing is kept.
func accept(w *harness.World, object client.Object) error {
	return w.Client.Create(w.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}

// monitoringCRDs installs what the Prometheus Operator defines, its own files. They stay: one test's may still be going while
// the next one installs its own, and the API server ends with the tests.
func monitoringCRDs(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../../ci/prometheus.sh", "crds").Output()
	require.NoError(t, err, "ci/prometheus.sh crds")
	dir := strings.TrimSpace(string(out))
	options := envtest.CRDInstallOptions{ErrorIfPathMissing: true, Paths: []string{
		filepath.Join(dir, "monitoring.coreos.com_servicemonitors.yaml"), filepath.Join(dir, "monitoring.coreos.com_prometheusrules.yaml"),
	}}
	_, err = envtest.InstallCRDs(suite.plane.Config, options)
	require.NoError(t, err)
}

func TestChart_TheAPIServerAcceptsEveryObject(t *testing.T) {
	monitoringCRDs(t)
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			w := newWorld(t)
			for _, object := range rendered(w, "--values", file) {
				if object.GetNamespace() == "" && isNamespaced(w, object) {
					object.SetNamespace(w.Namespace) // as helm install does
				}
				assert.NoError(t, accept(w, object), "%s %s", object.GetKind(), object.GetName())
			}
		})
	}
}

func isNamespaced(w *harness.World, object client.Object) bool {
	w.Helper()
	namespaced, err := w.Client.IsObjectNamespaced(object)
	require.NoError(w, err)
	return namespaced
}

// The check itself must be able to fail: the API server knows the fields, and their types.
func TestChart_WrongObjectsAreRefused(t *testing.T) {
	monitoringCRDs(t)
	w := newWorld(t)
	for name, spoil := range map[string]func(spec map[string]any){
		"unknown field": func(spec map[string]any) { spec["endpoint"] = []any{} },
		"wrong type":    func(spec map[string]any) { spec["endpoints"] = "all" },
		"wrong value":   func(spec map[string]any) { spec["endpoints"].([]any)[0].(map[string]any)["interval"] = "soon" },
	} {
		t.Run(name, func(t *testing.T) {
			objects := rendered(w, "--set", "serviceMonitor.enabled=true", "--show-only", "templates/servicemonitor.yaml")
			require.Len(t, objects, 1)
			require.NoError(t, accept(w, objects[0].DeepCopy()))
			spoil(objects[0].Object["spec"].(map[string]any))
			err := accept(w, objects[0])
			assert.True(t, apierrors.IsBadRequest(err) || apierrors.IsInvalid(err), "%v", err)
		})
	}
}

// Pods of the release and of helm test are admitted where Pod Security restricted is enforced.
func TestChart_RestrictedNamespacesAdmitItsPods(t *testing.T) {
	w := newWorld(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}
	const patch = `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`
	require.NoError(t, w.Client.Patch(w.Context(), namespace, client.RawPatch("application/merge-patch+json", []byte(patch))))
	w.Create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "zen-lead"}})
	w.Eventually("the default service account", func() error {
		return w.Client.Get(w.Context(), w.Key("default"), &corev1.ServiceAccount{})
	})
	pods := 0
	for _, object := range rendered(w) {
		pod := podOf(w, object)
		if pod == nil {
			continue
		}
		pods++
		assert.NoError(t, accept(w, pod.DeepCopy()), "%s %s", object.GetKind(), object.GetName())
		pod.Spec.Containers[0].SecurityContext = nil
		assert.ErrorContains(t, accept(w, pod), `violates PodSecurity "restricted`, "the check itself must be able to fail")
	}
	assert.Equal(t, 3, pods)
}

// podOf is the pod that an object is or makes, nil if none.
func podOf(w *harness.World, object *unstructured.Unstructured) *corev1.Pod {
	w.Helper()
	pod := &corev1.Pod{}
	switch object.GetKind() {
	case "Pod":
		require.NoError(w, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, pod))
	case "Deployment":
		deployment := &appsv1.Deployment{}
		require.NoError(w, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment))
		pod.ObjectMeta, pod.Spec = deployment.Spec.Template.ObjectMeta, deployment.Spec.Template.Spec
		pod.Name = deployment.Name
	default:
		return nil
	}
	pod.Namespace = w.Namespace
	return pod
}
