package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// terminal is a reader's shell, with a namespace of its own as the current one.
type terminal struct {
	*testing.T
	namespace string
	env       []string
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "reader-"}}
	require.NoError(t, suite.Client.Create(t.Context(), namespace))
	config, err := clientcmd.Load(suite.Kubeconfig)
	require.NoError(t, err)
	config.Contexts[config.CurrentContext].Namespace = namespace.Name
	kubeconfig := filepath.Join(suite.home, namespace.Name)
	require.NoError(t, clientcmd.WriteToFile(*config, kubeconfig))
	return &terminal{T: t, namespace: namespace.Name, env: append(os.Environ(),
		"PATH="+filepath.Join(suite.root, "bin")+":"+suite.Assets+":"+os.Getenv("PATH"),
		"KUBECONFIG="+kubeconfig, "HOME="+suite.home, "NAMESPACE="+namespace.Name, "SERVICE=my-app",
	)}
}

// try runs a script in the repository's root.
func (s *terminal) try(script string) (string, error) {
	s.Helper()
	command := exec.CommandContext(s.Context(), "bash", "-euo", "pipefail", "-c", script)
	command.Dir, command.Env = suite.root, s.env
	output, err := command.CombinedOutput()
	return string(output), err
}

// run is try that must succeed.
func (s *terminal) run(script string) string {
	s.Helper()
	output, err := s.try(script)
	require.NoError(s, err, "%s\n%s\n%s", script, output, s.state())
	return output
}

// state is what there is, for failure messages.
func (s *terminal) state() string {
	output, _ := s.try("kubectl get services,endpointslices,pods,events --output wide; kubectl get pods,events --namespace zen-lead-system --output wide")
	return output
}

// installed makes sure that zen-lead runs for every namespace.
func (s *terminal) installed() {
	s.Helper()
	s.run(`helm status zen-lead --namespace zen-lead-system >/dev/null 2>&1 || {
		kubectl delete lease zen-lead --namespace zen-lead-system --ignore-not-found
		helm install zen-lead charts/zen-lead --namespace zen-lead-system --create-namespace --set scope=cluster --wait --timeout 2m
	}`)
}

// uninstalled makes sure that it does not, and that nothing of it is left: the Lease of an installation before would have
// to run out first, see docs/operations.md, Uninstall.
func (s *terminal) uninstalled() {
	s.Helper()
	s.run(`helm uninstall zen-lead --namespace zen-lead-system --ignore-not-found --wait --timeout 2m
		kubectl wait pods --namespace zen-lead-system --all --for=delete --timeout 1m
		kubectl delete lease zen-lead --namespace zen-lead-system --ignore-not-found`)
}

// led waits until a leader Service has a leader, and returns the pod's name.
func (s *terminal) led(leaderService string) string {
	s.Helper()
	return strings.TrimSpace(s.run(fmt.Sprintf(
		`kubectl wait service %[1]s --for=create --timeout 60s >/dev/null
		kubectl wait service %[1]s --for=jsonpath='{.metadata.annotations.zen-lead\.io/leader-pod-name}' --timeout 60s >/dev/null
		kubectl get service %[1]s --output jsonpath='{.metadata.annotations.zen-lead\.io/leader-pod-name}'`, leaderService)))
}

// normal replaces in a line of output what differs from run to run.
func normal(line string) string {
	for _, r := range []struct{ pattern, with string }{
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{`\b(my-app|[a-z]+(?:-[a-z]+)*)-[0-9a-f]{6,10}-[a-z0-9]{5}\b`, "$1-HASH"},
		{`\b10\.\d+\.\d+\.\d+\b`, "IP"},
		{`\bfd00:[0-9a-f:]+\b`, "IP"},
		{`\b(\d+[hms])+\b`, "AGE"},
		{`\breader-[a-z0-9]{5}\b`, "default"},
		{`\s+`, " "},
	} {
		line = regexp.MustCompile(r.pattern).ReplaceAllString(line, r.with)
	}
	return strings.TrimSpace(line)
}
