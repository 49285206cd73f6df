package api

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSettings(t *testing.T) {
	defaults := Defaults{MinReadyDuration: 5 * time.Second}
	tests := map[string]struct {
		annotations map[string]string
		want        Settings
		reasons     []string
		says        string
	}{
		"nothing said": {want: Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second}},
		"all said": {
			annotations: map[string]string{AnnotationEnabled: "true", AnnotationLeaderServiceName: "primary", AnnotationSticky: "false", AnnotationMinReadyDuration: "1m30s"},
			want:        Settings{OptIn: OptedIn, LeaderServiceName: "primary", MinReadyDuration: 90 * time.Second}},
		"switched off": {
			annotations: map[string]string{AnnotationEnabled: "false"},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second}},
		"an unclear opt-in": {
			annotations: map[string]string{AnnotationEnabled: "yes"},
			want:        Settings{OptIn: OptInUnclear, LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second},
			reasons:     []string{ReasonInvalidEnabled}, says: `annotation zen-lead.io/enabled is "yes", which is not "true" or "false"`},
		"one wrong value does not take the others with it": {
			annotations: map[string]string{AnnotationEnabled: "true", AnnotationLeaderServiceName: "Web_Leader", AnnotationSticky: "no", AnnotationMinReadyDuration: "1s"},
			want:        Settings{OptIn: OptedIn, LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: time.Second},
			reasons:     []string{ReasonInvalidLeaderName, ReasonInvalidSticky}, says: `using "web-leader"`},
		"trap 3: the source's own name": {
			annotations: map[string]string{AnnotationLeaderServiceName: "web"},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second},
			reasons:     []string{ReasonInvalidLeaderName}, says: "other than the Service's own"},
		"an empty name": {
			annotations: map[string]string{AnnotationLeaderServiceName: ""},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second},
			reasons:     []string{ReasonInvalidLeaderName}},
		"a negative duration": {
			annotations: map[string]string{AnnotationMinReadyDuration: "-1s"},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second},
			reasons:     []string{ReasonInvalidMinReadyDuration}, says: `using "5s"`},
		"a number is no duration": {
			annotations: map[string]string{AnnotationMinReadyDuration: "10"},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second},
			reasons:     []string{ReasonInvalidMinReadyDuration}},
		"0 switches a fleet default off": {
			annotations: map[string]string{AnnotationMinReadyDuration: "0s"},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true}},
		"a long name is judged apart": {
			annotations: map[string]string{AnnotationLeaderServiceName: strings.Repeat("a", 64)},
			want:        Settings{LeaderServiceName: strings.Repeat("a", 64), Sticky: true, MinReadyDuration: 5 * time.Second}},
		"a long name that is no label either": {
			annotations: map[string]string{AnnotationLeaderServiceName: strings.Repeat("A", 64)},
			want:        Settings{LeaderServiceName: "web-leader", Sticky: true, MinReadyDuration: 5 * time.Second},
			reasons:     []string{ReasonInvalidLeaderName}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, problems := ParseSettings("web", test.annotations, defaults)
			assert.Equal(t, test.want, got)
			var reasons []string
			var messages strings.Builder
			for _, problem := range problems {
				reasons = append(reasons, problem.Reason)
				messages.WriteString(problem.Message + "\n")
			}
			assert.Equal(t, test.reasons, reasons)
			assert.Contains(t, messages.String(), test.says)
		})
	}
}

func TestMessagesQuoteUserInputSafely(t *testing.T) {
	_, problems := ParseSettings("web", map[string]string{AnnotationSticky: "a\nlevel=error " + strings.Repeat("x", 1000)}, Defaults{})
	require.Len(t, problems, 1)
	assert.NotContains(t, problems[0].Message, "\n")
	assert.Less(t, len(problems[0].Message), 300)
}

func TestTrap09LeaderServiceNameTooLong(t *testing.T) {
	assert.Nil(t, ValidateLeaderServiceName(strings.Repeat("a", 63)))
	problem := ValidateLeaderServiceName(strings.Repeat("a", 64))
	require.NotNil(t, problem)
	assert.Contains(t, problem.Message, "64 characters and may have 63")
	assert.Contains(t, problem.Message, AnnotationLeaderServiceName)
}

func TestMentioned(t *testing.T) {
	assert.False(t, Mentioned(nil))
	assert.False(t, Mentioned(map[string]string{AnnotationEnabled: "false"}))
	assert.False(t, Mentioned(map[string]string{AnnotationSticky: "true"}))
	assert.True(t, Mentioned(map[string]string{AnnotationEnabled: "true"}))
	assert.True(t, Mentioned(map[string]string{AnnotationEnabled: "typo"}))
}
