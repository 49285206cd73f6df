// Package app puts the controller together: manager, cache, probes, leader election, metrics.
package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kube-zen/zen-lead/src/api"
	"github.com/kube-zen/zen-lead/src/director"
	"github.com/kube-zen/zen-lead/src/informers"
	"github.com/kube-zen/zen-lead/src/metrics"
	"github.com/kube-zen/zen-lead/src/options"
)

// name is what the process calls itself in Events.
const name = "zen-lead"

// readyTimeout is how long a readiness probe waits for caches that are still filling.
const readyTimeout = 500 * time.Millisecond

// shutdownTimeout is how long writes under way may take at the end; the Lease is released after that, and the kubelet's
// grace period must not end before.
const shutdownTimeout = 10 * time.Second

// RESTConfig is the way to the API server: the given kubeconfig, else $KUBECONFIG, else the cluster that the process
// runs in, else the user's default kubeconfig.
func RESTConfig(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("failed to load the kubeconfig: %w", err)
	}
	return config, nil
}

// Run runs one controller process until ctx ends. It blocks, and returns nil if it ended because it was asked to.
// config is not changed.
func Run(ctx context.Context, config *rest.Config, o options.Options, version string) error {
	config = uncompressed(config)
	recorder := metrics.NewRecorder(clock.RealClock{}, version)
	unregister, err := recorder.Register(ctrlmetrics.Registry)
	if err != nil {
		return err
	}
	defer unregister()

	store := informers.NewStore()
	manager, err := newManager(config, o, store)
	if err != nil {
		return err
	}
	eventRecorder, stopEvents, err := newEventRecorder(ctx, config, manager.GetScheme())
	if err != nil {
		return err
	}
	defer stopEvents()
	reconciler := director.New(director.Config{
		Client:    store.Client(manager.GetClient()),
		APIReader: manager.GetAPIReader(),
		Events:    eventRecorder,
		Metrics:   recorder,
		Clock:     clock.RealClock{},
		Defaults:  api.Defaults{MinReadyDuration: o.DefaultMinReadyDuration},
		Elected:   manager.Elected(),
	})
	if err := reconciler.SetupWithManager(ctx, manager, store, o.ConcurrentReconciles); err != nil {
		return fmt.Errorf("failed to set up the controller: %w", err)
	}
	if err := addProbes(ctx, manager); err != nil {
		return err
	}
	log.FromContext(ctx).Info("starting", "version", version, "namespaces", o.Namespaces)
	if err := manager.Start(ctx); err != nil {
		return fmt.Errorf("failed to run: %w", err)
	}
	return nil
}

func newManager(config *rest.Config, o options.Options, store *informers.Store) (ctrl.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	manager, err := ctrl.NewManager(trimming(limited(config, o)), ctrl.Options{
		Scheme:                        scheme,
		Cache:                         informers.CacheOptions(o.Namespaces, store),
		Metrics:                       metricsOptions(o),
		HealthProbeBindAddress:        o.HealthProbeBindAddress,
		LeaderElection:                true,
		LeaderElectionID:              o.LeaderElectionID,
		LeaderElectionNamespace:       o.LeaderElectionNamespace,
		LeaderElectionConfig:          unlimited(config),
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &o.LeaderElectionLeaseDuration,
		RenewDeadline:                 &o.LeaderElectionRenewDeadline,
		RetryPeriod:                   &o.LeaderElectionRetryPeriod,
		GracefulShutdownTimeout:       ptr.To(shutdownTimeout),
	})
	if err != nil {
		return nil, fmt.Errorf("failed to create the manager: %w", err)
	}
	return manager, nil
}

// metricsOptions are those of the server of /metrics.
func metricsOptions(o options.Options) metricsserver.Options {
	served := metricsserver.Options{BindAddress: o.MetricsBindAddress, SecureServing: o.MetricsSecure, CertDir: o.MetricsCertDir}
	if o.MetricsSecure {
		served.FilterProvider = reviewedMetrics(clock.RealClock{})
	}
	return served
}

// newScheme knows only the kinds that are used.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, eventsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("failed to build the scheme: %w", err)
		}
	}
	return scheme, nil
}

// uncompressed asks for no compression: an API server would compress each event of an informer's watch (WatchListCompression,
// Kubernetes 1.37), which both sides pay for in each failover. Kubernetes' own controllers ask for none either. It is for
// all that is sent: what differs in this goes over connections of its own, and after an outage the watches would not
// profit from the connection that the Lease, which is tried five times a second, has found again first.
func uncompressed(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.DisableCompression = true
	return c
}

// limited shares one rate limit among all that the controller sends. Without a limiter of its own, a config gives each
// kind of object a limit.
func limited(config *rest.Config, o options.Options) *rest.Config {
	c := rest.CopyConfig(config)
	c.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(float32(o.KubeAPIQPS), o.KubeAPIBurst)
	return c
}

// trimming has the cache's watches of pods reduced to what it keeps.
func trimming(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.Wrap(informers.TrimPods)
	return c
}

// unlimited is for the Lease alone: a renewal that queues behind other requests costs leadership.
func unlimited(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.QPS, c.RateLimiter = -1, nil
	return c
}

// addProbes registers /healthz and /readyz. A process is ready when its caches are filled, whether it is the active
// replica or a standby: a standby that were not ready would block its own rollout. A cache that nobody has asked for yet
// counts as filled, so that all are asked for here, before the controller starts.
func addProbes(ctx context.Context, manager ctrl.Manager) error {
	for _, object := range informers.Watched() {
		if _, err := manager.GetCache().GetInformer(ctx, object, cache.BlockUntilSynced(false)); err != nil {
			return fmt.Errorf("failed to watch %T: %w", object, err)
		}
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("failed to add the health probe: %w", err)
	}
	if err := manager.AddReadyzCheck("caches", cachesFilled(manager.GetCache())); err != nil {
		return fmt.Errorf("failed to add the readiness probe: %w", err)
	}
	return nil
}

func cachesFilled(c cache.Cache) healthz.Checker {
	return func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), readyTimeout)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("caches are not filled yet")
		}
		return nil
	}
}
