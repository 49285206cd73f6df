// Package chart renders charts/zen-lead with Helm, for every way of use that has a values file in charts/zen-lead/ci, and
// looks at the objects.
package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gruntwork-io/terratest/modules/helm"
	"github.com/gruntwork-io/terratest/modules/k8s"
	"github.com/gruntwork-io/terratest/modules/logger"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../../charts/zen-lead"
	release   = "zen-lead"
	namespace = "zen-lead-system"
)

func TestMain(m *testing.M) {
	if err := useBuiltTools(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// useBuiltTools puts the pinned Helm before any other that the machine may have.
func useBuiltTools() error {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(bin, "helm")); err != nil {
		return fmt.Errorf("failed to find the pinned helm: run make bin/helm first: %w", err)
	}
	return os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// values are what a user gives: a values file of the chart's ci directory, and single values as JSON.
type values struct {
	file string
	set  map[string]string
}

func (v values) options() *helm.Options {
	o := &helm.Options{
		KubectlOptions: k8s.NewKubectlOptions("", "", namespace),
		Logger:         logger.Discard,
		SetJsonValues:  v.set,
	}
	if v.file != "" {
		o.ValuesFiles = []string{filepath.Join(chartDir, "ci", v.file)}
	}
	return o
}

func set(pairs ...string) values {
	v := values{set: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		v.set[pairs[i]] = pairs[i+1]
	}
	return v
}

// everything is a user who switched everything on, and single values as JSON on top.
func everything(pairs ...string) values {
	v := set(pairs...)
	v.file = "everything-values.yaml"
	return v
}

// render returns the objects of an installation. Decoding is strict: an unknown or repeated field fails.
func render(t *testing.T, v values) objects {
	t.Helper()
	return renderAll(t, v).installed()
}

// renderAll is render with the hooks among the objects, which Helm makes for `helm test` only.
func renderAll(t *testing.T, v values) objects {
	t.Helper()
	return decode(t, helm.RenderTemplate(t, v.options(), chartDir, release, nil))
}

// refuse renders values that must be refused, and returns what Helm says.
func refuse(t *testing.T, v values) string {
	t.Helper()
	_, stderr, err := helm.RenderTemplateAndGetStdOutErrE(t, v.options(), chartDir, release, nil)
	require.Error(t, err, "values were accepted")
	return stderr
}

func decode(t *testing.T, manifests string) objects {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var found objects
	for _, document := range strings.Split("\n"+manifests, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		requireNoNulls(t, document)
		if strings.Contains(document, "\napiVersion: monitoring.coreos.com/v1\n") {
			found = append(found, decodeCustom(t, document))
			continue
		}
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		require.NoError(t, err, document)
		found = append(found, object.(client.Object))
	}
	return found
}

// requireNoNulls refuses fields without a value: the API server drops them, and some tools then see them missing for ever.
func requireNoNulls(t *testing.T, document string) {
	t.Helper()
	var tree any
	require.NoError(t, yaml.Unmarshal([]byte(document), &tree))
	var check func(path string, value any)
	check = func(path string, value any) {
		switch typed := value.(type) {
		case nil:
			require.Fail(t, "a field without a value", "%s in %s", path, document)
		case map[string]any:
			for key, child := range typed {
				check(path+"."+key, child)
			}
		case []any:
			for i, child := range typed {
				check(fmt.Sprintf("%s[%d]", path, i), child)
			}
		}
	}
	check("", tree)
}

// decodeCustom is for what the Prometheus Operator defines, whose Go types are no dependency.
func decodeCustom(t *testing.T, document string) client.Object {
	t.Helper()
	content, err := yaml.YAMLToJSONStrict([]byte(document))
	require.NoError(t, err, document)
	object := &unstructured.Unstructured{}
	require.NoError(t, object.UnmarshalJSON(content), document)
	return object
}

// objects are those of one rendering.
type objects []client.Object

// inventory lists them as Kind namespace/name, sorted.
func (o objects) inventory() []string {
	var list []string
	for _, object := range o {
		list = append(list, fmt.Sprintf("%s %s/%s", object.GetObjectKind().GroupVersionKind().Kind, object.GetNamespace(), object.GetName()))
	}
	slices.Sort(list)
	return list
}

// installed leaves the hooks out.
func (o objects) installed() objects {
	return slices.DeleteFunc(slices.Clone(o), isHook)
}

// hooks leaves all else out.
func (o objects) hooks() objects {
	return slices.DeleteFunc(slices.Clone(o), func(object client.Object) bool { return !isHook(object) })
}

func isHook(object client.Object) bool {
	_, found := object.GetAnnotations()["helm.sh/hook"]
	return found
}

// all returns the objects of one type.
func all[T client.Object](o objects) []T {
	var list []T
	for _, object := range o {
		if typed, ok := object.(T); ok {
			list = append(list, typed)
		}
	}
	return list
}

// one returns the only object of a type.
func one[T client.Object](t *testing.T, o objects) T {
	t.Helper()
	list := all[T](o)
	require.Len(t, list, 1)
	return list[0]
}

// custom returns the only object of a kind that the Prometheus Operator defines.
func custom(t *testing.T, o objects, kind string) *unstructured.Unstructured {
	t.Helper()
	list := slices.DeleteFunc(all[*unstructured.Unstructured](o), func(u *unstructured.Unstructured) bool { return u.GetKind() != kind })
	require.Len(t, list, 1)
	return list[0]
}

func container(t *testing.T, o objects) corev1.Container {
	t.Helper()
	containers := one[*appsv1.Deployment](t, o).Spec.Template.Spec.Containers
	require.Len(t, containers, 1)
	return containers[0]
}
