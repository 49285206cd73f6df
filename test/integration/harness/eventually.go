package harness

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const (
	pollInterval = 20 * time.Millisecond
	// Patience bounds every wait for something that should come at once; a loaded machine may take its time.
	Patience = 60 * time.Second
	// LongPatience bounds waits for the stock controllers, whose work comes in rounds.
	LongPatience = 120 * time.Second
)

// Eventually polls until check returns nil, and ends the test with the last error and the namespace's objects if that
// takes longer than Patience.
func (w *World) Eventually(what string, check func() error) {
	w.Helper()
	w.EventuallyWithin(Patience, what, check)
}

// EventuallyWithin is Eventually with a patience of its own.
func (w *World) EventuallyWithin(patience time.Duration, what string, check func() error) {
	w.Helper()
	var last error
	err := wait.PollUntilContextTimeout(w.Context(), pollInterval, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		w.Fatalf("waited %s for: %s\nlast seen: %v\n%s", patience, what, last, w.Dump())
	}
}

// Quiet waits until the controller has sent nothing for a while and has nothing queued.
func (w *World) Quiet() { w.Helper(); w.QuietFor(200 * time.Millisecond) }

// QuietFor is Quiet with a while of the test's choice.
func (w *World) QuietFor(while time.Duration) {
	w.Helper()
	w.quiet(while, func() bool { return w.controller != nil && w.controller.busy() })
}

// QuietRequestsFor waits until the controller has sent nothing for a while, whatever it has queued.
func (w *World) QuietRequestsFor(while time.Duration) {
	w.Helper()
	w.quiet(while, func() bool { return false })
}

func (w *World) quiet(while time.Duration, busy func() bool) {
	w.Helper()
	since, mark := time.Now(), w.Requests.Mark()
	w.EventuallyWithin(while+Patience, "the controller to have nothing to do", func() error {
		requests := w.Requests.Since(mark)
		if len(requests) > 0 || busy() {
			since, mark = time.Now(), w.Requests.Mark()
		}
		if quiet := time.Since(since); quiet < while {
			return fmt.Errorf("quiet for %s of %s; last requests:\n%s", quiet, while, requests)
		}
		return nil
	})
}

// Dump prints the namespace's objects, for failure messages.
func (w *World) Dump() string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.Context()), Patience)
	defer cancel()
	var b strings.Builder
	for _, list := range []client.ObjectList{&corev1.ServiceList{}, &discoveryv1.EndpointSliceList{}, &corev1.PodList{}} {
		w.dumpList(ctx, &b, list)
	}
	events := &corev1.EventList{}
	if err := w.Client.List(ctx, events, client.InNamespace(w.Namespace)); err == nil {
		b.WriteString("--- events\n")
		for i := range events.Items {
			e := &events.Items[i]
			fmt.Fprintf(&b, "%s %s x%d %s/%s: %s\n", e.Type, e.Reason, EventCount(e), e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message)
		}
	}
	const shown = 40
	requests := w.Requests.Since(0)
	fmt.Fprintf(&b, "--- the controller's last requests\n%s", requests[max(0, len(requests)-shown):])
	return b.String()
}

func (w *World) dumpList(ctx context.Context, b *strings.Builder, list client.ObjectList) {
	fmt.Fprintf(b, "--- %T\n", list)
	if err := w.Client.List(ctx, list, client.InNamespace(w.Namespace)); err != nil {
		fmt.Fprintln(b, err)
	}
	for _, object := range items(list) {
		if pod, ok := object.(*corev1.Pod); ok {
			fmt.Fprintf(b, "%s %s %v ready=%v terminating=%t ips=%v labels=%v\n", pod.Name, pod.UID, pod.Status.Phase,
				pod.Status.Conditions, pod.DeletionTimestamp != nil, pod.Status.PodIPs, pod.Labels)
			continue
		}
		object.SetManagedFields(nil)
		text, err := yaml.Marshal(object)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(b, "%s\n", text)
	}
}

func items(list client.ObjectList) []client.Object {
	var objects []client.Object
	switch list := list.(type) {
	case *corev1.ServiceList:
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	case *discoveryv1.EndpointSliceList:
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	case *corev1.PodList:
		for i := range list.Items {
			objects = append(objects, &list.Items[i])
		}
	}
	return objects
}

// EventCount is how often an Event happened.
func EventCount(e *corev1.Event) int {
	count := max(1, int(e.Count))
	if e.Series != nil {
		count = max(count, int(e.Series.Count))
	}
	return count
}

// Never fails the test if something comes about within a while.
func (w *World) Never(while time.Duration, what string, happened func() bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), pollInterval, while, true, func(context.Context) (bool, error) {
		return happened(), nil
	})
	if err == nil {
		w.Errorf("never wanted: %s\n%s", what, w.Dump())
	}
}
