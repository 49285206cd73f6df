package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// auditEvent is what the audit log of the throw-away cluster says of a request.
type auditEvent struct {
	Verb      string    `json:"verb"`
	Stage     string    `json:"stage"`
	Received  time.Time `json:"requestReceivedTimestamp"`
	ObjectRef struct {
		Resource, Namespace, Name, Subresource string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// ForeignWrites reads the API server's audit log and returns the writes of a service account to anything but what zen-lead
// may write: its Lease, Events, and those Services and EndpointSlices of its namespace that it has created itself. It
// returns also how many writes there were: none means that the log was not looked at, and proves nothing.
func ForeignWrites(ctx context.Context, controlPlane, namespace, serviceAccount string) (foreign []string, writes int, err error) {
	events, err := audited(ctx, controlPlane, namespace, serviceAccount)
	if err != nil {
		return nil, 0, err
	}
	created := map[string]bool{}
	for _, event := range events {
		if !slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, event.Verb) {
			continue
		}
		writes++
		if !event.allowed(namespace, created) {
			foreign = append(foreign, fmt.Sprintf("%s %s %s/%s", event.Verb, event.ObjectRef.Resource, event.ObjectRef.Namespace, event.ObjectRef.Name))
		}
	}
	return foreign, writes, nil
}

// Watches returns how many watches a service account has opened since a moment.
func Watches(ctx context.Context, controlPlane, namespace, serviceAccount string, since time.Time) (int, error) {
	events, err := audited(ctx, controlPlane, namespace, serviceAccount)
	n := 0
	for _, event := range events {
		if event.Verb == "watch" && event.Stage == "ResponseStarted" && event.Received.After(since) {
			n++
		}
	}
	return n, err
}

// audited is what the audit log has of a service account, in order.
func audited(ctx context.Context, controlPlane, namespace, serviceAccount string) ([]auditEvent, error) {
	// A log that was full has the time in its name, and so comes before the one that is written now.
	find := fmt.Sprintf(`grep -h -F '"username":"system:serviceaccount:%s:%s"' /var/log/kubernetes/audit*.log`, namespace, serviceAccount)
	log, err := exec.CommandContext(ctx, "docker", "exec", controlPlane, "sh", "-c", find).Output()
	if err != nil {
		return nil, fmt.Errorf("failed to read the audit log of node %s: %w", controlPlane, err)
	}
	var events []auditEvent
	for line := range bytes.Lines(log) {
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("failed to read a line of the audit log: %w", err)
		}
		events = append(events, event)
	}
	return events, nil
}

func (e auditEvent) allowed(namespace string, created map[string]bool) bool {
	o := e.ObjectRef
	if o.Namespace != namespace || o.Subresource != "" {
		return false
	}
	key := o.Resource + "/" + o.Name
	switch o.Resource {
	case "events", "leases":
		return true
	case "services", "endpointslices":
		if e.Verb == "create" && e.ResponseStatus.Code == 201 {
			created[key] = true
		}
		return e.Verb == "create" || created[key]
	}
	return false
}
