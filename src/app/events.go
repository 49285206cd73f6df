package app

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	eventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
)

// Events have a limit of their own, in requests a second and at once: each costs the API server as much as the write
// that it tells of, and of those the next may be waiting. What exceeds the recorder's queue of 1,000 is dropped.
const (
	eventQPS   = 25
	eventBurst = 50
)

// newEventRecorder returns a recorder that sends in the background, and a function that ends it.
func newEventRecorder(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (events.EventRecorder, func(), error) {
	c := rest.CopyConfig(config)
	c.QPS, c.Burst, c.RateLimiter = eventQPS, eventBurst, nil
	client, err := eventsv1.NewForConfig(c)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to create the client for Events: %w", err)
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client})
	// What is said while the process comes to its end is still sent: ctx has ended by then.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		cancel()
		return nil, nil, fmt.Errorf("failed to start recording Events: %w", err)
	}
	stop := func() {
		broadcaster.Shutdown()
		cancel()
	}
	return broadcaster.NewRecorder(scheme, name), stop, nil
}
