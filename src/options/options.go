// Package options holds the controller's flags: names, defaults, help and validation in one place. The chart's values
// and the documentation follow it.
package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Options is all that can be chosen about one controller process.
type Options struct {
	// Namespaces are the namespaces whose Services are served; empty means every namespace.
	Namespaces []string
	// Kubeconfig is the path of a kubeconfig; empty means $KUBECONFIG, else the cluster that the process runs in, else
	// the user's default kubeconfig.
	Kubeconfig string

	// LeaderElectionNamespace holds the Lease by which replicas agree on the active one.
	LeaderElectionNamespace string
	// LeaderElectionID is the Lease's name.
	LeaderElectionID            string
	LeaderElectionLeaseDuration time.Duration
	LeaderElectionRenewDeadline time.Duration
	LeaderElectionRetryPeriod   time.Duration

	MetricsBindAddress string
	// MetricsSecure serves /metrics over TLS, and only to clients that the API server authenticates and allows to get
	// the path /metrics.
	MetricsSecure bool
	// MetricsCertDir holds tls.crt and tls.key for that; empty means a certificate that the process signs itself. New
	// files are taken up without a restart.
	MetricsCertDir         string
	HealthProbeBindAddress string

	// KubeAPIQPS and KubeAPIBurst bound the requests that the process sends to the API server, in requests a second and
	// in requests that may come at once after a quiet time. The default of the latter is what the failover of 5,000 Services
	// of one IP family at once takes, a slice and a mirror each, so that none of them waits; what goes on without end, as
	// only a bug would, is held to the former. Renewing the Lease and recording Events are not counted.
	KubeAPIQPS   float64
	KubeAPIBurst int
	// ConcurrentReconciles is how many Services are worked on at the same time.
	ConcurrentReconciles int
	// DefaultMinReadyDuration applies to Services without the min-ready-duration annotation.
	DefaultMinReadyDuration time.Duration

	LogLevel  string
	LogFormat string

	// Version asks for the version to be printed instead of running.
	Version bool
}

// Default returns the options of a process that was given no flags. env looks up an environment variable.
func Default(env func(string) string) Options {
	return Options{
		LeaderElectionNamespace:     env("POD_NAMESPACE"),
		LeaderElectionID:            "zen-lead",
		LeaderElectionLeaseDuration: 6 * time.Second,
		LeaderElectionRenewDeadline: 4 * time.Second,
		LeaderElectionRetryPeriod:   200 * time.Millisecond,
		MetricsBindAddress:          ":8080",
		HealthProbeBindAddress:      ":8081",
		KubeAPIQPS:                  500,
		KubeAPIBurst:                10000,
		ConcurrentReconciles:        32,
		LogLevel:                    "info",
		LogFormat:                   "json",
	}
}

// Parse reads the command line. It prints the help to output and returns flag.ErrHelp when asked for it; any other
// error is one line that names the flag.
func Parse(args []string, env func(string) string, output io.Writer) (Options, error) {
	o := Default(env)
	fs := o.flagSet()
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(output)
			_, _ = fmt.Fprintln(output, "zen-lead routes <service>-leader to exactly one Ready pod of each annotated Service.\n\nFlags:")
			fs.PrintDefaults()
			return o, err
		}
		// What was typed is repeated, and must not look like another line of the log.
		return o, errors.New(strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(err.Error()))
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: only flags are taken", fs.Arg(0))
	}
	return o, o.Validate()
}

// FlagNames lists the flags, sorted, without dashes.
func FlagNames() []string {
	o := Default(os.Getenv)
	var names []string
	o.flagSet().VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}

func (o *Options) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("zen-lead", flag.ContinueOnError)
	fs.Func("namespaces", "`namespaces` to serve, comma-separated (default: every namespace)", func(value string) error {
		o.Namespaces = splitList(value)
		return nil
	})
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "`path` of a kubeconfig (default: $KUBECONFIG, else the cluster that the process runs in)")
	fs.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", o.LeaderElectionNamespace,
		"`namespace` of the Lease by which replicas agree on the active one (default: $POD_NAMESPACE)")
	fs.StringVar(&o.LeaderElectionID, "leader-election-id", o.LeaderElectionID, "`name` of that Lease")
	fs.DurationVar(&o.LeaderElectionLeaseDuration, "leader-election-lease-duration", o.LeaderElectionLeaseDuration,
		"how long a standby waits before it takes over from an active replica that no longer renews")
	fs.DurationVar(&o.LeaderElectionRenewDeadline, "leader-election-renew-deadline", o.LeaderElectionRenewDeadline,
		"how long the active replica tries to renew before it gives up")
	fs.DurationVar(&o.LeaderElectionRetryPeriod, "leader-election-retry-period", o.LeaderElectionRetryPeriod,
		"pause between two tries to take or renew the Lease")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress, "`address` that serves /metrics; \"0\" for none")
	fs.BoolVar(&o.MetricsSecure, "metrics-secure", o.MetricsSecure,
		"serve /metrics over TLS, to clients that the API server authenticates and allows to get the path /metrics")
	fs.StringVar(&o.MetricsCertDir, "metrics-cert-dir", o.MetricsCertDir,
		"`directory` with tls.crt and tls.key for --metrics-secure (default: a certificate that the process signs itself)")
	fs.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", o.HealthProbeBindAddress, "`address` that serves /healthz and /readyz")
	fs.Float64Var(&o.KubeAPIQPS, "kube-api-qps", o.KubeAPIQPS, "requests a second to the API server, at most")
	fs.IntVar(&o.KubeAPIBurst, "kube-api-burst", o.KubeAPIBurst, "requests at once to the API server after a quiet time, at most")
	fs.IntVar(&o.ConcurrentReconciles, "concurrent-reconciles", o.ConcurrentReconciles, "how many Services are worked on at the same time")
	fs.DurationVar(&o.DefaultMinReadyDuration, "default-min-ready-duration", o.DefaultMinReadyDuration,
		"how long a pod must have been Ready before it may be made leader, for Services that do not say")
	fs.StringVar(&o.LogLevel, "log-level", o.LogLevel, "debug, info, warn or error")
	fs.StringVar(&o.LogFormat, "log-format", o.LogFormat, "json or text")
	fs.BoolVar(&o.Version, "version", o.Version, "print the version and exit")
	return fs
}

