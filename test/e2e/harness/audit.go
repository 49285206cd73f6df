package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
)

// auditEvent is what the audit log of the throw-away cluster says of a request.
type auditEvent struct {
	Verb      string `json:"verb"`
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
	user := fmt.Sprintf(`"username":"system:serviceaccount:%s:%s"`, namespace, serviceAccount)
	log, err := exec.CommandContext(ctx, "docker", "exec", controlPlane, "grep", "-h", "-F", user, "/var/log/kubernetes/audit.log").Output()
	if err != nil {
		return nil, 0, fmt.Errorf("failed to read the audit log of node %s: %w", controlPlane, err)
	}
	created := map[string]bool{}
	for line := range bytes.Lines(log) {
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, writes, fmt.Errorf("failed to read a line of the audit log: %w", err)
		}
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
