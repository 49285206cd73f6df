package options

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

// FuzzParse takes any command line: it is refused in one line, or what comes out is valid.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "--version", "--help", "--namespaces=a,b", "--namespaces= a ,, b ", "--namespaces=a,a", "--namespaces=A\nB", "--kube-api-qps=NaN", "--kube-api-qps=Inf", "-\n0",
		"--kube-api-qps=1e-300", "--kube-api-burst=-1", "--leader-election-lease-duration=1s --leader-election-renew-deadline=900ms --leader-election-retry-period=1ns",
		"--metrics-bind-address=0 --metrics-secure", "--metrics-bind-address=:", "--metrics-bind-address=[::]:99999", "--health-probe-bind-address=a:b:c", "--log-level=debug --log-format=text",
		"--default-min-ready-duration=-1ns", "--leader-election-id=a/b", "--concurrent-reconciles=9223372036854775808", "---x", "--", "-", "x", "--log-level",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.Contains(line, "kubeconfig") || strings.Contains(line, "cert-dir") {
			t.Skip("names files of this machine")
		}
		o, err := Parse(strings.Split(line, " "), env, io.Discard)
		switch {
		case errors.Is(err, flag.ErrHelp):
		case err != nil:
			if text := strings.TrimSuffix(err.Error(), "\n"); text == "" || strings.Contains(text, "\n") {
				t.Errorf("%q is refused with %q", line, text)
			}
		case !o.Version:
			checkUsable(t, o)
		}
	})
}

// checkUsable sees what others rely on.
func checkUsable(t *testing.T, o Options) {
	t.Helper()
	if !(o.KubeAPIQPS > 0) || o.KubeAPIBurst < 1 || o.ConcurrentReconciles < 1 || o.DefaultMinReadyDuration < 0 {
		t.Errorf("limits: %+v", o)
	}
	if o.LeaderElectionRetryPeriod <= 0 || o.LeaderElectionRenewDeadline <= o.LeaderElectionRetryPeriod || o.LeaderElectionLeaseDuration <= o.LeaderElectionRenewDeadline {
		t.Errorf("leader election: %+v", o)
	}
	for _, namespace := range o.Namespaces {
		if namespace == "" || strings.ContainsAny(namespace, " ,\n") {
			t.Errorf("namespace %q", namespace)
		}
	}
}