// Validate returns the first thing that is wrong, as one line that names the flag.
func (o *Options) Validate() error {
	if o.Version {
		return nil
	}
	for _, check := range []func() error{o.validateNamespaces, o.validateKubeconfig, o.validateLeaderElection, o.validateAddresses, o.validateMetrics, o.validateLimits, o.validateLogging} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) validateNamespaces() error {
	for i, namespace := range o.Namespaces {
		if faults := validation.IsDNS1123Label(namespace); len(faults) > 0 {
			return fmt.Errorf("--namespaces: %q is not a namespace name: %s", namespace, faults[0])
		}
		if slices.Contains(o.Namespaces[:i], namespace) {
			return fmt.Errorf("--namespaces: %q is there twice", namespace)
		}
	}
	return nil
}

func (o *Options) validateKubeconfig() error {
	if o.Kubeconfig == "" {
		return nil
	}
	if _, err := os.Stat(o.Kubeconfig); err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	return nil
}

func (o *Options) validateLeaderElection() error {
	if o.LeaderElectionNamespace == "" {
		return errors.New("--leader-election-namespace: not set, and neither is $POD_NAMESPACE; name the namespace that holds the Lease")
	}
	if faults := validation.IsDNS1123Label(o.LeaderElectionNamespace); len(faults) > 0 {
		return fmt.Errorf("--leader-election-namespace: %q is not a namespace name: %s", o.LeaderElectionNamespace, faults[0])
	}
	if faults := validation.IsDNS1123Subdomain(o.LeaderElectionID); len(faults) > 0 {
		return fmt.Errorf("--leader-election-id: %q is not the name of a Lease: %s", o.LeaderElectionID, faults[0])
	}
	if o.LeaderElectionLeaseDuration < time.Second {
		return fmt.Errorf("--leader-election-lease-duration: %s is too short; a Lease counts in seconds, 1s is the least", o.LeaderElectionLeaseDuration)
	}
	if o.LeaderElectionRenewDeadline >= o.LeaderElectionLeaseDuration {
		return fmt.Errorf("--leader-election-renew-deadline: %s must be less than the lease duration of %s", o.LeaderElectionRenewDeadline, o.LeaderElectionLeaseDuration)
	}
	// client-go spreads retries by up to this factor, and refuses a deadline that would leave no room for one.
	const jitter = 1.2
	if o.LeaderElectionRetryPeriod <= 0 || float64(o.LeaderElectionRenewDeadline) <= jitter*float64(o.LeaderElectionRetryPeriod) {
		return fmt.Errorf("--leader-election-retry-period: %s must be more than 0 and less than the renew deadline of %s divided by %g",
			o.LeaderElectionRetryPeriod, o.LeaderElectionRenewDeadline, jitter)
	}
	return nil
}

func (o *Options) validateAddresses() error {
	if o.MetricsBindAddress != "0" {
		if _, _, err := net.SplitHostPort(o.MetricsBindAddress); err != nil {
			return fmt.Errorf("--metrics-bind-address: %q is not host:port or :port, nor 0 for none", o.MetricsBindAddress)
		}
	}
	if _, _, err := net.SplitHostPort(o.HealthProbeBindAddress); err != nil {
		return fmt.Errorf("--health-probe-bind-address: %q is not host:port or :port", o.HealthProbeBindAddress)
	}
	return nil
}

func (o *Options) validateMetrics() error {
	switch {
	case o.MetricsSecure && o.MetricsBindAddress == "0":
		return errors.New("--metrics-secure: there is nothing to secure with --metrics-bind-address=0")
	case o.MetricsCertDir != "" && !o.MetricsSecure:
		return errors.New("--metrics-cert-dir: not used without --metrics-secure")
	case o.MetricsCertDir == "":
		return nil
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if _, err := os.Stat(filepath.Join(o.MetricsCertDir, name)); err != nil {
			return fmt.Errorf("--metrics-cert-dir: %w", err)
		}
	}
	return nil
}

func (o *Options) validateLimits() error {
	switch {
	case !(o.KubeAPIQPS > 0): // NaN is not either
		return fmt.Errorf("--kube-api-qps: %g must be more than 0", o.KubeAPIQPS)
	case o.KubeAPIBurst < 1:
		return fmt.Errorf("--kube-api-burst: %d must be 1 or more", o.KubeAPIBurst)
	case o.ConcurrentReconciles < 1:
		return fmt.Errorf("--concurrent-reconciles: %d must be 1 or more", o.ConcurrentReconciles)
	case o.DefaultMinReadyDuration < 0:
		return fmt.Errorf("--default-min-ready-duration: %s must not be negative", o.DefaultMinReadyDuration)
	}
	return nil
}

func (o *Options) validateLogging() error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, o.LogLevel) {
		return fmt.Errorf("--log-level: %q is none of debug, info, warn, error", o.LogLevel)
	}
	if o.LogFormat != "json" && o.LogFormat != "text" {
		return fmt.Errorf("--log-format: %q is neither json nor text", o.LogFormat)
	}
	return nil
}

func splitList(value string) []string {
	var list []string
	for _, item := range strings.Split(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
