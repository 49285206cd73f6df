package api

import (
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// FuzzParseSettings has users write anything: what comes out can be used, or a problem says why the default is.
func FuzzParseSettings(f *testing.F) {
	for _, seed := range [][4]string{
		{"true", "primary", "false", "1m30s"}, {"false", "", "", ""}, {"True", "web", "0", "-1s"},
		{"true\n", strings.Repeat("a", 64), "true", "9223372036854775807ns"}, {"\xff\xfe", "a.b", "\x00", "1e9h"},
		{"true", "web-leader\r\nlevel=ERROR", "\u202e", "1s\n2s"}, {strings.Repeat("é", 100), "-a", "yes", "µs"},
	} {
		f.Add("web", seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, name, enabled, leader, sticky, ready string) {
		if len(validation.IsDNS1035Label(name)) > 0 {
			t.Skip("the API server has no Service of such a name")
		}
		settings, problems := ParseSettings(name, map[string]string{
			AnnotationEnabled: enabled, AnnotationLeaderServiceName: leader, AnnotationSticky: sticky, AnnotationMinReadyDuration: ready,
		}, Defaults{})
		if settings.OptIn == OptedIn != (enabled == "true") {
			t.Errorf("%q opts in: %v", enabled, settings.OptIn)
		}
		if settings.MinReadyDuration < 0 {
			t.Errorf("%q is %s", ready, settings.MinReadyDuration)
		}
		if settings.LeaderServiceName == name {
			t.Error("the leader Service is the source")
		}
		faults := validation.IsDNS1035Label(settings.LeaderServiceName)
		problem := ValidateLeaderServiceName(settings.LeaderServiceName)
		if len(faults) > 0 && problem == nil {
			t.Errorf("leader Service %q: %s", settings.LeaderServiceName, faults)
		}
		if problem != nil {
			problems = append(problems, *problem)
		}
		for _, p := range problems {
			checkMessage(t, p.Message)
		}
	})
}

// checkMessage sees that a message is one line of text, and no longer than an Event's note may be.
func checkMessage(t *testing.T, message string) {
	t.Helper()
	const most = 1024
	if len(message) > most || strings.ContainsAny(message, "\n\r\x1b\x00") || !utf8.ValidString(message) {
		t.Errorf("%d bytes: %q", len(message), message)
	}
}
