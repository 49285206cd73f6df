// Package api is what users and zen-lead say to each other: the annotations that a user sets on a Service, and the
// labels and annotations that zen-lead writes on the objects that it owns. There is no CRD.
package api

import (
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Prefix starts every annotation and label that belongs to zen-lead.
const Prefix = "zen-lead.io/"

// Annotations that the user sets on the source Service.
const (
	// AnnotationEnabled opts a Service in: "true" or "false".
	AnnotationEnabled = Prefix + "enabled"
	// AnnotationLeaderServiceName names the leader Service; by default "<source>-leader".
	AnnotationLeaderServiceName = Prefix + "leader-service-name"
	// AnnotationSticky says whether an eligible leader stays although a better candidate exists: "true" (default) or "false".
	AnnotationSticky = Prefix + "sticky"
	// AnnotationMinReadyDuration is how long a pod must have been Ready before it may be made leader: a Go duration, 0 or more.
	AnnotationMinReadyDuration = Prefix + "min-ready-duration"
)

// Annotations that zen-lead writes. The leader slice is the source of truth for the epoch and the switch time; the
// leader Service carries a copy of everything for people and tools that look only there.
const (
	// AnnotationLeaderPodName is the name of the pod that leads.
	AnnotationLeaderPodName = Prefix + "leader-pod-name"
	// AnnotationLeaderPodUID is the UID of the pod that leads.
	AnnotationLeaderPodUID = Prefix + "leader-pod-uid"
	// AnnotationLastSwitchTime is when the pod that leads became the leader, in RFC 3339, UTC.
	AnnotationLastSwitchTime = Prefix + "leader-last-switch-time"
	// AnnotationEpoch is the number of the leader's term; it grows by one whenever a pod becomes leader.
	AnnotationEpoch = Prefix + "leader-epoch"
)

// Labels that zen-lead writes on the leader Service and its slices.
const (
	// LabelSourceService holds the name of the source Service.
	LabelSourceService = Prefix + "source-service"
	// LabelManagedBy is the ecosystem's label for the tool that manages an object.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy, and of discovery.k8s.io's own managed-by label on slices.
	ManagedBy = "zen-lead"
)

// LeaderSuffix is added to the source Service's name to name the leader Service.
const LeaderSuffix = "-leader"

// OptIn is what a Service says about zen-lead.
type OptIn int

const (
	// OptedOut means that the Service does not ask for a leader Service.
	OptedOut OptIn = iota
	// OptedIn means that it does.
	OptedIn
	// OptInUnclear means that the annotation is there and says neither "true" nor "false". Such a Service is not opted
	// in, but a typing error must not take down a leader Service that already routes: what is there goes on.
	OptInUnclear
)

// Settings are the user's choices for one Service, defaults filled in.
type Settings struct {
	OptIn             OptIn
	LeaderServiceName string
	Sticky            bool
	MinReadyDuration  time.Duration
}

// Defaults are the fleet's choices for what a Service leaves open.
type Defaults struct {
	MinReadyDuration time.Duration
}

// Problem is an annotation that could not be used. Reason is one of a bounded set, fit for a metric label.
type Problem struct {
	Reason  string
	Message string
}

// Reasons of the problems that ParseSettings finds.
const (
	ReasonInvalidEnabled          = "invalid_enabled"
	ReasonInvalidLeaderName       = "invalid_leader_service_name"
	ReasonInvalidSticky           = "invalid_sticky"
	ReasonInvalidMinReadyDuration = "invalid_min_ready_duration"
	ReasonLeaderNameTooLong       = "leader_service_name_too_long"
)

// Mentioned tells whether the annotations speak of zen-lead at all, other than to switch it off. Only such Services
// are looked at any further.
func Mentioned(annotations map[string]string) bool {
	value, ok := annotations[AnnotationEnabled]
	return ok && value != "false"
}

// ParseSettings reads the annotations of the source Service called name. A value that does not parse becomes a Problem
// and the default is used in its place, so that one wrong annotation does not take the others with it. The leader
// Service's name alone may come out unusable (too long): see ValidateLeaderServiceName.
func ParseSettings(name string, annotations map[string]string, defaults Defaults) (Settings, []Problem) {
	settings := Settings{
		OptIn:             OptedOut,
		LeaderServiceName: name + LeaderSuffix,
		Sticky:            true,
		MinReadyDuration:  defaults.MinReadyDuration,
	}
	var problems []Problem
	invalid := func(reason, key, value, want, instead string) {
		problems = append(problems, Problem{Reason: reason, Message: fmt.Sprintf(
			"annotation %s is %s, which is not %s; %s", key, quote(value), want, instead)})
	}

	if value, ok := annotations[AnnotationEnabled]; ok {
		switch value {
		case "true":
			settings.OptIn = OptedIn
		case "false":
		default:
			settings.OptIn = OptInUnclear
			invalid(ReasonInvalidEnabled, AnnotationEnabled, value, `"true" or "false"`, "nothing is switched on or off until it is")
		}
	}
	if value, ok := annotations[AnnotationLeaderServiceName]; ok {
		if want := leaderNameFault(name, value); want == "" {
			settings.LeaderServiceName = value
		} else {
			invalid(ReasonInvalidLeaderName, AnnotationLeaderServiceName, value, want, "using "+quote(settings.LeaderServiceName))
		}
	}
	if value, ok := annotations[AnnotationSticky]; ok {
		switch value {
		case "true", "false":
			settings.Sticky = value == "true"
		default:
			invalid(ReasonInvalidSticky, AnnotationSticky, value, `"true" or "false"`, `using "true"`)
		}
	}
	if value, ok := annotations[AnnotationMinReadyDuration]; ok {
		if duration, err := time.ParseDuration(value); err == nil && duration >= 0 {
			settings.MinReadyDuration = duration
		} else {
			invalid(ReasonInvalidMinReadyDuration, AnnotationMinReadyDuration, value,
				`a duration of 0 or more such as "10s" or "1m30s"`, "using "+quote(defaults.MinReadyDuration.String()))
		}
	}
	return settings, problems
}

// ValidateLeaderServiceName returns the Problem of a leader Service name that the API server would refuse for its
// length, nil if it has none. There is no default to fall back on: nothing can be routed.
func ValidateLeaderServiceName(name string) *Problem {
	if len(name) <= validation.DNS1035LabelMaxLength {
		return nil
	}
	return &Problem{Reason: ReasonLeaderNameTooLong, Message: fmt.Sprintf(
		"the leader Service's name %s has %d characters and may have %d; set annotation %s to a shorter name",
		quote(name), len(name), validation.DNS1035LabelMaxLength, AnnotationLeaderServiceName)}
}

// leaderNameFault says what a custom leader Service name is not, "" if it can be used. Length is judged by
// ValidateLeaderServiceName, for custom and derived names alike.
func leaderNameFault(source, name string) string {
	if name == source {
		return "a name other than the Service's own"
	}
	tolerated := 0
	if len(name) > validation.DNS1035LabelMaxLength {
		tolerated = 1
	}
	if len(validation.IsDNS1035Label(name)) > tolerated {
		return "a DNS label (lower-case letters, digits and '-', beginning with a letter)"
	}
	return ""
}

// maxQuoted bounds how much of a user's value is repeated in messages: an annotation may hold 256 KiB, an Event's
// note 1,024 bytes.
const maxQuoted = 80

// quote makes a user's value safe to print on one line.
func quote(value string) string {
	if len(value) > maxQuoted {
		return strconv.Quote(value[:maxQuoted]) + "…"
	}
	return strconv.Quote(value)
}
