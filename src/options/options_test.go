package options

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func env(name string) string {
	if name == "POD_NAMESPACE" {
		return "zen-lead-system"
	}
	return ""
}

func TestParseDefaults(t *testing.T) {
	o, err := Parse(nil, env, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, Default(env), o)
	assert.Equal(t, "zen-lead-system", o.LeaderElectionNamespace)
	assert.Empty(t, o.Namespaces, "every namespace")
}

// Each flag must change something, and only that: a flag that does nothing is a defect (trap 13).
func TestTrap13EveryFlagHasAnEffect(t *testing.T) {
	certificates := certDir(t, "tls.crt", "tls.key")
	// What a flag means nothing without.
	needs := map[string]string{"metrics-cert-dir": "--metrics-secure"}
	values := map[string]struct {
		value string
		get   func(Options) any
		want  any
	}{
		"namespaces":                     {"a, b", func(o Options) any { return o.Namespaces }, []string{"a", "b"}},
		"kubeconfig":                     {"/dev/null", func(o Options) any { return o.Kubeconfig }, "/dev/null"},
		"leader-election-namespace":      {"ns", func(o Options) any { return o.LeaderElectionNamespace }, "ns"},
		"leader-election-id":             {"id", func(o Options) any { return o.LeaderElectionID }, "id"},
		"leader-election-lease-duration": {"20s", func(o Options) any { return o.LeaderElectionLeaseDuration }, 20 * time.Second},
		"leader-election-renew-deadline": {"5s", func(o Options) any { return o.LeaderElectionRenewDeadline }, 5 * time.Second},
		"leader-election-retry-period":   {"1s", func(o Options) any { return o.LeaderElectionRetryPeriod }, time.Second},
		"metrics-bind-address":           {"0", func(o Options) any { return o.MetricsBindAddress }, "0"},
		"metrics-secure":                 {"true", func(o Options) any { return o.MetricsSecure }, true},
		"metrics-cert-dir":               {certificates, func(o Options) any { return o.MetricsCertDir }, certificates},
		"health-probe-bind-address":      {":1", func(o Options) any { return o.HealthProbeBindAddress }, ":1"},
		"kube-api-qps":                   {"7.5", func(o Options) any { return o.KubeAPIQPS }, 7.5},
		"kube-api-burst":                 {"8", func(o Options) any { return o.KubeAPIBurst }, 8},
		"concurrent-reconciles":          {"3", func(o Options) any { return o.ConcurrentReconciles }, 3},
		"default-min-ready-duration":     {"3s", func(o Options) any { return o.DefaultMinReadyDuration }, 3 * time.Second},
		"log-level":                      {"debug", func(o Options) any { return o.LogLevel }, "debug"},
		"log-format":                     {"text", func(o Options) any { return o.LogFormat }, "text"},
		"version":                        {"true", func(o Options) any { return o.Version }, true},
	}
	for _, name := range FlagNames() {
		row, ok := values[name]
		if !assert.True(t, ok, "flag %s is not tested", name) {
			continue
		}
		args := []string{"--" + name + "=" + row.value}
		if other, ok := needs[name]; ok {
			args = append(args, other)
		}
		o, err := Parse(args, env, io.Discard)
		require.NoError(t, err, name)
		assert.Equal(t, row.want, row.get(o), name)
		assert.NotEqual(t, row.get(Default(env)), row.get(o), name)
	}
	assert.Len(t, values, len(FlagNames()))
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]string{
		"--nonsense":                             "nonsense",
		"argument":                               "only flags are taken",
		"--namespaces=Upper":                     "--namespaces",
		"--namespaces=a,a":                       "twice",
		"--kubeconfig=/not/there":                "--kubeconfig",
		"--leader-election-namespace=":           "$POD_NAMESPACE",
		"--leader-election-namespace=a/b":        "--leader-election-namespace",
		"--leader-election-id=A":                 "--leader-election-id",
		"--leader-election-lease-duration=1s":    "--leader-election-renew-deadline",
		"--leader-election-lease-duration=1":     "leader-election-lease-duration",
		"--leader-election-renew-deadline=220ms": "--leader-election-retry-period",
		"--leader-election-retry-period=0s":      "--leader-election-retry-period",
		"--metrics-bind-address=8080":            "--metrics-bind-address",
		"--metrics-secure=maybe":                 "metrics-secure",
		"--health-probe-bind-address=0":          "--health-probe-bind-address",
		"--kube-api-qps=0":                       "--kube-api-qps",
		"--kube-api-burst=0":                     "--kube-api-burst",
		"--concurrent-reconciles=0":              "--concurrent-reconciles",
		"--default-min-ready-duration=-1s":       "--default-min-ready-duration",
		"--log-level=loud":                       "--log-level",
		"--log-format=xml":                       "--log-format",
	}
	for arg, says := range tests {
		t.Run(arg, func(t *testing.T) {
			_, err := Parse([]string{arg}, env, io.Discard)
			require.Error(t, err)
			assert.Contains(t, err.Error(), says)
			assert.NotContains(t, err.Error(), "\n", "one line")
		})
	}
}

// certDir is a directory with files of these names.
func certDir(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	return dir
}

// What is asked for and would not happen is refused: metrics must not be open to everybody because of a slip.
func TestParseRefusesHalfASecureMetricsServer(t *testing.T) {
	tests := map[string]struct {
		args []string
		says string
	}{
		"nothing to secure":   {[]string{"--metrics-secure", "--metrics-bind-address=0"}, "--metrics-secure: there is nothing to secure"},
		"not secure":          {[]string{"--metrics-cert-dir=" + certDir(t, "tls.crt", "tls.key")}, "--metrics-cert-dir: not used without --metrics-secure"},
		"no such directory":   {[]string{"--metrics-secure", "--metrics-cert-dir=/not/there"}, "--metrics-cert-dir: stat /not/there/tls.crt"},
		"without certificate": {[]string{"--metrics-secure", "--metrics-cert-dir=" + certDir(t, "tls.key")}, "/tls.crt: no such file"},
		"without key":         {[]string{"--metrics-secure", "--metrics-cert-dir=" + certDir(t, "tls.crt")}, "/tls.key: no such file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.args, env, io.Discard)
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.says)
			assert.NotContains(t, err.Error(), "\n", "one line")
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var help strings.Builder
	_, err := Parse([]string{"--help"}, env, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, name := range FlagNames() {
		assert.Contains(t, help.String(), "-"+name)
	}
}
