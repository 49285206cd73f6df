package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kube-zen/zen-lead/src/app"
	"github.com/kube-zen/zen-lead/src/options"
)

// UserAgent is that of a controller which runs inside the test process, and so the name of its fields' manager.
const UserAgent = "zen-lead"

// Controller is a controller that runs inside the test process.
type Controller struct {
	Options options.Options

	world *World
	// idle is what the metrics of queues and workers add up to when there is nothing to do: controllers that ran earlier
	// in this process may have left something behind.
	idle   float64
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	once   sync.Once
}

// StartController runs the controller with the chart's rights, for the test's namespace alone, and returns when it says that it is ready. It is
// stopped at the end of the test at the latest; one can run at a time.
func (w *World) StartController(change ...func(*options.Options)) *Controller {
	w.Helper()
	return w.StartControllerAs(w.ControllerConfig(), change...)
}

// StartControllerAs is StartController as somebody else.
func (w *World) StartControllerAs(config *rest.Config, change ...func(*options.Options)) *Controller {
	w.Helper()
	o := w.Options(change...)
	config = rest.CopyConfig(config)
	config.UserAgent = UserAgent
	config.Wrap(w.Requests.Wrap)

	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	c := &Controller{Options: o, world: w, cancel: cancel, done: make(chan struct{}), idle: queued(w)}
	go func() {
		defer close(c.done)
		c.err = app.Run(ctx, config, o, "v0.0.0-integration")
	}()
	w.controller = c
	w.Cleanup(c.Stop)
	w.Eventually("the controller to be ready", func() error {
		select {
		case <-c.done:
			w.Fatalf("the controller ended at once: %v", c.err)
		default:
		}
		_, err := fetch("http://" + o.HealthProbeBindAddress + "/readyz")
		return err
	})
	return c
}

// Options are the defaults, with addresses that are free and everything inside the test's namespace.
func (w *World) Options(change ...func(*options.Options)) options.Options {
	w.Helper()
	o := options.Default(func(string) string { return "" })
	o.Namespaces = []string{w.Namespace}
	o.LeaderElectionNamespace = w.Namespace
	// A machine that is busy with other things must not cost the controller its Lease.
	o.LeaderElectionLeaseDuration, o.LeaderElectionRenewDeadline = 2*time.Minute, 90*time.Second
	o.MetricsBindAddress = w.FreeAddress()
	o.HealthProbeBindAddress = w.FreeAddress()
	for _, f := range change {
		f(&o)
	}
	return o
}

// FreeAddress is a loopback address with a port that is free and that the system will not give to the next connection
// in between: it lies below the ports that systems choose by themselves.
func (w *World) FreeAddress() string {
	w.Helper()
	const first, count, tries = 12000, 18000, 100
	for range tries {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count))))
		if err == nil {
			defer func() { _ = listener.Close() }()
			return listener.Addr().String()
		}
	}
	w.Fatalf("failed to find a free port in %d tries", tries)
	return ""
}

// Stop ends the controller the way SIGTERM does, and fails the test if it does not end well.
func (c *Controller) Stop() {
	c.world.Helper()
	c.once.Do(func() {
		c.cancel()
		c.world.controller = nil
		select {
		case <-c.done:
			if c.err != nil {
				c.world.Errorf("the controller ended with an error: %v", c.err)
			}
		case <-time.After(LongPatience):
			c.world.Errorf("the controller did not end within %s of being asked to", LongPatience)
		}
	})
}

// Metrics scrapes the controller.
func (c *Controller) Metrics() (Metrics, error) {
	if c.Options.MetricsBindAddress == "0" {
		return nil, fmt.Errorf("metrics are switched off")
	}
	return Scrape(c.Options.MetricsBindAddress)
}

// queued is the work that waits or is being done, by the metrics of every controller in this process.
func queued(w *World) float64 {
	w.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		w.Fatalf("failed to gather metrics: %v", err)
	}
	metrics := Metrics{}
	for _, family := range families {
		metrics[family.GetName()] = family
	}
	return metrics.Sum("workqueue_depth", nil) + metrics.Sum("controller_runtime_active_workers", nil)
}

// busy tells whether the controller has work, as far as its metrics tell.
func (c *Controller) busy() bool { return queued(c.world) > c.idle }
