package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kube-zen/zen-lead/src/api"
)

// routed is what an example is to give.
type routed struct {
	leaderService string
	// ports are those of the slices, as NAME/PROTOCOL/NUMBER, with the appProtocol after it if there is one.
	ports    []string
	families []corev1.IPFamily
	replicas int
}

func examples() map[string]routed {
	http, ipv4 := []string{"http/TCP/8080"}, []corev1.IPFamily{corev1.IPv4Protocol}
	both := []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	return map[string]routed{
		"basic":          {"my-app-leader", http, ipv4, 3},
		"statefulset":    {"ledger-leader", http, ipv4, 3},
		"multi-port":     {"gateway-leader", []string{"admin/TCP/8080", "http/TCP/8080/http", "queries/UDP/8081"}, ipv4, 3},
		"headless":       {"peers-leader", http, ipv4, 3},
		"dual-stack":     {"web-leader", http, both, 3},
		"custom-name":    {"orders-primary", http, ipv4, 3},
		"flap-damping":   {"flappy-leader", http, ipv4, 3},
		"active-standby": {"prometheus-leader", []string{"http/TCP/9090"}, ipv4, 2},
	}
}

// Each example is applied as its reader does, and gives what it promises; then its leader goes, and another takes over.
func TestExamples(t *testing.T) {
	newTerminal(t).installed()
	expected := examples()
	folders, err := filepath.Glob(filepath.Join(suite.root, "examples", "*", "*.yaml"))
	require.NoError(t, err)
	for _, file := range folders {
		name := filepath.Base(filepath.Dir(file))
		if name == "monitoring" {
			continue // values: see TestMonitoringValues
		}
		want, ok := expected[name]
		delete(expected, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			require.True(t, ok, "nothing is expected of examples/%s", name)
			s := newTerminal(t)
			s.run(`kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted`)
			s.run("kubectl apply --validate=strict --filename " + file)
			leader := s.led(want.leaderService)
			s.checkRouted(want, leader, 1)
			s.eventually(fmt.Sprintf(`[[ $(kubectl get pods --output jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}' | wc -w) == %d ]]`, want.replicas))
			if name == "flap-damping" {
				return // the standbys have not been Ready for long enough
			}
			s.run("kubectl delete pod --wait=false " + leader)
			s.eventually(fmt.Sprintf(`[[ $(kubectl get service %s --output jsonpath='{.metadata.annotations.zen-lead\.io/leader-epoch}') == 2 ]]`, want.leaderService))
			s.checkRouted(want, s.led(want.leaderService), 2)
		})
	}
	assert.Empty(t, expected, "these examples are not there")
}

// checkRouted asserts what the leader Service and its slices say.
func (s *terminal) checkRouted(want routed, leader string, epoch int) {
	s.Helper()
	var service corev1.Service
	require.NoError(s, suite.Client.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: want.leaderService}, &service))
	assert.Equal(s, want.families, service.Spec.IPFamilies)
	assert.Equal(s, corev1.ServiceTypeClusterIP, service.Spec.Type)
	assert.Empty(s, service.Spec.Selector)
	assert.NotEqual(s, corev1.ClusterIPNone, service.Spec.ClusterIP)
	var list discoveryv1.EndpointSliceList
	require.NoError(s, suite.Client.List(s.Context(), &list, client.InNamespace(s.namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: want.leaderService}))
	require.Len(s, list.Items, len(want.families))
	for i := range list.Items {
		slice := &list.Items[i]
		require.Len(s, slice.Endpoints, 1, slice.Name)
		assert.Equal(s, leader, slice.Endpoints[0].TargetRef.Name)
		assert.True(s, ptr.Deref(slice.Endpoints[0].Conditions.Ready, false))
		assert.Equal(s, fmt.Sprint(epoch), slice.Annotations[api.AnnotationEpoch])
		assert.Equal(s, want.ports, portTexts(slice.Ports), slice.Name)
	}
}

func portTexts(ports []discoveryv1.EndpointPort) []string {
	var texts []string
	for _, p := range ports {
		parts := []string{*p.Name, string(*p.Protocol), fmt.Sprint(*p.Port)}
		if p.AppProtocol != nil {
			parts = append(parts, *p.AppProtocol)
		}
		texts = append(texts, strings.Join(parts, "/"))
	}
	slices.Sort(texts)
	return texts
}

// eventually waits until a test of the shell holds.
func (s *terminal) eventually(condition string) {
	s.Helper()
	s.run(fmt.Sprintf("for _ in {1..300}; do if %s; then exit 0; fi; sleep 0.2; done; exit 1", condition))
}

// The values give objects that the API server takes, with the Prometheus Operator's own definitions.
func TestMonitoringValues(t *testing.T) {
	s := newTerminal(t)
	output := s.run(`helm template monitored charts/zen-lead --namespace "$NAMESPACE" --no-hooks --values examples/monitoring/values.yaml |
		kubectl create --dry-run=server --validate=strict --output name --filename -`)
	for _, object := range []string{"servicemonitor.monitoring.coreos.com/monitored-zen-lead", "prometheusrule.monitoring.coreos.com/monitored-zen-lead", "configmap/monitored-zen-lead-dashboard"} {
		assert.Contains(t, output, object+"\n")
	}
}

// The GitOps manifests name a chart that is there, with values that it takes.
func TestGitOpsValues(t *testing.T) {
	s := newTerminal(t)
	for _, example := range []struct {
		file        string
		path, value []string
	}{
		{"argocd/zen-lead.yaml", []string{"spec", "source", "path"}, []string{"spec", "source", "helm", "valuesObject"}},
		{"flux/zen-lead.yaml", []string{"spec", "chart", "spec", "chart"}, []string{"spec", "values"}},
	} {
		content, err := os.ReadFile(filepath.Join(suite.root, "examples/gitops", example.file))
		require.NoError(t, err)
		documents := strings.Split(string(content), "\n---\n")
		var object map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(documents[len(documents)-1]), &object))
		values, err := yaml.Marshal(field(t, object, example.value...))
		require.NoError(t, err)
		file := filepath.Join(suite.home, "values.yaml")
		require.NoError(t, os.WriteFile(file, values, 0o600))
		output := s.run(fmt.Sprintf("helm template zen-lead %s --namespace zen-lead-system --values %s", field(t, object, example.path...), file))
		assert.Contains(t, output, "kind: ClusterRole\n", "scope: cluster has its effect")
	}
}

func field(t *testing.T, object map[string]any, path ...string) any {
	t.Helper()
	var value any = object
	for _, key := range path {
		parent, ok := value.(map[string]any)
		require.True(t, ok, "%v is not there", path)
		require.Contains(t, parent, key)
		value = parent[key]
	}
	return value
}
