package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// auditPolicy has the API server note who asked for what, of service accounts alone: controllers run as such.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ["system:serviceaccounts"]
- level: None
`

// Use is what the API server's audit log says of one request.
type Use struct {
	Verb string
	User struct {
		Username string
	}
	RequestURI string
	// Object is empty for a request that is not about resources.
	Object struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	Annotations map[string]string
}

// Denied tells whether the user lacked the right.
func (u Use) Denied() bool { return u.Annotations["authorization.k8s.io/decision"] == "forbid" }

func (u Use) String() string {
	if u.Object.Resource == "" {
		return u.Verb + " " + u.RequestURI
	}
	return fmt.Sprintf("%s %s/%s %s/%s", u.Verb, u.Object.APIGroup, u.Object.Resource, u.Object.Namespace, u.Object.Name)
}

// Uses are the requests of service accounts so far for which keep is true.
func (p *ControlPlane) Uses(keep func(Use) bool) ([]Use, error) {
	log, err := os.ReadFile(p.audit)
	if err != nil {
		return nil, fmt.Errorf("failed to read the audit log: %w", err)
	}
	log = log[:bytes.LastIndexByte(log, '\n')+1] // a line may be being written
	var uses []Use
	for line := range bytes.Lines(log) {
		var use Use
		if err := json.Unmarshal(line, &use); err != nil {
			return nil, fmt.Errorf("failed to read the line %q of the audit log: %w", line, err)
		}
		if keep(use) {
			uses = append(uses, use)
		}
	}
	return slices.Clip(uses), nil
}
